"""Plot a comparison: differences to one method, the score against sparsity, and what survives in each matrix."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from mgpp.lab.comparison.frame import comparison_summary, judged_by, paired_to
from mgpp.plots import style
from mgpp.plots.axes import on_own_axes
from mgpp.plots.runs import final_cells, in_order
from mgpp.runs import Run, unit

DEPTH = 4.0  # colours end at a sixteenth of the mean, and at 16 times it


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


def differences(frame: pd.DataFrame, reference: str = "mgpp") -> pd.DataFrame:
    """Return how far each rival ends above `reference`, in the units that are drawn.

    Returns:
        Columns sparsity, rival, seeds, above (mean over pairs of one seed), low and high (95%, Student's t; NaN for
        one pair), far (whether the rival lies beyond Tukey's outer fence, three interquartile ranges).
    """
    pairs, (scale, _) = paired_to(frame, reference), unit(judged_by(frame)[0])
    table = pairs[["sparsity", "rival", "seeds"]].assign(
        above=-scale * pairs["mean"], low=-scale * pairs["t_high"], high=-scale * pairs["t_low"]
    )
    first, third = table["above"].quantile([0.25, 0.75])
    reach = 3 * max(third - first, table["above"].abs().median())
    return table.assign(far=~table["above"].between(first - reach, third + reach))


@on_own_axes
def plot_differences(table: pd.DataFrame, rivals: list[str], *, ax: Axes, **points: Any) -> Axes:
    """Plot each rival's mean difference as a dot on a row of its own, with its 95% interval.

    A hollow dot is a single pair, which has no interval. An arrow at the edge stands for a rival that lies far off,
    with its number.

    Args:
        table: from `differences`, of one sparsity.
        rivals: all rows, from above.
        ax: where to draw; a new figure by default.
        points: further arguments for `Axes.errorbar`.
    """
    ax.axvline(0, color=style.method_look("mgpp")["color"], linewidth=0.8, zorder=0)
    for row in table[~table["far"]].to_dict("records"):
        look = style.method_look(row["rival"])
        bar = np.array([[row["above"] - row["low"]], [row["high"] - row["above"]]])
        options: dict[str, Any] = {"fmt": look["marker"], "color": look["color"], "markersize": 4, "linewidth": 1.2}
        options |= {"markerfacecolor": look["color"] if row["seeds"] > 1 else "white", "label": look["label"]}
        xerr = bar if row["seeds"] > 1 else None
        ax.errorbar([row["above"]], [rivals.index(row["rival"])], xerr=xerr, **options | points)
    for row in table[table["far"]].to_dict("records"):
        _mark_far(row, rivals.index(row["rival"]), ax)
    ax.set_yticks(range(len(rivals)), [style.method_label(name) for name in rivals])
    ax.set_ylim(len(rivals) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    return ax


def _mark_far(row: dict[Any, Any], place: int, ax: Axes) -> None:
    """Draw an arrow at the edge towards a rival that lies outside, with its number."""
    color, side = style.method_look(row["rival"])["color"], float(row["above"] > 0)
    look: dict[str, Any] = {"color": color, "fontsize": 7, "va": "center", "ha": "right" if side else "left"}
    arrow = {"arrowstyle": "->", "color": color}
    text = f"{row['above']:+.1f}".replace("-", "−")
    inside = ax.get_yaxis_transform()
    ax.annotate(
        text, (side, place), (-14 if side else 14, 0), inside, "offset points", arrowprops=arrow, **look
    ).set_in_layout(False)


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
    """Plot log2(share / mean) of the weights left in each layer (downwards) and kind of matrix, as a heat map.

    The mean is that of the whole model: +1 is twice as many as on average, -1 half as many. What is below
    2^-`DEPTH` of the mean has the last colour.

    Args:
        table: from `survivors`.
        method: which.
        ax: where to draw; a new figure by default.
        heatmap: further arguments for `seaborn.heatmap`; colours are the same in all panels.
    """
    rows = table[table["method"] == method]
    wide = rows.pivot_table(index="layer", columns="kind", values="density", sort=False) / (1 - rows["sparsity"].max())
    wide = np.log2(wide.clip(lower=2.0**-DEPTH))
    label = "share of the weights left, log2 of its ratio to the mean"
    options: dict[str, Any] = {"cmap": "PuOr_r", "vmin": -DEPTH, "vmax": DEPTH, "cbar_kws": {"label": label}}
    sns.heatmap(wide, ax=ax, **options | heatmap)
    ax.set_xticks(ax.get_xticks(), [kind.replace("_", "\n") for kind in wide.columns], rotation=90, fontsize=6)
    ax.tick_params(length=0)
    ax.set(xlabel="", ylabel="layer", title=style.method_label(method))
    return ax
