"""GMP*, gradual magnitude pruning with a tuned schedule."""

from dataclasses import dataclass

from mgpp.methods.base import Method, trials
from mgpp.palette import GREY
from mgpp.prior.penalties import check_count, check_number
from mgpp.prior.schedules import CubicSparsity


@dataclass(frozen=True)
class GMPStar(Method):
    """GMP*: gradual magnitude pruning with a large first step and learning rate rewinding.

    Source: Kurtic & Alistarh (2022), arXiv 2210.06384. They show that magnitude pruning with these choices matches
    methods that are harder to run. The first prune event removes `first_step` of the weights at once, and the cubic
    schedule removes the rest. The learning rate falls to its end `cycles` times. Their distillation from the dense
    model and their additional epochs are left out, so that all methods have the same budget.

    Hyperparameters: `first_step` replaces the recipe's `sparsity.initial`. 0 is GMP's gradual start (the paper uses
    0.7); the final sparsity is one-shot pruning, followed by fine-tuning. `cycles` 1 does not rewind; many cycles leave
    little time at a low learning rate.

    Cost: that of GMP.
    """

    label = "GMP*"
    color, line, marker = GREY, (0, (1, 3)), "v"
    section = "gmp_star"
    grid = trials("gmp_star.first_step gmp_star.cycles", (0.7, 2), (0.7, 1), (0.5, 2), (0.5, 1))
    first_step: float = 0.7
    cycles: int = 2

    def __post_init__(self) -> None:
        check_number("gmp_star", "first_step", self.first_step, 0, 1 - 1e-9, "the first prune event removes this share")
        check_count("gmp_star", "cycles", self.cycles, 1)

    def schedule(self, schedule: CubicSparsity) -> CubicSparsity:
        """Return the recipe's schedule with the large first step."""
        first = min(self.first_step, schedule.final_sparsity)
        return CubicSparsity(first, schedule.final_sparsity, schedule.begin_step, schedule.end_step)

    @property
    def rewinds(self) -> int:
        """One less than `cycles`."""
        return self.cycles - 1
