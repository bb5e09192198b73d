"""Define MGPP, the method of the paper."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgpp.methods.base import Method, trials
from mgpp.palette import BLUE
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.schedules import AnnealedPrior, CubicSparsity, LinearRamp

if TYPE_CHECKING:
    from mgpp.pruning.pruner import PenaltySchedule

# An L2 of 0.001 was best on `reviews`. The published slabs act as one of 0.00001 to 0.0005.
USUAL_L2, STRONG_L2 = 1e-3, 1e-2


@dataclass(frozen=True)
class MGPP(Method):
    """MGPP: magnitude pruning with a mixture Gaussian prior.

    Source: Zhang, Sun & Liang (2024). The prior pulls weights near zero strongly (spike) and large weights weakly
    (slab). While pruning, the slab's weight λ falls from `initial_lam` to `lam`. The smallest magnitudes are removed,
    as in GMP.

    Hyperparameters: `lam` → 1 leaves only the slab, an L2 penalty of strength 1/(n slab_var); `lam` → 0 pulls all
    weights below the prior threshold τ to zero. With `initial_lam` null, λ is constant. `spike_var` → 0 makes the spike
    so narrow that a single optimizer step jumps over it; near `slab_var` the two are one Gaussian. `slab_var` → ∞ does
    not shrink the kept weights; a small one is a strong L2 penalty. What acts is 1/(n variance), so settings for
    another n are another method.

    Cost: five operations a weight at every step until t_f; no memory.
    """

    label = "MGPP"
    color, line, marker = BLUE, "-", "o"
    section = "prior"
    grid = trials(
        "prior.spike_var prior.slab_var prior.lam prior.initial_lam",
        (1e-10, 0.05, 1e-4, 0.1),
        (1e-8, 0.05, 1e-4, 0.1),
        (1e-10, 0.1, 1e-4, 0.1),
        (1e-7, 0.1, 1e-6, None),
    )
    lam: float = 1e-4
    initial_lam: float | None = 0.1
    spike_var: float = 1e-10
    slab_var: float = 0.05

    def penalty(self, schedule: CubicSparsity) -> "PenaltySchedule":
        """Return the prior, annealed while pruning."""
        prior = MixtureGaussianPrior(self.lam, self.spike_var, self.slab_var)
        if self.initial_lam is None:
            return prior
        ramp = LinearRamp(self.initial_lam, prior.lam, schedule.begin_step, schedule.end_step)
        return AnnealedPrior(prior, lam=ramp)

    def caution(self, n: int) -> str | None:
        """Tell of a slab so narrow for few examples that it shrinks the kept weights, with a wider one.

        Example:
            >>> MGPP(slab_var=0.05).caution(240).split(";")[1]
            ' prior.slab_var=4.2 is one of 0.001'
        """
        strength = 1 / (n * self.slab_var)
        if strength <= STRONG_L2:
            return None
        return (
            f"{self.section}.slab_var={self.slab_var:g} on {n:,} examples is an L2 penalty of strength {strength:.2g}, "
            f"which shrinks the kept weights; {self.section}.slab_var={1 / (n * USUAL_L2):.2g} is one of {USUAL_L2:g}"
        )
