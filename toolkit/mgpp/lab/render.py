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
from mgpp.plots.figures import figure_1, figure_2, figure_a1, figure_sensitivity, figure_weights, save_figure
from mgpp.plots.sensitivity import sensitivity_table
from mgpp.runs import Run, RunWarning, load_runs

OF_FORMULAS = {"figure_1", "figure_a1"}
WIDTHS = {"": style.PAGE_WIDTH, "_column": style.COLUMN_WIDTH}


def render_all(
    runs_folder: str | Path | None,
    out: str | Path,
    sweep_folder: str | Path | None = None,
    consistency_folder: str | Path | None = None,
    trials_folder: str | Path | None = None,
) -> list[Path]:
    """Draw the figures from the runs in a folder, for a page and (`_column`) for a column; returns the files.

    A figure for which the runs are missing is left out with a RunWarning. Without a folder of runs only those of the
    formulas are drawn. The other folders count if they exist.

    Args:
        runs_folder: of runs of one recipe.
        out: where to write.
        sweep_folder: of runs that change the prior, for the trained sensitivity.
        consistency_folder: of runs of the simulation.
        trials_folder: of other runs of the recipe, among which Figure 2 looks for an L2 as strong as the slab.
    """
    runs = [] if runs_folder is None else main_experiment(load_runs(runs_folder))
    sweep = _runs_in(sweep_folder)
    draw: dict[str, Callable[..., Figure]] = {
        "figure_1": figure_1,
        "figure_2": partial(figure_2, runs, trials=_runs_in(trials_folder)),
        "figure_a1": figure_a1,
        "figure_weights": partial(figure_weights, runs),
        "figure_comparison": partial(figure_comparison, runs),
        "figure_survivors": partial(figure_survivors, runs),
    }
    if sweep:
        sensitivity_table(sweep)  # first, as it may be refused
        draw["figure_sensitivity"] = partial(figure_sensitivity, sweep)
    if simulation := _runs_in(consistency_folder):
        draw["figure_consistency"] = partial(figure_consistency, simulation)
    return [path for stem, make in draw.items() for path in _saved(make, stem, out)]


def _runs_in(folder: str | Path | None) -> list[Run]:
    """Return the runs in a folder, none if it does not exist."""
    return load_runs(folder) if folder and Path(folder).is_dir() else []


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
