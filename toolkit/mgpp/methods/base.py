"""Define the base class of all methods.

Files of this package import torch inside functions only, so that tables and figures read the registry without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from mgpp.palette import DARK_GREY
from mgpp.prior.penalties import NoPenalty
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.importance import Importance

if TYPE_CHECKING:
    from mgpp.pruning.pruner import PenaltySchedule


@dataclass(frozen=True)
class Method:
    """Plain gradual magnitude pruning. A subclass says what it does differently, and how it is shown.

    A method is a frozen dataclass. Its fields are its hyperparameters, which form a section of the recipe. Everything
    else about it stands in class attributes without annotations. Its docstring is its card, which `mgpp methods NAME`
    prints: source, hyperparameters at their extremes, cost.

    Attributes:
        label: name in tables and figures; by default the name in the registry.
        color: of its lines and areas in figures. Related methods share one.
        line: line style, as matplotlib takes it. No other method has the same.
        marker: marker, as matplotlib takes it. No other method has the same.
        section: section of the recipe that holds its hyperparameters; None if it has none.
        grid: settings that were tried on `reviews` to choose its hyperparameters, one mapping a trial.
        tuned_as: name of the method whose trials chose its settings; None if these are its own.
        prunes: False if the recipe's final sparsity does not apply, as for dense training and for a given mask.
        scope: which weights are ranked together, unless the recipe says so: all targets, or each matrix by itself.
        freeze: whether the mask is frozen at t_f, unless the recipe says so.
        must_freeze: whether the recipe may not say otherwise.
        floats_per_weight: numbers it keeps for each target besides weight, gradient and Adam's two moments.
    """

    label: ClassVar[str] = ""
    color: ClassVar[str] = DARK_GREY
    line: ClassVar[Any] = "-"
    marker: ClassVar[str] = "."
    section: ClassVar[str | None] = None
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    tuned_as: ClassVar[str | None] = None
    prunes: ClassVar[bool] = True
    scope: ClassVar[Literal["global", "matrix"]] = "global"
    freeze: ClassVar[bool] = True
    must_freeze: ClassVar[bool] = False
    floats_per_weight: ClassVar[int] = 0

    def __post_init__(self) -> None:
        """Build penalty and importance once, so that a hyperparameter out of range raises ValueError here."""
        self.penalty(CubicSparsity(0.0, 0.5, 0, 1))
        self.importance()

    def penalty(self, schedule: CubicSparsity) -> "PenaltySchedule":
        """Return the penalty that is added to the loss, given the schedule with t_i and t_f."""
        return NoPenalty()

    def importance(self) -> Importance:
        """Return what is ranked at a prune event."""
        return Importance()

    def schedule(self, schedule: CubicSparsity) -> CubicSparsity:
        """Return the sparsity schedule, given the recipe's."""
        return schedule

    def caution(self, n: int) -> str | None:
        """Return what its hyperparameters would spoil on n training examples; None if nothing is known to."""
        return None

    @property
    def rewinds(self) -> int:
        """How often the learning rate returns to its start, after the first time."""
        return 0


def trials(keys: str, *rows: tuple[Any, ...]) -> tuple[Mapping[str, Any], ...]:
    """Return one mapping a row: the keys of a recipe, separated by spaces, with the row's values.

    Example:
        >>> trials("l2.strength", (0.1,), (0.2,))
        ({'l2.strength': 0.1}, {'l2.strength': 0.2})
    """
    return tuple(dict(zip(keys.split(), row, strict=True)) for row in rows)
