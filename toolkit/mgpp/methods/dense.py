"""Dense training, the reference of all methods."""

from dataclasses import dataclass

from mgpp.methods.base import Method
from mgpp.palette import BLACK
from mgpp.prior.schedules import CubicSparsity


@dataclass(frozen=True)
class Dense(Method):
    """Dense training: nothing is pruned. Pruned models are measured against it."""

    label = "dense"
    color, line, marker = BLACK, (0, (5, 1.2, 1, 1.2, 1, 1.2)), "_"
    prunes = False

    def schedule(self, schedule: CubicSparsity) -> CubicSparsity:
        """Return a schedule without sparsity."""
        return CubicSparsity(0.0, 0.0, schedule.begin_step, schedule.end_step)
