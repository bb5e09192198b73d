"""Render all figures from folders of runs to files: what `mgpp figures` does."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from mgpp.lab.comparison.figures import figure_comparison, figure_survivors
from mgpp.lab.comparison.frame import main_experiment
from mgpp.plots import style
from mgpp.plots.consistency import figure_consistency
from mgpp.plots.figures import figure_1, figure_2, figure_a1, figure_sensitivity, save_figure
from mgpp.runs import RunWarning, load_runs

OF_FORMULAS = {"figure_1", "figure_a1"}
WIDTHS = {"": style.PAGE_WIDTH, "_column": style.COLUMN_WIDTH}


def render_all(
    runs_folder: str | Path | None,
    out: str | Path,
    sweep_folder: str | Path | None = None,
    consistency_folder: str | Path | None = None,
) -> list[Path]:
    """Draw the figures from the runs in a folder, for a page and (`_column`) for a column; returns the files.

    A figure for which the runs are missing is left out with a RunWarning. Without a folder of runs only those of the
    formulas are drawn.

    The trained sensitivity is drawn if the folder of the sweep exists, for a page only: it has twelve panels. The
    simulation of consistency is drawn if its folder exists.
    """
    runs = [] if runs_folder is None else main_experiment(load_runs(runs_folder))
    sweep = None
    if sweep_folder and Path(sweep_folder).is_dir():
        sweep = figure_sensitivity(load_runs(sweep_folder))  # first, as it may be refused
    draw: dict[str, Callable[..., Figure]] = {
        "figure_1": figure_1,
        "figure_2": partial(figure_2, runs),
        "figure_a1": figure_a1,
        "figure_comparison": partial(figure_comparison, runs),
        "figure_survivors": partial(figure_survivors, runs),
    }
    if consistency_folder and Path(consistency_folder).is_dir():
        draw["figure_consistency"] = partial(figure_consistency, load_runs(consistency_folder))
    paths = [path for stem, make in draw.items() for path in _saved(make, stem, out)]
    return paths + (save_figure(sweep, "figure_sensitivity", out) if sweep else [])


def _saved(make: Callable[..., Figure], stem: str, out: str | Path) -> list[Path]:
    """Save a figure in both widths; one that lacks its runs is left out."""
    try:
        figures = {ending: make(width=width) for ending, width in WIDTHS.items()}
    except ValueError as error:
        if stem in OF_FORMULAS:
            raise
        warnings.warn(f"{stem} is left out: {error}", RunWarning, stacklevel=3)
        return []
    return [path for ending, figure in figures.items() for path in save_figure(figure, stem + ending, out)]
