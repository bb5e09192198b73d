"""Define dense training, and gradual magnitude pruning: plain (GMP), tuned (GMP*), with an L2 or L1 penalty."""

from dataclasses import dataclass

from mgpp.methods.base import Method, trials
from mgpp.palette import BLACK, GREY, ORANGE, VERMILION
from mgpp.prior.penalties import L1, L2, check_count, check_number
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


@dataclass(frozen=True)
class GMP(Method):
    """GMP, gradual magnitude pruning: the smallest weights are removed, step by step, and nothing else is done.

    Source: Han et al. (2015) for magnitudes, Zhu & Gupta (2017) for the cubic schedule. Here all matrices are ranked
    together. GMP has no hyperparameters of its own, so only learning rate and schedule need tuning. It is the baseline
    of all other methods: what does the penalty, or another importance, add?

    Cost: the threshold at every prune event; one bit a weight.
    """

    label = "GMP (no penalty)"
    color, line, marker = GREY, ":", "^"


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


@dataclass(frozen=True)
class Ridge(Method):
    """L2: gradual magnitude pruning with a ridge penalty.

    Source: Hoerl & Kennard (1970) for the penalty; the paper's baseline. `strength` 0 is GMP. A large one shrinks the
    kept weights as much as the removed ones, and the loss suffers. A slab of variance σ1² is an L2 of strength
    1/(n σ1²).

    Cost: one operation a weight at every step until t_f; no memory.
    """

    label = "L2"
    color, line, marker = VERMILION, "--", "s"
    section = "l2"
    grid = trials("l2.strength", (5e-4,), (1e-3,), (2e-3,), (4e-3,))
    strength: float = 1e-3

    def penalty(self, schedule: CubicSparsity) -> L2:
        """Return ½ strength θ²."""
        return L2(self.strength)


@dataclass(frozen=True)
class Lasso(Method):
    """L1: gradual magnitude pruning with a lasso penalty, which moves weights to zero at a constant speed.

    Source: Tibshirani (1996), with subgradients, without a proximal step. `strength` 0 is GMP. A large one removes
    weights that the loss needs, and biases all kept weights by the same amount.

    Cost: one operation a weight at every step until t_f; no memory.
    """

    label = "L1"
    color, line, marker = ORANGE, "-.", "D"
    section = "l1"
    grid = trials("l1.strength", (1e-5,), (3e-5,), (1e-4,), (3e-4,))
    strength: float = 1e-5

    def penalty(self, schedule: CubicSparsity) -> L1:
        """Return strength |θ|."""
        return L1(self.strength)
