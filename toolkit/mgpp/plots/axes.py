"""Make Axes for plots that were called without any."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

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
