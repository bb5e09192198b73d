"""The look of all figures: widths, fonts, and colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib.pyplot as plt
import seaborn as sns

COLUMN_WIDTH, PAGE_WIDTH = 3.35, 6.9  # inches

BLACK, BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    "#000000",
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
)
SPIKE, SLAB = BLUE, ORANGE
PRIOR_THRESHOLD, PRUNING_THRESHOLD = GREEN, PURPLE
GREY, DARK_GREY = "#767676", "#3A3A3A"
METHOD_COLORS = {  # relatives share a colour; no two methods share a line or a marker
    "mgpp": BLUE,
    "l2": VERMILION,
    "l1": ORANGE,
    "gmp": GREY,
    "gmp-star": GREY,
    "l0": SKY,
    "movement": GREEN,
    "soft-movement": GREEN,
    "platon": PURPLE,
    "platon-frozen": PURPLE,
    "dense": BLACK,
    "transfer": DARK_GREY,
}
_DASH_DOT_DOT = (0, (5, 1.2, 1, 1.2, 1, 1.2))
METHOD_LINES: dict[str, Any] = {
    "mgpp": "-",
    "l2": "--",
    "l1": "-.",
    "gmp": ":",
    "gmp-star": (0, (1, 3)),
    "l0": (0, (8, 1.5)),
    "movement": (0, (4, 1, 1, 1)),
    "soft-movement": (0, (4, 1, 1, 1, 1, 1, 1, 1)),
    "platon": (0, (2, 1)),
    "platon-frozen": (0, (2, 3)),
    "dense": _DASH_DOT_DOT,
    "transfer": (0, (8, 1.5, 2, 1.5)),
}
METHOD_MARKERS = dict(zip(METHOD_COLORS, "osD^v<PXhd_>", strict=True))
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


def paper_style() -> AbstractContextManager[None]:
    """The style of the figures, as a context manager that leaves matplotlib's settings as they were.

    Example:
        >>> with paper_style():
        ...     plt.rcParams["font.size"]
        8.0
    """
    plt.draw_if_interactive()  # loads the backend now: notebooks switch to interactive then, and that must outlive this
    return plt.style.context(["default", _RC | FILE_SETTINGS])


def shades(count: int) -> list[Any]:
    """`count` colours from light to dark that keep their order in greyscale."""
    return list(sns.color_palette("viridis_r", count + 1))[1:]
