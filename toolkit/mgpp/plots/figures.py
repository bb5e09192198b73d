"""Draw whole figures made of plots, the paper's first (Zhang, Sun & Liang 2024), and save them."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mgpp.plots import sensitivity, style
from mgpp.plots.landscape import SYMBOLS, excess, mark_prior_threshold, plot_penalties, plot_prior_family
from mgpp.plots.runs import plot_remaining_weights, plot_thresholds
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L0, L1, L2
from mgpp.runs import Run

PAPER_PRIOR = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1)
FAMILIES = {
    "lam": (1e-8, 1e-6, 1e-4, 1e-2),
    "spike_var": (1e-8, 1e-7, 1e-6, 1e-5),
    "slab_var": (0.01, 0.1, 1.0, 10.0),
}


def panels(count: int, width: float, height: float, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` panels, each `height` inches high: side by side on a page, stacked in a column."""
    rows, columns = (count, 1) if width <= style.COLUMN_WIDTH else (1, count)
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), sharey=sharey, squeeze=False)
    return figure, list(axes.flat)


def label_once(*axes: Axes) -> None:
    """Keep only the leftmost y label if panels with one scale stand side by side."""
    for ax in axes:
        spec = ax.get_subplotspec()
        if spec is not None and not spec.is_first_col():
            ax.set_ylabel("")


def figure_1(prior: MixtureGaussianPrior = PAPER_PRIOR, *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw Figure 1: the penalties L0, L1, L2 and MGP, over the range of weights and close to zero.

    Args:
        prior: the MGP to draw; the paper's by default.
        width: in inches; a column's width puts the panels one above the other.

    Example:
        >>> len(figure_1().axes)
        2
    """
    with style.paper_style():
        figure, (wide, close) = panels(2, width, 2.7, sharey=True)
        penalties = (L0(), L1(), L2(), prior)
        plot_penalties(penalties, ax=wide, limit=0.5)
        plot_penalties(penalties, ax=close, limit=3 * prior.threshold if prior.has_threshold else 0.01)
        mark_prior_threshold(prior, ax=close)
        wide.set_title("(a) over the range of weights")
        close.set_title("(b) close to zero, where the spike lives")
        label_once(wide, close)
        figure.legend(*close.get_legend_handles_labels(), loc="outside lower center", ncols=5, columnspacing=1.0)
    return figure


def figure_a1(prior: MixtureGaussianPrior = PAPER_PRIOR, *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw Figure A1: how λ, σ0² and σ1² change the penalty, one panel each, prior thresholds as dots.

    Args:
        prior: the values around which one at a time is changed.
        width: in inches; a column's width puts the panels one above the other.

    Example:
        >>> [axes.get_legend().get_title().get_text() for axes in figure_a1().axes]
        ['λ', 'σ0²', 'σ1²']
    """
    with style.paper_style():
        figure, axes = panels(3, width, 2.4, sharey=True)
        titles = ("(a) weight of the slab, λ", "(b) spike variance, σ0²", "(c) slab variance, σ1²")
        for ax, (field, values), title in zip(axes, FAMILIES.items(), titles, strict=True):
            plot_prior_family(prior, field, values, ax=ax)
            ax.set_title(title)
        label_once(*axes)
    return figure


def figure_2(
    runs: Iterable[Run], methods: Iterable[str] = ("mgpp", "l2"), *, width: float = style.PAGE_WIDTH
) -> Figure:
    """Draw Figure 2, MGPP against L2: (a) density of the remaining weights, (b) pruning threshold through training.

    Args:
        runs: logged runs; finished ones of `methods` are drawn, at the highest sparsity that all of them reached.
        methods: which to compare.
        width: in inches; a column's width puts the panels one above the other.

    Raises:
        ValueError: if no sparsity has a finished run of each method.
    """
    chosen = comparable(runs, methods)
    with style.paper_style():
        figure, (left, right) = panels(2, width, 2.6)
        plot_remaining_weights(chosen, ax=left)
        plot_thresholds(chosen, ax=right)
        left.set_title(f"(a) remaining weights at sparsity {chosen[0].sparsity:g}", pad=14)
        right.set_title("(b) pruning threshold", pad=14)
    return figure


def figure_sensitivity(runs: Iterable[Run], *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw, for each hyperparameter, the penalty as in Figure A1 and below it the final results of the runs.

    Accuracy, share of the weights in the spike, and both thresholds, against λ (at the end of annealing), σ0² and σ1².

    Args:
        runs: finished runs of MGPP, each of which changes one hyperparameter of a common default.
        width: in inches.

    Raises:
        ValueError: if a run changes two hyperparameters at once, or none is finished.
    """
    runs = list(runs)
    table, default = sensitivity.sensitivity_table(runs), sensitivity.default_prior(runs)
    with style.paper_style():
        figure, axes = plt.subplots(4, 3, figsize=(width, width * 1.22), sharey="row", squeeze=False)
        titles = ("(a) weight of the slab, λ", "(b) spike variance, σ0²", "(c) slab variance, σ1²")
        for column, field, title in zip(axes.T, SYMBOLS, titles, strict=True):
            values = table.loc[table["field"] == field, "value"].tolist()
            plot_prior_family(default, field, values, ax=column[0], reach=(1e-10, 1.0))
            for ax, plot in zip(column[1:], sensitivity.PLOTS, strict=True):
                plot(table, field, ax=ax)
                ax.axvline(getattr(default, field), color="0.8", linewidth=0.8, zorder=0)
            column[0].set_title(title)
            label_once(*column)
        axes[0, 0].set_ylim(-1, 1.3 * excess(default, np.array([1.0]))[0])  # the strongest slabs leave through the top
        for ax in axes[2:, 0]:
            ax.legend()
    return figure


def comparable(runs: Iterable[Run], methods: Iterable[str]) -> list[Run]:
    """Return the finished runs at the highest sparsity that all `methods` have, in the order of the methods."""
    methods, finished = tuple(methods), [run for run in runs if run.status == "finished"]
    shared = set.intersection(*({run.sparsity for run in finished if run.method == method} for method in methods))
    if not shared:
        raise ValueError(f"no sparsity has a finished run of each of {', '.join(methods)}; train them first")
    best = max(shared)
    return sorted(
        (run for run in finished if run.method in methods and run.sparsity == best),
        key=lambda run: (methods.index(run.method), run.seed),
    )


def save_figure(figure: Figure, stem: str, folder: str | Path) -> list[Path]:
    """Write `<stem>.pdf` and `<stem>.png` without dates or versions, so that the same figure gives the same bytes."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.pdf", folder / f"{stem}.png"]
    with mpl.rc_context(style.FILE_SETTINGS):
        figure.savefig(paths[0], metadata={"CreationDate": None, "Creator": None, "Producer": None})
        figure.savefig(paths[1], metadata={"Software": None})
    plt.close(figure)
    return paths
