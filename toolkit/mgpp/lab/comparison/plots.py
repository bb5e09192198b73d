"""Plot a comparison: the score against sparsity, and what survives in each layer and kind of matrix."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from mgpp.lab.comparison.frame import comparison_summary, judged_by
from mgpp.plots import style
from mgpp.plots.axes import on_own_axes
from mgpp.plots.runs import final_cells, in_order
from mgpp.runs import Run, unit


class NothingToDrawError(ValueError):
    """No run has finished that could be drawn."""


@on_own_axes
def plot_score(frame: pd.DataFrame, *, ax: Axes, **line: Any) -> Axes:
    """Plot the score against sparsity, a line a method with a band of one standard error over seeds, dense as a level.

    A method with one seed has no band. The bar at the right is ± the standard error of one run, which is due to the
    test set alone. The axis is even in the logarithm of the share that is kept.

    Args:
        frame: from `comparison_frame`, of one recipe.
        ax: where to draw; a new figure by default.
        line: further arguments for `Axes.plot`.

    Raises:
        ValueError: as `scored` does.
        NothingToDrawError: if no method that prunes has finished.
    """
    table = comparison_summary(frame).dropna(subset=["mean"])
    metric, higher_is_better = judged_by(frame) if len(frame) else ("", True)
    scale, name = unit(metric)
    pruned = table[table["method"] != "dense"].sort_values("sparsity")
    if pruned.empty:
        raise NothingToDrawError("no finished run of a method that prunes; mgpp compare trains them")
    _mark_dense(table[table["method"] == "dense"], scale, ax)
    for method in in_order(pruned["method"]):
        _draw_method(pruned[pruned["method"] == method], method, scale, ax, line)
    ax.set_xscale("function", functions=(_logarithm_of_kept, _sparsity_again))
    levels = sorted(pruned["sparsity"].unique())
    ax.set_xticks(levels, [f"{level:g}" for level in levels])
    ax.minorticks_off()
    ax.set(xlabel="sparsity", ylabel=name)
    _mark_one_run(scale * pruned["score_se"].mean(), higher_is_better, ax)
    return ax


def _logarithm_of_kept(sparsity: np.ndarray) -> np.ndarray:
    return -np.log2(1 - np.minimum(sparsity, 1 - 1e-9))


def _sparsity_again(value: np.ndarray) -> np.ndarray:
    return 1 - 2.0**-value


def _draw_method(rows: pd.DataFrame, method: str, scale: float, ax: Axes, line: dict[str, Any]) -> None:
    look = style.method_look(method) | {"markersize": 4}
    mean, error = scale * rows["mean"], scale * rows["se"]
    ax.plot(rows["sparsity"], mean, **look | line)
    ax.fill_between(rows["sparsity"], mean - error, mean + error, color=look["color"], alpha=0.15, linewidth=0)
    ax.errorbar(rows["sparsity"], mean, error, fmt="none", ecolor=look["color"], elinewidth=0.8, capsize=2)


def _mark_dense(rows: pd.DataFrame, scale: float, ax: Axes) -> None:
    """Draw the level of the model that was not pruned, with its name."""
    for mean, error in zip(scale * rows["mean"], (scale * rows["se"]).fillna(0), strict=True):
        color = style.method_look("dense")["color"]
        ax.axhline(mean, color=color, linewidth=0.8)
        ax.axhspan(mean - error, mean + error, color=color, alpha=0.08, linewidth=0)
        ax.annotate("dense", (0.01, mean), (0, -2), ax.get_yaxis_transform(), "offset points", va="top", fontsize=7)


def _mark_one_run(error: float, higher_is_better: bool, ax: Axes) -> None:
    """Draw a bar of ± the standard error of one run in the corner at high sparsity, where no scores are."""
    if np.isnan(error):
        return
    low, high = ax.get_ylim()
    inset = error + 0.09 * (high - low)  # clear of the dense level
    center, place = high - inset if higher_is_better else low + inset, ax.get_yaxis_transform()
    ax.errorbar([0.98], [center], [error], fmt="none", ecolor="0.35", capsize=2, elinewidth=0.8, transform=place)
    look: dict[str, Any] = {"ha": "right", "va": "center", "fontsize": 7, "color": "0.35"}
    ax.annotate("± standard error of one run", (0.98, center), (-6, 0), place, "offset points", **look)


def survivors(runs: Iterable[Run], sparsity: float | None = None) -> pd.DataFrame:
    """Return the share of weights left at the end, a row for each method, layer and kind of matrix.

    Args:
        runs: of one recipe; finished ones of methods that prune count.
        sparsity: which runs; by default that with most methods, of several the highest.

    Returns:
        Columns sparsity, method, layer, kind, density (share of the weights that are not zero at the last logged step,
        over all matrices of that layer and kind and all seeds), seeds. In a model with several stacks, such as encoder
        and decoder, the layer is a text that names its stack.

    Raises:
        NothingToDrawError: if no such run has finished.
    """
    chosen = [run for run in runs if run.status == "finished" and run.method != "dense" and not run.layers.empty]
    if sparsity is None and chosen:
        methods = pd.DataFrame([(run.sparsity, run.method) for run in chosen]).groupby(0)[1].nunique()
        sparsity = float(max(methods.index, key=lambda level: (methods[level], level)))
    chosen = [run for run in chosen if run.sparsity == sparsity]
    if not chosen:
        raise NothingToDrawError(
            f"no finished run that prunes to sparsity {sparsity} has logged its layers; train one first"
        )
    rows = pd.concat([final_cells(run.layers).assign(method=run.method, seeds=1) for run in chosen])
    sums = rows.groupby(["method", "layer", "kind"], sort=False, as_index=False)[["zeros", "n", "seeds"]].sum()
    sums = sums.assign(sparsity=sparsity, density=1 - sums["zeros"] / sums["n"])
    return sums[["sparsity", "method", "layer", "kind", "density", "seeds"]]


@on_own_axes
def plot_survivors(table: pd.DataFrame, method: str, *, ax: Axes, **heatmap: Any) -> Axes:
    """Plot the share of weights left in each layer (downwards) and kind of matrix, of one method, as a heat map.

    Args:
        table: from `survivors`.
        method: which.
        ax: where to draw; a new figure by default.
        heatmap: further arguments for `seaborn.heatmap`; give `vmax` to share the colours with other panels.
    """
    rows = table[table["method"] == method]
    wide = rows.pivot_table(index="layer", columns="kind", values="density", sort=False)
    options: dict[str, Any] = {"cmap": "cividis", "vmin": 0.0, "cbar_kws": {"label": "share of the weights left"}}
    sns.heatmap(wide, ax=ax, **options | heatmap)
    ax.set_xticks(ax.get_xticks(), [kind.replace("_", "\n") for kind in wide.columns], rotation=90, fontsize=6)
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="layer", title=style.method_label(method))
    return ax
