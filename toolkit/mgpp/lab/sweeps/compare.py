"""Compare methods: a sweep over methods, sparsities and seeds, whose runs are named as `mgpp train` names them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.sweeps.grid import Cell, cells_of
from mgpp.lab.sweeps.launchers import Launcher, LocalProcesses
from mgpp.lab.sweeps.sweep import Report, train_cells, unfinished


def compare(
    recipe: str | Path | Recipe,
    *,
    methods: Iterable[str],
    sparsities: Iterable[float],
    seeds: Iterable[int],
    out: str | Path,
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    launcher: Launcher | None = None,
    retries: int = 2,
    report: Report = tqdm.write,
) -> Path:
    """Train every method at every sparsity with every seed, each in `out/<run_name>`.

    It resumes, waits and tries again as `mgpp.sweep` does. A finished run counts if its recipe is the same training,
    see `mgpp.lab.recipes.differences`. The comparison's table marks pairs of runs of different precision.

    Args:
        recipe: a name, a YAML file, or a recipe; all that is not varied comes from it.
        methods: names of methods; `dense` is trained once a seed.
        sparsities: final sparsities.
        seeds: random seeds.
        out: the folder of the runs.
        jobs: trainings at a time, if no launcher is given.
        overrides: values by dotted key, as for `load_recipe`.
        launcher: where to train; by default in processes of this machine.
        retries: how often to try a run again whose worker died, or that ran out of memory or disk.
        report: takes a line for each training that ended.

    Returns:
        `out`.

    Raises:
        RecipeError: if the recipe or the grid is wrong.
        SweepError: before anything is trained, if `out` has runs of the same names with other recipes.

    Example:
        >>> compare("reviews-quick", methods=["mgpp", "l2"], sparsities=[0.9], seeds=[0], out="c")  # doctest: +SKIP
    """
    out = Path(out)
    todo = unfinished(grid(recipe, methods, sparsities, seeds, overrides or {}), out, report)
    train_cells(todo, out, launcher or LocalProcesses(jobs), retries=retries, report=report)
    return out


def grid(
    recipe: str | Path | Recipe,
    methods: Iterable[str],
    sparsities: Iterable[float],
    seeds: Iterable[int],
    overrides: Mapping[str, Any],
) -> list[Cell]:
    """Return every run, seed after seed, so that a comparison that is stopped has whole seeds.

    Raises:
        RecipeError: as `cells_of` does.

    Example:
        >>> [cell.name for cell in grid("reviews", ["dense", "l2"], [0.8, 0.9], [7], {})]
        ['reviews-dense-seed7', 'reviews-l2-0.8-seed7', 'reviews-l2-0.9-seed7']
    """
    cells = cells_of(recipe, {"sparsity.final": list(sparsities), "method": list(methods)}, seeds, overrides)
    named: dict[str, Cell] = {}  # dense has the same name at all sparsities
    for cell in cells:
        named.setdefault(cell.recipe.run_name, Cell(cell.recipe.run_name, cell.recipe))
    return list(named.values())
