"""Define the look of all figures: widths, fonts, and the colours of what is drawn."""

import sys
from contextlib import AbstractContextManager
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns

from mgpp.methods import METHODS, Method
from mgpp.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION

COLUMN_WIDTH, PAGE_WIDTH = 3.35, 6.9  # inches

SPIKE, SLAB = BLUE, ORANGE
PRIOR_THRESHOLD, PRUNING_THRESHOLD = GREEN, PURPLE
PENALTY_COLORS = {"MGP": BLUE, "L2": VERMILION, "L1": ORANGE, "L0": BLACK, "no penalty": GREY}
PENALTY_LINES = {"MGP": "-", "L2": "--", "L1": "-.", "L0": ":", "no penalty": ":"}

_RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a figure looks the same everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.2,
    "figure.constrained_layout.use": True,
}
# how any figure becomes a file; TrueType: text stays text, and publishers accept it
FILE_SETTINGS: dict[Any, Any] = {"savefig.dpi": 200, "pdf.fonttype": 42}


def penalty_look(label: str) -> dict[str, Any]:
    """Return colour, line and label of a penalty as arguments of `Axes.plot`.

    Example:
        >>> penalty_look("L2")
        {'color': '#D55E00', 'linestyle': '--', 'label': 'L2'}
    """
    return {"color": PENALTY_COLORS.get(label), "linestyle": PENALTY_LINES.get(label, "-"), "label": label}


def paper_style() -> AbstractContextManager[None]:
    """Apply the style of the figures in a context manager that restores matplotlib's settings.

    Example:
        >>> with paper_style():
        ...     plt.rcParams["font.size"]
        8.0
    """
    plt.draw_if_interactive()  # loads the backend now: notebooks switch to interactive then, and that must outlive this
    sharpen_notebooks()
    return plt.style.context(["default", _RC | FILE_SETTINGS])


def sharpen_notebooks() -> None:
    """Draw twice as many pixels in a notebook, as projectors need, unless its user has chosen another format."""
    config = sys.modules.get("matplotlib_inline.config")
    if config and config.InlineBackend.initialized():
        backend = config.InlineBackend.instance()
        if backend.figure_formats == {"png"}:
            backend.figure_formats = {"retina"}


def shades(count: int) -> list[Any]:
    """Return `count` colours from light to dark that keep their order in greyscale."""
    return list(sns.color_palette("viridis_r", count + 1))[1:]


def in_powers(value: float) -> str:
    """Return a positive number with a power of ten.

    Example:
        >>> [in_powers(value) for value in (1e-8, 5e-4, 0.01, 1.0, 10.0)]
        ['10⁻⁸', '5·10⁻⁴', '10⁻²', '1', '10']
    """
    digits, power = f"{value:e}".split("e")
    if int(power) in (0, 1):
        return f"{value:g}"
    raised = str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return "10" + raised if float(digits) == 1 else f"{float(digits):g}·10{raised}"


def method_label(name: str) -> str:
    """Return the name of a method in tables and figures.

    Example:
        >>> method_label("l0"), method_label("unknown")
        ('L0', 'unknown')
    """
    return METHODS.get(name, Method).label or name


def method_look(name: str) -> dict[str, Any]:
    """Return colour, line, marker and label of a method as arguments of `Axes.plot`.

    Example:
        >>> method_look("l2")
        {'color': '#D55E00', 'linestyle': '--', 'marker': 's', 'label': 'L2'}
    """
    method = METHODS.get(name, Method)
    return {"color": method.color, "linestyle": method.line, "marker": method.marker, "label": method_label(name)}
