"""The sizes in a recipe: which numbers may be how large."""

import math
from typing import TYPE_CHECKING

from mgpp.lab.recipes.strict import RecipeError

if TYPE_CHECKING:
    from mgpp.lab.recipes.recipe import Recipe

MOST_THREADS = 4096  # torch starts as many as it is told, though nothing has so many cores


def check_sizes(recipe: "Recipe") -> None:
    """Nothing, if every number of a recipe lies in its range.

    Raises:
        RecipeError: with the key, its value and the range.

    Example:
        >>> from mgpp import load_recipe
        >>> load_recipe("reviews", batch_size=0)
        Traceback (most recent call last):
        ...
        mgpp.lab.recipes.strict.RecipeError: batch_size=0 must be above 0 and finite
    """
    _check_signs(recipe)
    _check_phases(recipe)
    if recipe.seed >= 2**32:
        raise RecipeError(f"seed={recipe.seed} must be below 2**32, where the generators' seeds end")
    if recipe.threads is not None and recipe.threads > MOST_THREADS:
        raise RecipeError(f"threads={recipe.threads} must be at most {MOST_THREADS}; null takes as many as fit here")
    if not 0 <= recipe.optimizer.final_factor <= 1:
        raise RecipeError(f"optimizer.final_factor={recipe.optimizer.final_factor!r} must lie from 0 to 1")
    for key in ("histograms_every", "evaluate_every"):
        if getattr(recipe.log, key) % recipe.log.every:
            raise RecipeError(
                f"log.{key}={getattr(recipe.log, key)} must be a multiple of log.every={recipe.log.every}"
            )


def _check_signs(recipe: "Recipe") -> None:
    positive = {
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "max_length": recipe.max_length,
        "optimizer.learning_rate": recipe.optimizer.learning_rate,
        "sparsity.interval": recipe.sparsity.interval,
        "log.every": recipe.log.every,
        "log.histograms_every": recipe.log.histograms_every,
        "log.evaluate_every": recipe.log.evaluate_every,
        "threads": 1 if recipe.threads is None else recipe.threads,
        "max_steps": 1 if recipe.max_steps is None else recipe.max_steps,
        "save_every": 1 if recipe.save_every is None else recipe.save_every,
        "text.target_length": recipe.text.target_length,
        "text.beams": recipe.text.beams,
    }
    for key, value in positive.items():
        if not 0 < value < math.inf:
            raise RecipeError(f"{key}={value!r} must be above 0 and finite")
    not_negative = {
        "seed": recipe.seed,
        "log.trajectories": recipe.log.trajectories,
        "optimizer.rewinds": recipe.optimizer.rewinds or 0,
        "text.stride": recipe.text.stride,
    }
    for key, number in not_negative.items():
        if number < 0:
            raise RecipeError(f"{key}={number} must not be negative")


def _check_phases(recipe: "Recipe") -> None:
    for key, value in (("warmup", recipe.sparsity.warmup), ("frozen", recipe.sparsity.frozen)):
        if not 0 <= value < math.inf or (value >= 1 and value != int(value)):
            raise RecipeError(f"sparsity.{key}={value!r} must be a fraction below 1 or a whole number of steps")
    warmup, frozen = recipe.sparsity.warmup, recipe.sparsity.frozen
    if max(warmup, frozen) < 1 < warmup + frozen:  # exactly 1 may leave a step, by rounding
        raise RecipeError(
            f"sparsity.warmup={warmup:g} and sparsity.frozen={frozen:g} are shares of the training and leave no "
            "step of it to prune in; shorten them, so that together they stay at 1 or below"
        )
