"""The runs of a sweep: the product of a grid of settings and seeds, each with a name that tells it from the others."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from mgpp.lab.recipes.differences import settings_that_act
from mgpp.lab.recipes.recipe import Recipe, RecipeError, load_recipe, recipe_from
from mgpp.lab.sweeps.record import dotted
from mgpp.lab.tasks import find_task
from mgpp.lab.training.train import count_steps

LONGEST_NAME = 100
TAKE_LISTS = ("targets.", "trainer.")  # settings whose values may be lists
TOLD_OTHERWISE = {"seed": "--seeds", "name": "the recipe's own name"}


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        name: of its folder.
        recipe: what is trained.
        varied: the settings that tell it from the others, and the seed.
    """

    name: str
    recipe: Recipe
    varied: Mapping[str, Any] = field(default_factory=dict)


def parse_grid(texts: Iterable[str]) -> dict[str, list[Any]]:
    """The grid that `--grid` asks for: `key=value,value`, each value read as YAML as `--set` reads it.

    Raises:
        RecipeError: if a key comes twice, or has no values.

    Example:
        >>> parse_grid(["sparsity.final=0.8,0.9", "method=mgpp,l2", "targets.include=[query, key],[value]"])
        {'sparsity.final': [0.8, 0.9], 'method': ['mgpp', 'l2'], 'targets.include': [['query', 'key'], ['value']]}
    """
    grid: dict[str, list[Any]] = {}
    for text in texts:
        key, separator, values = (part.strip() for part in text.partition("="))
        if not separator or not key:
            raise RecipeError(f"--grid {text!r} must have the form key=value,value, such as prior.lam=1e-6,1e-5")
        if key in grid:
            raise RecipeError(f"--grid {key} is given twice; give all its values at once: {key}=value,value")
        grid[key] = _values(key, values)
    return grid


def _values(key: str, text: str) -> list[Any]:
    try:
        values = yaml.safe_load(f"[{text}]")
    except (yaml.YAMLError, ValueError):
        values = []
    if len(values) == 1 and isinstance(values[0], list) and not key.startswith(TAKE_LISTS):
        values = values[0]
    if not values or text.endswith(","):
        raise RecipeError(f"--grid {key}={text}: there is an empty value, or one that is not YAML; quote it")
    return values


