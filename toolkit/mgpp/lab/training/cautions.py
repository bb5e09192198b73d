"""Tell of settings that are allowed and hardly meant, before a training starts."""

from collections.abc import Iterator

from mgpp.lab.recipes.recipe import Recipe
from mgpp.prior.schedules import CubicSparsity

FEW_EVENTS = 5  # the cubic schedule is no curve with fewer


def events_of(schedule: CubicSparsity, interval: int) -> int:
    """Return the number of prune events before t_f.

    Example:
        >>> events_of(CubicSparsity(0.0, 0.9, begin_step=10, end_step=40), 10)
        3
    """
    return sum(schedule.prunes_at(step, interval) for step in range(schedule.begin_step, schedule.end_step))


def cautions(recipe: Recipe, n_train: int, schedule: CubicSparsity) -> Iterator[str]:
    """Yield a sentence for each of the recipe's settings that spoils a training on these data.

    Example:
        >>> from mgpp import load_recipe
        >>> recipe = load_recipe("reviews", **{"sparsity.interval": 400})
        >>> next(cautions(recipe, 9706, recipe.schedule(912)))
        'few prune events: 2 before the last one; sparsity.interval=400 is too long'
    """
    method, interval = recipe.method_settings(), recipe.sparsity.interval
    events = events_of(schedule, interval)
    if method.prunes and recipe.method != "transfer" and events < FEW_EVENTS:
        yield f"few prune events: {events} before the last one; sparsity.interval={interval} is too long"
    if caution := method.caution(n_train):
        yield caution
