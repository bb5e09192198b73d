"""List the runs of a sweep: the product of a grid of settings and seeds, each with a name of its own."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.recipe import Recipe, RecipeError, load_recipe, parse_override, recipe_from
from mgpp.lab.sweeps.record import dotted
from mgpp.lab.tasks import find_task
from mgpp.lab.training.train import count_steps

LONGEST_NAME = 100


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        recipe: what is trained.
        varied: the varied settings and the seed, by dotted key.
    """

    name: str
    recipe: Recipe
    varied: Mapping[str, Any] = field(default_factory=dict)


def parse_grid(texts: Iterable[str]) -> dict[str, list[Any]]:
    """Return the grid that options `--grid key=value,value` ask for; each value is read as YAML.

    Raises:
        RecipeError: if a key is given twice, or its values are not YAML.

    Example:
        >>> parse_grid(["sparsity.final=0.8,0.9", "method=mgpp,l2", "targets.include=[query, key],[value]"])
        {'sparsity.final': [0.8, 0.9], 'method': ['mgpp', 'l2'], 'targets.include': [['query', 'key'], ['value']]}
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, _, values = text.partition("=")
        key, grid_values = parse_override(f"{key}=[{values}]", "--grid")
        if key in grid:
            raise RecipeError(f"--grid {key} is given twice; give all its values at once: {key}=value,value")
        grid[key] = grid_values
    return grid


def cells_of(
    recipe: str | Path | Recipe,
    grid: Mapping[str, Sequence[Any]],
    seeds: Iterable[int],
    overrides: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """Return the runs of a sweep, seed after seed, so that a sweep that is stopped has whole seeds.

    Args:
        recipe: a name, a YAML file, or a recipe; all that is not varied comes from it.
        grid: values by dotted key; their product is trained.
        seeds: random seeds.
        overrides: values by dotted key that all runs have.

    Raises:
        RecipeError: if a key or value is not valid, a key has no values or is both varied and overridden, two runs
            have the same name, or the phases of a run do not fit its steps (where the number of steps is known).

    Example:
        >>> [cell.name for cell in cells_of("reviews", {"method": ["mgpp", "l2"], "sparsity.final": [0.9]}, [0])]
        ['reviews-method=mgpp-final=0.9-seed0', 'reviews-method=l2-final=0.9-seed0']
    """
    overrides, axes = overrides or {}, {"seed": list(seeds), **grid}
    for key, values in axes.items():
        if key in overrides:
            raise RecipeError(f"{key} is set to {overrides[key]!r}, but the sweep varies it")
        if not values:
            raise RecipeError(f"{key} has no values; a sweep needs at least one")
    if "seed" in grid:
        raise RecipeError("seed can't be in the grid; give the seeds by seeds, or --seeds")
    if isinstance(recipe, Recipe):
        base = recipe_from(recipe.as_dict(), **overrides)
    else:
        base = load_recipe(recipe, **overrides)
    cells: dict[str, Cell] = {}
    for values in product(*axes.values()):
        cell = _cell(base, dict(zip(axes, values, strict=True)))
        same = cells.setdefault(cell.name.casefold(), cell)  # some file systems ignore case
        if same is not cell:
            raise RecipeError(f"{dict(same.varied)} and {dict(cell.varied)} have the same name, {cell.name}")
    return list(cells.values())


def _cell(base: Recipe, settings: dict[str, Any]) -> Cell:
    recipe = recipe_from(base.as_dict(), **settings)
    task = find_task(recipe.task)
    count = task.known_examples() if recipe.data is None else None
    if recipe.max_steps is not None or count is not None:
        recipe.schedule(count_steps(recipe, count or 0))  # raises if the phases don't fit
    flat = dotted(recipe.as_dict())
    if sections := settings.keys() - flat.keys():
        raise RecipeError(f"{', '.join(sections)}: vary one key at a time, such as prior.lam")
    varied = {key: flat[key] for key in settings if key != "seed"}
    return Cell(_name(recipe, varied), recipe, {**varied, "seed": recipe.seed})


def _name(recipe: Recipe, varied: Mapping[str, Any]) -> str:
    """Name a run in letters, digits and `._+=-`, which are safe in every file system, shell and table."""
    last = [key.rpartition(".")[2] for key in varied]
    labels = [short if last.count(short) == 1 else key for short, key in zip(last, varied, strict=True)]
    pairs = zip(labels, varied.values(), strict=True)
    told = [f"{label}={_text(value)}" for label, value in pairs if value is not None]
    parts = [re.sub(r"[^A-Za-z0-9._+=]+", "-", part).strip("-.") for part in (recipe.name, *told)]
    name = "-".join([*filter(None, parts), f"seed{recipe.seed}"])
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
