"""Make Axes: for plots that were called without any, and panels of figures with their letters."""

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from string import ascii_lowercase
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mgpp.plots import style

OWN_SIZE = (4.6, 2.9)  # inches


def on_own_axes(plot: Callable[..., Axes]) -> Callable[..., Axes]:
    """Create a new figure in the style of the paper for a plot that is called without `ax`.

    Example:
        >>> @on_own_axes
        ... def plot_nothing(*, ax: Axes) -> Axes:
        ...     return ax
        >>> print(plot_nothing().figure.get_figwidth())
        4.6
    """

    @wraps(plot)
    def _drawn(*args: Any, ax: Axes | None = None, **options: Any) -> Axes:
        if ax is not None:
            return plot(*args, ax=ax, **options)
        with style.paper_style():
            return plot(*args, ax=plt.figure(figsize=OWN_SIZE).subplots(), **options)

    parameters = dict(inspect.signature(plot).parameters)  # what help() shows: `ax` may be left out
    parameters["ax"] = parameters["ax"].replace(default=None, annotation=Axes | None)
    _drawn.__signature__ = inspect.signature(plot).replace(parameters=list(parameters.values()))  # type: ignore[attr-defined]
    return _drawn


def panels(count: int, width: float, height: float, *, sharey: bool = False) -> tuple[Figure, list[Axes]]:
    """Create a figure of `count` panels, each `height` inches high: side by side on a page, stacked in a column."""
    rows, columns = (count, 1) if width <= style.COLUMN_WIDTH else (1, count)
    figure, axes = plt.subplots(rows, columns, figsize=(width, rows * height), sharey=sharey, squeeze=False)
    return figure, list(axes.flat)


def letter_panels(axes: Iterable[Axes]) -> None:
    """Put (a), (b), ... before the titles of panels, or in place of missing ones.

    Example:
        >>> figure, axes = panels(2, style.PAGE_WIDTH, 1.0)
        >>> _ = axes[0].set_title("loss")
        >>> letter_panels(axes)
        >>> [ax.get_title() for ax in axes]
        ['(a) loss', '(b)']
    """
    for letter, ax in zip(ascii_lowercase, axes, strict=False):
        ax.title.set_text(f"({letter}) {ax.get_title()}".rstrip())


def label_once(*axes: Axes) -> None:
    """Keep only the leftmost y label if panels with one scale stand side by side."""
    for ax in axes:
        spec = ax.get_subplotspec()
        if spec is not None and not spec.is_first_col():
            ax.set_ylabel("")


def one_legend(figure: Figure, axes: Iterable[Axes], **options: Any) -> None:
    """Move the legend that panels have in common below them; `options` are further arguments for `Figure.legend`."""
    axes = list(axes)
    entries = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))  # each label once
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", **options)
    for legend in filter(None, (ax.get_legend() for ax in axes)):
        legend.remove()
