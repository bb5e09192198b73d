"""Draw the figures of a comparison: score against sparsity, and what survives."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mgpp.lab.comparison.frame import comparison_frame, comparison_summary, judged_by, main_experiment
from mgpp.lab.comparison.plots import DEPTH, differences, plot_differences, plot_score, plot_survivors, survivors
from mgpp.plots import style
from mgpp.plots.axes import label_once, letter_panels, panels
from mgpp.plots.runs import in_order
from mgpp.runs import Run, unit


def figure_comparison(runs: Iterable[Run], *, reference: str = "mgpp", width: float = style.PAGE_WIDTH) -> Figure:
    """Draw how far each method ends above `reference`, paired by seed, a panel a sparsity.

    Where no run pairs with one of `reference`, the scores themselves are drawn against sparsity.

    Args:
        runs: of the recipe that most of them have, those that finished are drawn.
        reference: a method.
        width: in inches; a column's width puts the panels one above the other.

    Raises:
        ValueError: as `plot_score` does.
    """
    frame = comparison_frame(main_experiment(runs))
    table = differences(frame, reference) if len(frame) else frame
    with style.paper_style():
        return (
            _figure_of_scores(frame, width) if table.empty else _figure_of_differences(frame, table, reference, width)
        )


def _figure_of_scores(frame: pd.DataFrame, width: float) -> Figure:
    figure, ax = plt.subplots(figsize=(width, 3.6))
    plot_score(frame, ax=ax)
    figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, columnspacing=1.0, handlelength=4
    )
    return figure


def _figure_of_differences(frame: pd.DataFrame, table: pd.DataFrame, reference: str, width: float) -> Figure:
    rivals = list(table.groupby("rival")["above"].mean().sort_values(ascending=False).index)
    levels = sorted(table["sparsity"].unique())
    near, (_, name) = table[~table["far"]], unit(judged_by(frame)[0])
    edges = near[["above", "low", "high"]].to_numpy()
    low, high = min(np.nanmin(edges), 0.0), max(np.nanmax(edges), 0.0)
    margin = 0.06 * (high - low) or 1.0
    figure, axes = panels(len(levels), width, 0.9 + 0.19 * len(rivals), sharey=True)
    for level, ax in zip(levels, axes, strict=True):
        plot_differences(table[table["sparsity"] == level], rivals, ax=ax)
        ax.set_xlim(low - margin, high + margin)
        ax.set_title(f"sparsity {level:g}\n{_levels_in_words(frame, reference, level)}")
    letter_panels(axes)
    figure.legend(handles=_kinds_of_dots(table), loc="outside lower center", ncols=3, columnspacing=1.0)
    label = f"{name.removesuffix(', %')} above {style.method_label(reference)}'s" + ", points" * name.endswith(", %")
    axes[len(levels) // 2 if width > style.COLUMN_WIDTH else -1].set_xlabel(label)
    return figure


def _kinds_of_dots(table: pd.DataFrame) -> list[Line2D]:
    """Return the entries of a legend that tell means of several pairs, with intervals, from single pairs."""
    look: dict[str, Any] = {"marker": "o", "color": style.GREY, "markersize": 4, "linewidth": 1.2}
    several = Line2D([], [], **look, label="mean of pairs, 95% interval")
    single = Line2D([], [], **look | {"linestyle": "", "markerfacecolor": "white"}, label="one pair, interval unknown")
    return [several] * bool((table["seeds"] > 1).any()) + [single] * bool((table["seeds"] == 1).any())


def _levels_in_words(frame: pd.DataFrame, reference: str, sparsity: float) -> str:
    """Return the mean scores of the reference at a sparsity and of the dense model, where there is one."""
    table, (scale, name) = comparison_summary(frame), unit(judged_by(frame)[0])
    of_reference = table[(table["method"] == reference) & (table["sparsity"] == sparsity)]
    rows = pd.concat([of_reference, table[table["method"] == "dense"]]).to_dict("records")
    sign = "%" if name.endswith(", %") else ""
    return ", ".join(f"{style.method_label(row['method'])} {scale * row['mean']:.1f}{sign}" for row in rows)


def figure_survivors(runs: Iterable[Run], sparsity: float | None = None, *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw the share of the weights left in each layer and kind of matrix, a panel a method.

    Args:
        runs: of the recipe that most of them have, finished ones of methods that prune are drawn.
        sparsity: which runs; by default that with most methods, of several the highest.
        width: in inches.

    Raises:
        ValueError: as `survivors` does.
    """
    table = survivors(main_experiment(runs), sparsity)
    methods = in_order(table["method"])
    across = min(len(methods), 4 if width > style.COLUMN_WIDTH else 2)
    down = -(-len(methods) // across)
    with style.paper_style():
        figure, axes = plt.subplots(down, across, figsize=(width, 1.0 + 1.4 * down), sharey=True, squeeze=False)
        for number, ax in enumerate(axes.flat):
            if number >= len(methods):
                ax.set_visible(False)
                continue
            plot_survivors(table, methods[number], ax=ax, cbar=False)
            ax.tick_params(labelbottom=number + across >= len(methods))  # the lowest of its column
            for label in ax.get_xticklabels():
                label.set_in_layout(number // across == down - 1)  # the others hang into an empty panel
            label_once(ax)
        letter_panels(axes.flat[: len(methods)])
        mean = 1 - table["sparsity"].iloc[0]
        bar: dict[str, Any] = {"location": "bottom", "shrink": 0.7, "aspect": 40}
        colors = figure.colorbar(axes.flat[0].collections[0], ax=axes, **bar)
        colors.set_ticks([-DEPTH, -DEPTH / 2, 0, DEPTH / 2, DEPTH], labels=["≤ 1/16", "1/4", "1", "4", "16"])
        colors.set_label(f"weights left, as a multiple of the mean ({mean:.0%})")
    return figure
