"""Draw the figures of a comparison: score against sparsity, and what survives."""

from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from mgpp.lab.comparison.frame import comparison_frame, main_experiment
from mgpp.lab.comparison.plots import plot_score, plot_survivors, survivors
from mgpp.plots import style
from mgpp.plots.figures import label_once
from mgpp.plots.runs import in_order
from mgpp.runs import Run


def figure_comparison(runs: Iterable[Run], *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw the methods' scores on the final split against sparsity, with the dense model's level.

    Args:
        runs: of the recipe that most of them have, those that finished are drawn.
        width: in inches.

    Raises:
        ValueError: as `plot_score` does.
    """
    with style.paper_style():
        figure, ax = plt.subplots(figsize=(width, 3.6))
        plot_score(comparison_frame(main_experiment(runs)), ax=ax)
        wide: dict[str, Any] = {"loc": "outside right center"}
        narrow: dict[str, Any] = {"loc": "outside lower center", "ncols": 2, "columnspacing": 1.0}
        look = wide if width > style.COLUMN_WIDTH else narrow
        figure.legend(*ax.get_legend_handles_labels(), handlelength=4, **look)
    return figure


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
            plot_survivors(table, methods[number], ax=ax, vmax=table["density"].max(), cbar=False)
            ax.tick_params(labelbottom=number + across >= len(methods))  # the lowest of its column
            for label in ax.get_xticklabels():
                label.set_in_layout(number // across == down - 1)  # the others hang into an empty panel
            label_once(ax)
        words = f"share of the weights left, at sparsity {table['sparsity'].iloc[0]:g}"
        bar: dict[str, Any] = {"location": "bottom", "shrink": 0.6, "aspect": 40}
        figure.colorbar(axes.flat[0].collections[0], ax=axes, label=words, **bar)
    return figure
