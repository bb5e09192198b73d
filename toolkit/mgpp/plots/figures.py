"""Draw whole figures made of plots, the paper's first (Zhang, Sun & Liang 2024), and save them."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from mgpp.plots import style
from mgpp.plots.axes import label_once, letter_panels, one_legend, panels
from mgpp.plots.distributions import plot_weights_over_steps
from mgpp.plots.landscape import FIELD_NAMES, SYMBOLS, mark_prior_threshold, plot_penalties, plot_prior_family
from mgpp.plots.runs import plot_remaining_weights, plot_thresholds
from mgpp.plots.sensitivity import MEASURES, plot_sensitivity, sensitivity_table
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L0, L1, L2
from mgpp.runs import Run

PAPER_PRIOR = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1)
FAMILIES = {
    "lam": (1e-8, 1e-6, 1e-4, 1e-2),
    "spike_var": (1e-8, 1e-7, 1e-6, 1e-5),
    "slab_var": (0.01, 0.1, 1.0, 10.0),
}


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
        wide.set_title("over the range of weights")
        close.set_title("close to zero, where the spike lives")
        letter_panels([wide, close])
        label_once(wide, close)
        one_legend(figure, [close], ncols=5, columnspacing=1.0)
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
        for ax, (field, values) in zip(axes, FAMILIES.items(), strict=True):
            plot_prior_family(prior, field, values, ax=ax)
            ax.set_title(f"{FIELD_NAMES[field]}, {SYMBOLS[field]}")
        letter_panels(axes)
        label_once(*axes)
    return figure


def figure_2(
    runs: Iterable[Run],
    methods: Iterable[str] = ("mgpp", "l2"),
    *,
    trials: Iterable[Run] = (),
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """Draw Figure 2, MGPP against L2: (a) density of the remaining weights, (b) pruning threshold through training.

    Args:
        runs: logged runs; finished ones of `methods` are drawn, at the highest sparsity that all of them reached.
        methods: which to compare.
        trials: other runs of the same recipe; an L2 that is as strong as MGPP's slab is drawn too.
        width: in inches; a column's width puts the panels one above the other.

    Raises:
        ValueError: if no sparsity has a finished run of each method.
    """
    chosen = comparable(runs, methods)
    equal = as_strong_as_slab(chosen[0], trials)[:1]
    with style.paper_style():
        figure, axes = panels(2, width, 2.7)
        titles = (f"remaining weights at sparsity {chosen[0].sparsity:g}", "pruning threshold")
        for ax, plot, title in zip(axes, (plot_remaining_weights, plot_thresholds), titles, strict=True):
            plot(chosen, ax=ax)
            plot(equal, ax=ax, color=style.BLACK, linestyle=":", label="L2 as strong as the slab")
            ax.set_title(title, pad=14)
        letter_panels(axes)
        one_legend(figure, axes, ncols=3, columnspacing=1.0)
    return figure


def figure_sensitivity(runs: Iterable[Run], *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw what λ (at the end of annealing), σ0² and σ1² do in training: a panel a measure, a line a hyperparameter.

    Args:
        runs: finished runs of MGPP, each of which changes one hyperparameter of a common default.
        width: in inches; a column's width puts the panels one above the other.

    Raises:
        ValueError: if a run changes two hyperparameters at once, or none is finished.
    """
    table = sensitivity_table(runs)
    with style.paper_style():
        figure, axes = panels(len(MEASURES), width, 2.3)
        for ax, (measure, title) in zip(axes, MEASURES.items(), strict=True):
            plot_sensitivity(table, measure, ax=ax)
            ax.set_title(title)
        letter_panels(axes)
        one_legend(figure, axes, ncols=3, columnspacing=1.0)
    return figure


def figure_weights(
    runs: Iterable[Run], methods: Iterable[str] = ("mgpp", "l2"), *, width: float = style.PAGE_WIDTH
) -> Figure:
    """Draw how the magnitudes of all weights move through training: a heat map a method, one above the other.

    Args:
        runs: logged runs; the first seed of each method is drawn, at the highest sparsity that all of them reached.
        methods: from above.
        width: in inches.

    Raises:
        ValueError: if no sparsity has a finished run of each method.
    """
    chosen = first_of_each(runs, methods)
    with style.paper_style():
        figure, axes = plt.subplots(len(chosen), 1, figsize=(width, 0.9 + 1.7 * len(chosen)), sharex=True)
        for run, ax in zip(chosen, np.atleast_1d(axes), strict=True):
            plot_weights_over_steps(run, ax=ax)
            ax.set_title(style.method_label(run.method), pad=14)
            ax.label_outer()
        letter_panels(np.atleast_1d(axes))
        bar = figure.colorbar(figure.axes[0].collections[0], ax=axes, extend="min", aspect=30)
        bar.set_label("share of all weights per decade")
        one_legend(figure, figure.axes, ncols=2)
    return figure


def as_strong_as_slab(run: Run, trials: Iterable[Run]) -> list[Run]:
    """Return the finished runs of L2 that are as strong as the slab of a run of MGPP: within 5% of 1/(n σ1²).

    They differ from it in the penalty and the seed alone.
    """
    found = []
    for trial in trials:
        if (
            trial.status == "finished"
            and trial.method == "l2"
            and _apart_from_penalty(trial) == _apart_from_penalty(run)
        ):
            slab = 1 / (run.info["examples"]["train"] * run.recipe["prior"]["slab_var"])
            if math.isclose(trial.recipe["l2"]["strength"], slab, rel_tol=0.05):
                found.append(trial)
    return found


def _apart_from_penalty(run: Run) -> dict[str, Any]:
    """Return the settings that two runs must share, if only their penalties are to differ."""
    apart = {"method", "prior", "l1", "l2", "seed", "log", "save_model", "threads"}
    return {key: value for key, value in run.recipe.items() if key not in apart} | {"n": run.info.get("examples")}


def first_of_each(runs: Iterable[Run], methods: Iterable[str]) -> list[Run]:
    """Return the first seed of each method at the highest sparsity that all of them reached.

    Raises:
        ValueError: if no sparsity has a finished run of each method.
    """
    methods = tuple(methods)
    chosen = comparable(runs, methods)
    return [next(run for run in chosen if run.method == method) for method in methods]


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
