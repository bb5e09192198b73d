"""Plot toy trainings: the frames of `mgpp.workshop.toy` in, `ax` in, `ax` out."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from mgpp.plots import style
from mgpp.plots.axes import on_own_axes

LOOKS = [(style.BLUE, "-", "o"), (style.VERMILION, "--", "s"), (style.GREEN, ":", "^"), (style.BLACK, "-.", "D")]
NAMES = {
    "found": "true inputs found, share",
    "false": "false among the kept, share",
    "test_loss": "test loss",
    "loss": "training loss",
    "passed": "share of the data gradient that passes",
    "regrown": "share of the removed that came back",
    "pruning_threshold": "pruning threshold",
}


def looks(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str, str, str]]:
    """Yield each variant's name and rows, with a colour, a line style and a marker."""
    for number, (name, rows) in enumerate(frame.groupby("variant", sort=False)):
        yield str(name), rows, *LOOKS[number % len(LOOKS)]


@on_own_axes
def plot_toy_metric(metrics: pd.DataFrame, column: str, *, ax: Axes, log: bool = False, **line: Any) -> Axes:
    """Draw one column through training, a line a run, coloured by variant, with the phases marked.

    Args:
        metrics: of `compare_toys`.
        column: such as "test_loss", "sparsity" or "passed".
        ax: where to draw; a new figure by default.
        log: draw on a log axis.
        line: further arguments for `Axes.plot`.
    """
    for name, rows, color, dashes, marker in looks(metrics):
        for number, (_, run) in enumerate(rows.groupby("seed")):
            mark = marker if len(run) == 1 else None  # a run of one row is no line
            options = {"color": color, "linestyle": dashes, "marker": mark, "label": None if number else name}
            ax.plot(run["step"], run[column], **options | line)
    ax.set(xlabel="training step", ylabel=_name(column))
    if log:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0)
    ax.legend()
    return _mark_phases(metrics, ax)


def _name(column: str) -> str:
    return NAMES.get(column, column.replace("_", " "))


def _mark_phases(metrics: pd.DataFrame, ax: Axes) -> Axes:
    """Draw thin lines where pruning begins and where the mask is frozen, if the log reaches that far."""
    for phase in ("pruning", "frozen"):
        steps = metrics.loc[metrics["phase"] == phase, "step"]
        if len(steps):
            ax.axvline(steps.min(), color="0.7", linewidth=0.6, zorder=0)
            ax.text(steps.min(), 1.01, f"{phase} →", color="0.35", fontsize=7, transform=ax.get_xaxis_transform())
    return ax


@on_own_axes
def plot_toy_outcomes(metrics: pd.DataFrame, column: str = "found", *, ax: Axes, **points: Any) -> Axes:
    """Draw how every run ended, a row a variant: a dot a seed, and a bar at the mean.

    Args:
        metrics: of `compare_toys`.
        column: what to show of the last logged step; "found" by default.
        ax: where to draw; a new figure by default.
        points: further arguments for `Axes.plot`.
    """
    names: list[str] = []
    for name, rows, color, _, marker in looks(metrics):
        last = rows.groupby("seed")[column].last()
        spread = len(names) + np.linspace(-0.15, 0.15, len(last))  # so that equal seeds can be told apart
        options: dict[str, Any] = {"marker": marker, "linestyle": "", "color": color, "alpha": 0.7}
        ax.plot(last, spread, **options | points)
        ax.plot([last.mean()] * 2, [len(names) - 0.3, len(names) + 0.3], color=color)
        names.append(name)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set_xlabel(f"{_name(column)}, at the end")
    ax.set_xlim(*((-0.03, 1.03) if column in ("found", "false") else (0, None)))
    return ax


@on_own_axes
def plot_toy_weights(weights: pd.DataFrame, *, ax: Axes, **points: Any) -> Axes:
    """Draw weights at the end against the true ones, by layer. An open mark at zero is a true weight that was lost.

    Args:
        weights: of one run. Weights that are zero and should be are left out.
        ax: where to draw; a new figure by default.
        points: further arguments for `Axes.plot`.
    """
    shown = weights[weights["kept"] | (weights["true_weight"] != 0)]
    ax.plot([-1, 1], [-1, 1], color="0.7", linewidth=0.6, zorder=0)  # right is on the diagonal
    ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    for (layer, rows), (color, _, marker) in zip(shown.groupby("layer", sort=False), LOOKS, strict=False):
        for kept, fill in ((True, color), (False, "none")):
            part = rows[rows["kept"] == kept]
            label = f"{layer}: {'kept' if kept else 'true, but lost'} ({len(part)})"
            options = {"marker": marker, "linestyle": "", "color": color, "markerfacecolor": fill, "label": label}
            ax.plot(part["true_weight"], part["value"], **options | points)
    ax.set(xlabel="true weight (0: an input that does not matter)", ylabel="weight at the end")
    ax.legend()
    return ax
