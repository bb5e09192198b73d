"""Compare the recipe of a run with the recipe that is asked for."""

from collections.abc import Mapping
from typing import Any

from mgpp.lab.recipes.recipe import Recipe, RecipeError, recipe_from
from mgpp.lab.sweeps.record import dotted
from mgpp.methods import METHODS

MAY_DIFFER = {"threads", "save_model", "save_every"}


def differences(asked: Recipe, found: Mapping[str, Any]) -> list[str]:
    """Return the settings in which a run's recipe differs from the one asked for, as `key: found, not asked`.

    Settings that do not change the result are not compared: `MAY_DIFFER`, the sections of other methods, the sparsity
    of dense training, and the precision where `auto` is asked for. A key that the run does not have counts as its
    default.

    Example:
        >>> differences(recipe_from({}), recipe_from({"epochs": 5}).as_dict())
        ['epochs: 5.0, not 3.0']
    """
    try:
        want, have = settings_that_act(asked), settings_that_act(recipe_from(found))
    except RecipeError as error:
        return [str(error)]
    if asked.precision == "auto":
        have["precision"] = "auto"
    told = {key: [repr(side[key]) if key in side else "unset" for side in (have, want)] for key in have | want}
    return [f"{key}: {had}, not {wanted}" for key, (had, wanted) in sorted(told.items()) if had != wanted]


def settings_that_act(recipe: Recipe) -> dict[str, Any]:
    """Return the settings by dotted key that change the result of the recipe's method.

    Example:
        >>> acting = settings_that_act(recipe_from({"method": "l2"}))
        >>> "l2.strength" in acting, "prior.lam" in acting
        (True, False)
    """
    method = METHODS[recipe.method]
    idle = {other.section for other in METHODS.values()} - {method.section} | MAY_DIFFER
    idle |= set() if method.prunes else {"sparsity"}
    return dotted({key: value for key, value in recipe.as_dict().items() if key not in idle})
