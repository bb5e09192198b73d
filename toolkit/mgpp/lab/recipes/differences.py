"""Is a run the training that is asked for? What its recipe differs in, as far as it matters."""

from collections.abc import Mapping
from typing import Any

from mgpp.lab.recipes.recipe import Recipe, recipe_from
from mgpp.lab.recipes.strict import RecipeError
from mgpp.lab.sweeps.record import dotted
from mgpp.methods import METHODS

MAY_DIFFER = {"threads", "save_model", "save_every"}


def differences(asked: Recipe, found: Mapping[str, Any]) -> list[str]:
    """The settings in which a run's recipe is another training than the one asked for, as `key: found, not asked`.

    Not counted is what does not change the result: `MAY_DIFFER`, the sections of other methods, the sparsity of dense
    training, the precision where `auto` was asked for, which each machine resolves for itself, and settings that came
    after the run was made, if they have their defaults.

    Example:
        >>> differences(recipe_from({}), recipe_from({"epochs": 5}).as_dict())
        ['epochs: 5.0, not 3.0']
    """
    try:
        known = recipe_from(found)
    except RecipeError as error:
        return [str(error)]
    want, have = settings_that_act(asked), settings_that_act(known)
    if asked.precision == "auto":
        have["precision"] = "auto"
    found_words, asked_words = ({key: repr(value) for key, value in side.items()} for side in (have, want))
    return [
        f"{key}: {found_words.get(key, 'unset')}, not {asked_words.get(key, 'unset')}"
        for key in sorted(want.keys() | have.keys())
        if found_words.get(key) != asked_words.get(key)
    ]


def settings_that_act(recipe: Recipe) -> dict[str, Any]:
    """The settings by dotted key, without what does not change the result of the recipe's method.

    Example:
        >>> acting = settings_that_act(recipe_from({"method": "l2"}))
        >>> "l2.strength" in acting, "prior.lam" in acting
        (True, False)
    """
    method = METHODS[recipe.method]
    idle = {other.section for other in METHODS.values()} - {method.section} | MAY_DIFFER
    idle |= set() if method.prunes else {"sparsity"}
    return dotted({key: value for key, value in recipe.as_dict().items() if key not in idle})