def base_recipe(recipe: str | Path | Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe that all runs have in common, by name, file, or as it is.

    Example:
        >>> base_recipe("reviews", {"epochs": 5}).epochs
        5.0
    """
    if isinstance(recipe, Recipe):
        return recipe_from(recipe.as_dict(), **overrides)
    return load_recipe(recipe, **overrides)


def cells_of(
    recipe: str | Path | Recipe,
    grid: Mapping[str, Sequence[Any]],
    seeds: Iterable[int],
    overrides: Mapping[str, Any] | None = None,
) -> list[Cell]:
    """The runs of a sweep, seed after seed, so that a sweep that is stopped has whole seeds.

    Args:
        recipe: a name, a YAML file, or a recipe; all that is not varied comes from it.
        grid: values by dotted key; their product is trained.
        seeds: random seeds.
        overrides: values by dotted key that all runs have.

    Raises:
        RecipeError: if a key is unknown, a value is not valid or comes twice, nothing is asked for, two runs would have
            one name, or a run's phases don't fit its steps, as far as these are known before the data are read.

    Example:
        >>> [cell.name for cell in cells_of("reviews", {"method": ["mgpp", "l2"], "sparsity.final": [0.9]}, [0])]
        ['reviews-method=mgpp-final=0.9-seed0', 'reviews-method=l2-final=0.9-seed0']
    """
    overrides, seeds = overrides or {}, list(seeds)
    _check_keys(grid, overrides)
    base = base_recipe(recipe, overrides)
    for key in grid:
        _check_values(base, key, grid)
    _check_distinct("seed", seeds)
    cells: dict[str, Cell] = {}
    for seed, *values in product(seeds, *grid.values()):
        cell = _cell(base, dict(zip(grid, values, strict=True)), seed)
        same = cells.setdefault(cell.name.casefold(), cell)  # some file systems take A and a for one
        if same is not cell:
            raise RecipeError(f"{_words(same)} and {_words(cell)} would both be called {cell.name}; sweep them apart")
    _check_phases([cell.recipe for cell in cells.values()])
    return list(cells.values())


def _check_keys(grid: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    for key in [*grid, *overrides]:
        if key in TOLD_OTHERWISE and not (key == "name" and key in overrides):
            raise RecipeError(f"{key} can't be set here; a sweep takes it from {TOLD_OTHERWISE[key]}")
    for key, values in grid.items():
        if key in overrides:
            raise RecipeError(f"{key}={overrides[key]!r} is set, and the grid varies it; leave one out")
        if not values:
            raise RecipeError(f"{key} has no values; give some, or leave it out")
        for value in values:
            if isinstance(value, Mapping):
                raise RecipeError(f"{key}={value!r} holds keys; vary one key at a time, such as prior.lam")


def _check_values(base: Recipe, key: str, grid: Mapping[str, Sequence[Any]]) -> None:
    others = {other: values[0] for other, values in grid.items()}  # values that are trained together fit each other
    recipes = [recipe_from(base.as_dict(), **others | {key: value}) for value in grid[key]]
    _check_distinct(key, [_value(recipe, key) for recipe in recipes])


def _check_distinct(key: str, values: Sequence[Any]) -> None:
    if not values:
        raise RecipeError(f"there is no {key}; a sweep needs at least one")
    words = [repr(value) for value in values]
    twice = next((word for word in words if words.count(word) > 1), None)
    if twice:
        raise RecipeError(f"{key}={twice} comes twice: two runs would have the same name")


def _cell(base: Recipe, settings: Mapping[str, Any], seed: int) -> Cell:
    recipe = recipe_from(base.as_dict(), seed=seed, **settings)
    find_task(recipe.task)
    varied = {key: _value(recipe, key) for key in settings}
    return Cell(_name(recipe, varied), recipe, {**varied, "seed": seed})


def _check_phases(recipes: Sequence[Recipe]) -> None:
    """Refuse phases that don't fit, where the number of steps is known."""
    for recipe in recipes:
        count = find_task(recipe.task).known_examples() if recipe.data is None else None
        if recipe.max_steps is not None or count is not None:
            recipe.schedule(count_steps(recipe, count or 0))


def _value(recipe: Recipe, key: str) -> Any:
    """A setting as the recipe understands it, whatever way it was written."""
    return dotted(recipe.as_dict())[key]


def _name(recipe: Recipe, varied: Mapping[str, Any]) -> str:
    """Letters, digits and `._+=-` only, so that every file system, shell and table takes it."""
    last = [key.rpartition(".")[2] for key in varied]
    labels = [short if last.count(short) == 1 else key for short, key in zip(last, varied, strict=True)]
    told = [
        f"{label}={_text(value)}" for label, value in zip(labels, varied.values(), strict=True) if value is not None
    ]
    parts = [re.sub(r"[^A-Za-z0-9._+=]+", "-", part).strip("-.") for part in (recipe.name, *told)]
    name = "-".join([*filter(None, parts), f"seed{recipe.seed}"])
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_text, value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def repeated(cells: Sequence[Cell]) -> int:
    """How many cells are the same training as an earlier one: they vary what their method has no use for.

    Example:
        >>> repeated(cells_of("reviews", {"method": ["mgpp", "l2"], "prior.lam": ["1e-6", "1e-5"]}, [0]))
        1
    """
    trainings = {repr((settings_that_act(cell.recipe), cell.recipe.threads)) for cell in cells}
    return len(cells) - len(trainings)


def _words(cell: Cell) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in cell.varied.items())
