"""Render all figures from folders of runs to files: what `mgpp figures` does."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from mgpp.lab.comparison.figures import figure_comparison, figure_survivors
from mgpp.lab.comparison.frame import main_experiment
from mgpp.plots import style
from mgpp.plots.consistency import figure_consistency
from mgpp.plots.figures import figure_1, figure_2, figure_a1, figure_sensitivity, save_figure
from mgpp.runs import load_runs


def render_all(
    runs_folder: str | Path,
    out: str | Path,
    sweep_folder: str | Path | None = None,
    consistency_folder: str | Path | None = None,
) -> list[Path]:
    """Draw the figures from the runs in a folder, for a page and (`_column`) for a column; returns the files.

    The trained sensitivity is drawn if the folder of the sweep exists, for a page only: it has twelve panels. The
    simulation of consistency is drawn if its folder exists.
    """
    runs = main_experiment(load_runs(runs_folder))
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
    widths = {"": style.PAGE_WIDTH, "_column": style.COLUMN_WIDTH}
    paths = [
        path
        for stem, make in draw.items()
        for ending, width in widths.items()
        for path in save_figure(make(width=width), stem + ending, out)
    ]
    return paths + (save_figure(sweep, "figure_sensitivity", out) if sweep else [])
