"""Gradual magnitude pruning: without a penalty (GMP), with L2, and with L1."""

from dataclasses import dataclass

from mgpp.methods.base import Method, trials
from mgpp.palette import GREY, ORANGE, VERMILION
from mgpp.prior.penalties import L1, L2
from mgpp.prior.schedules import CubicSparsity


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
