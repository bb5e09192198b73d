"""Derive the explorer's colours from those of the figures, with enough contrast on light and on dark paper."""

from mgpp.palette import VERMILION
from mgpp.plots import style

PAPERS = {"light": "#FFFFFF", "dark": "#151515"}
COLORS = {
    "spike": style.SPIKE,
    "slab": style.SLAB,
    "tau": style.PRIOR_THRESHOLD,
    "cut": style.PRUNING_THRESHOLD,
    "curve": style.SPIKE,
    "b": VERMILION,
}
CONTRAST = 3.2  # WCAG 2.2 asks for 3 between a graphical object and what is beside it


def colors_css() -> str:
    """Return the colours as CSS variables, one value for light and one for dark paper each."""
    values = {name: [readable(color, paper) for paper in PAPERS.values()] for name, color in COLORS.items()}
    lines = [f"--{name}: light-dark({light}, {dark});" for name, (light, dark) in values.items()]
    return f".mgpp-explorer {{ {' '.join(lines)} }}\n"


def readable(color: str, paper: str, contrast: float = CONTRAST) -> str:
    """Return the colour, darkened or lightened as far as the contrast with the paper needs.

    Example:
        >>> readable("#0072B2", "#FFFFFF"), readable("#E69F00", "#FFFFFF")
        ('#0072B2', '#BF8400')
    """
    away = 0 if _luminance(paper) > 0.5 else 255
    for share in range(0, 101):
        mixed = "#" + "".join(f"{round(c + (away - c) * share / 100):02X}" for c in _rgb(color))
        if contrast_of(mixed, paper) >= contrast:
            return mixed
    raise ValueError(f"no shade of {color} has contrast {contrast} on {paper}")


def contrast_of(color: str, other: str) -> float:
    """Return the contrast ratio of two colours, from 1 to 21, as WCAG defines it.

    Example:
        >>> contrast_of("#000000", "#FFFFFF")
        21.0
    """
    dark, light = sorted((_luminance(color), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _rgb(color: str) -> list[int]:
    return [int(color[i : i + 2], 16) for i in (1, 3, 5)]


def _luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _rgb(color))]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
