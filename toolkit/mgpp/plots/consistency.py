"""Tabulate and draw the consistency simulation: what was found, and how well it predicts, as n grows."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from mgpp.plots import style
from mgpp.plots.axes import label_once, letter_panels, on_own_axes, one_legend
from mgpp.runs import Run

MEASURES = {"fsr": "false selection rate", "nsr": "negative selection rate", "excess_risk": "excess risk"}
PROBLEM_NAMES = {
    "teacher": "sparse teacher,\n5 of 1,000 inputs",
    "regression": "regression,\n5 of 2,000 inputs",
    "positions": "transformer,\n3 of 16 positions",
}
METHODS = ("mgpp", "l2", "gmp")
KEYS = ["problem", "method", "n"]


def consistency_table(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a row for each training of the finished runs.

    Returns:
        Columns problem, method, n, and those that `studies.consistency.simulation.replicate` logs.

    Raises:
        ValueError: if no run of the simulation is finished.
    """
    frames = [
        run.metrics.dropna(axis="columns", how="all").assign(**{key: run.recipe[key] for key in KEYS})
        for run in runs
        if run.status == "finished" and "problem" in run.recipe
    ]
    if not frames:
        raise ValueError("no finished run of the consistency simulation; make them with python -m studies.consistency")
    return pd.concat(frames, ignore_index=True)


def choose_kept(table: pd.DataFrame) -> pd.DataFrame:
    """Choose the number of weights kept by the one-standard-error rule (Breiman et al. 1984).

    Of the trainings on the same data it takes the sparsest one whose validation loss is at most the least one plus its
    standard error. The rule does not use the truth and is the same for all methods.

    Args:
        table: of `consistency_table`.

    Returns:
        A row for each problem, method, n and seed.

    Example:
        >>> losses = {"kept": [10, 20, 40], "validation_loss": [1.5, 1.1, 1.0], "validation_se": 0.2}
        >>> table = pd.DataFrame({"problem": "teacher", "method": "l2", "n": 100, "seed": 0} | losses)
        >>> choose_kept(table)["kept"].tolist()
        [20]
    """
    keys = [*KEYS, "seed"]
    best = table.loc[table.groupby(keys)["validation_loss"].idxmin()].set_index(keys)
    bound = (best["validation_loss"] + best["validation_se"]).rename("bound")
    near = table.join(bound, on=keys).query("validation_loss <= bound").drop(columns="bound")
    return near.sort_values([*keys, "kept"]).groupby(keys, as_index=False).head(1).reset_index(drop=True)


def summarize(rows: pd.DataFrame, by: Iterable[str] = KEYS) -> pd.DataFrame:
    """Return mean and standard error over seeds of each measure, in columns such as fsr and fsr_se.

    Args:
        rows: of `choose_kept`, or of `consistency_table` with one training a seed in each group.
        by: what a group has in common.

    Example:
        >>> rows = pd.DataFrame({"n": 100, "fsr": [0.0, 0.2], "nsr": 0.0, "excess_risk": 1.0})
        >>> summarize(rows, by=["n"])[["fsr", "fsr_se"]].round(3).values.tolist()
        [[0.1, 0.1]]
    """
    groups = rows.groupby(list(by), sort=False)[list(MEASURES)]
    return groups.mean().join(groups.sem().add_suffix("_se")).reset_index()


@on_own_axes
def plot_against(summary: pd.DataFrame, measure: str, x: str = "n", *, ax: Axes, **line: Any) -> Axes:
    """Draw a measure against n or the weights kept, a line a method, in a band of one standard error.

    Args:
        summary: of `summarize`, one problem.
        measure: fsr, nsr or excess_risk.
        x: n, or kept.
        ax: where to draw; a new figure by default.
        line: further arguments for `Axes.plot`.

    Raises:
        ValueError: if the summary holds several problems.
    """
    problems = summary["problem"].unique()
    if len(problems) != 1:
        raise ValueError(f"a panel shows one problem, not {', '.join(problems) or 'none'}")
    for method in [method for method in METHODS if method in set(summary["method"])]:
        rows = summary[summary["method"] == method].sort_values(x)
        look = style.method_look(method) | {"markersize": 3.5}
        ax.plot(rows[x], rows[measure], **look | line)
        low, high = rows[measure] - rows[f"{measure}_se"], rows[measure] + rows[f"{measure}_se"]
        ax.fill_between(rows[x], low.clip(lower=0.0), high, color=look["color"], alpha=0.15, linewidth=0)
    names = {"n": "training examples n", "kept": "weights kept"}
    ax.set(xscale="log", xlabel=names[x], ylabel=MEASURES[measure])
    _plain_numbers(ax.xaxis, subs=(1.0,) if x == "n" else (1.0, 2.0, 4.0))
    if measure == "excess_risk":
        ax.set_yscale("log")
        _plain_numbers(ax.yaxis, subs=(1.0, 2.0, 5.0))
    else:
        ax.set(ylim=(-0.04, 1.04), yticks=[0, 0.25, 0.5, 0.75, 1])
    return ax


def _plain_numbers(axis: Axis, subs: tuple[float, ...]) -> None:
    """Label a log axis with numbers instead of powers."""
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())


def figure_consistency(runs: Iterable[Run], *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw false selection, negative selection and excess risk against n: a row a problem, a line a method.

    Lines are means over seeds in a band of one standard error. `choose_kept` chooses how many weights are kept.

    Args:
        runs: of the simulation.
        width: in inches. At a column's width the panels of a problem stand one above the other.

    Raises:
        ValueError: if no run of the simulation is finished.
    """
    summary = summarize(choose_kept(consistency_table(runs)))
    problems = [name for name in PROBLEM_NAMES if name in set(summary["problem"])]
    narrow = width <= style.COLUMN_WIDTH
    rows, columns = (len(MEASURES), len(problems)) if narrow else (len(problems), len(MEASURES))
    with style.paper_style():
        figure, axes = plt.subplots(rows, columns, figsize=(width, 0.5 + 1.7 * rows), sharex="col", squeeze=False)
        for panels, name in zip(axes.T if narrow else axes, problems, strict=True):
            for ax, measure in zip(panels, MEASURES, strict=True):
                plot_against(summary[summary["problem"] == name], measure, ax=ax)
                ax.set_title("\n" + PROBLEM_NAMES[name].partition(",")[0] if narrow else MEASURES[measure])
                ax.set_ylabel(MEASURES[measure] if narrow else PROBLEM_NAMES[name])
        _name_once(axes)
        letter_panels(axes.flat)
        one_legend(figure, axes.flat, ncols=len(METHODS), columnspacing=1.0)
    return figure


def _name_once(axes: np.ndarray) -> None:
    """Keep titles in the first row alone, y labels in the first column, and one x label for all panels."""
    for ax in axes[1:].flat:
        ax.set_title("")
    for ax in axes.flat:
        ax.set_xlabel(ax.get_xlabel() if ax is axes[-1, axes.shape[1] // 2] else "")
    label_once(*axes.flat)
