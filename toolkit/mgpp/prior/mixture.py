"""Define the mixture Gaussian prior: a narrow Gaussian (spike) and a wide one (slab) for every weight."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from array_api_compat import array_namespace

from mgpp.prior.chunks import Buffers, is_contiguous
from mgpp.prior.penalties import (
    Array,
    NoThresholdError,
    Penalty,
    check_number,
    is_torch,
    sigmoid,
)

SMALLEST_VAR, LARGEST_VAR = 1e-30, 1e6


@dataclass(frozen=True)
class MixtureGaussianPrior(Penalty):
    r"""Mixture Gaussian prior on a weight θ (Zhang, Sun & Liang 2024, section 3; Sun, Song & Liang 2021).

        π(θ)  = λ N(θ; 0, σ1²) + (1-λ) N(θ; 0, σ0²)
        p0(θ) = sigmoid( log((1-λ)/λ) + ½ log(σ1²/σ0²) - ½ θ² (1/σ0² - 1/σ1²) )      spike probability
        R(θ)  = -log π(θ),     R'(θ) = θ [ p0/σ0² + (1-p0)/σ1² ]                      penalty and its gradient
        τ     = sqrt( 2 log( (1-λ)/λ · sqrt(σ1²/σ0²) ) / (1/σ0² - 1/σ1²) )            prior threshold, p0(τ) = ½

    Args:
        lam: λ, the weight of the slab, in [0, 1].
        spike_var: σ0², variance of the spike, from 1e-30 to `slab_var`. A variance, not a standard deviation.
        slab_var: σ1², variance of the slab, up to 1e6.

    Raises:
        ValueError: if a value is out of its range; the message names it.

    Example:
        >>> prior = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1)
        >>> print(f"{prior.threshold:.6f}")
        0.002036
        >>> print(f"{prior.spike_probability(prior.threshold):.6f}")
        0.500000
        >>> print(f"{prior.penalty_grad(0.5):.6f}")  # beyond the threshold only the slab pulls: 0.5 / 0.1
        5.000000
    """

    label: ClassVar[str] = "MGP"

    lam: float
    spike_var: float
    slab_var: float

    def __post_init__(self) -> None:
        name = type(self).__name__
        bounds = {
            "lam": (0.0, 1.0, "it is the weight of the slab, for instance 1e-4"),
            "spike_var": (SMALLEST_VAR, LARGEST_VAR, "it is a variance, for instance 1e-7"),
            "slab_var": (SMALLEST_VAR, LARGEST_VAR, "it is a variance, for instance 0.1"),
        }
        for field, (low, high, hint) in bounds.items():
            object.__setattr__(self, field, check_number(name, field, getattr(self, field), low, high, hint))
        if self.spike_var > self.slab_var:
            raise ValueError(
                f"{name}: spike_var={self.spike_var:g} must not exceed slab_var={self.slab_var:g}; "
                "the spike is the narrow component"
            )

    @property
    def log_odds_at_zero(self) -> float:
        """Log odds of the spike at θ = 0, log((1-λ)/λ) + ½ log(σ1²/σ0²); infinite if λ is 0 or 1."""
        if self.lam in (0.0, 1.0):
            return math.inf if self.lam == 0 else -math.inf
        return math.log1p(-self.lam) - math.log(self.lam) + 0.5 * math.log(self.slab_var / self.spike_var)

    @property
    def precision_gap(self) -> float:
        """Difference of the precisions, 1/σ0² - 1/σ1²; never negative."""
        return (self.slab_var - self.spike_var) / (self.slab_var * self.spike_var)

    @property
    def threshold(self) -> float:
        """Prior threshold τ: a weight with |θ| < τ belongs to the spike, one with |θ| > τ to the slab.

        Raises:
            NoThresholdError: if one component is the more probable one everywhere.
        """
        odds, gap = self.log_odds_at_zero, self.precision_gap
        if odds <= 0:
            raise NoThresholdError(f"{self} has no prior threshold: the spike is never more probable; lower lam")
        if math.isinf(odds) or gap == 0:
            raise NoThresholdError(
                f"{self} has no prior threshold: the spike is always more probable; raise lam above 0 and "
                "slab_var above spike_var"
            )
        return math.sqrt(2 * odds / gap)

    def scale(self, n: int) -> float:
        """Return 1/n: the log prior counts once against the log likelihood of n examples."""
        return 1 / n

    def _spike_probability(self, xp: Any, w: Array) -> Array:
        if self.lam in (0.0, 1.0):
            return xp.full_like(w, 1.0 - self.lam)
        return sigmoid(xp, self.log_odds_at_zero - (0.5 * self.precision_gap) * (w * w))

    def _inclusion_probability(self, xp: Any, w: Array) -> Array:
        if self.lam in (0.0, 1.0):
            return xp.full_like(w, self.lam)
        return sigmoid(xp, (0.5 * self.precision_gap) * (w * w) - self.log_odds_at_zero)  # 1 - p0 would cancel

    def _grad(self, xp: Any, w: Array) -> Array:
        return w * (self._spike_probability(xp, w) * self.precision_gap + 1 / self.slab_var)

    def _penalty(self, xp: Any, w: Array) -> Array:
        """-log π, summed in the log domain; a component of weight 0 is left out."""
        logs = [
            math.log(weight) - 0.5 * math.log(2 * math.pi * var) - w * w / (2 * var)
            for weight, var in ((self.lam, self.slab_var), (1 - self.lam, self.spike_var))
            if weight > 0
        ]
        return -(xp.logaddexp(*logs) if len(logs) == 2 else logs[0])

    def _adder(self, w: Array, scale: float) -> Callable[[Array, Array], None]:
        """Evaluate the formula of `_grad` in five torch operations on one temporary.

        The log odds are clamped where the spike no longer counts beside the slab: exponentials that overflow or
        underflow take many times longer, and most weights lie far beyond the spike.
        """
        if not is_torch(w) or self.lam in (0.0, 1.0):
            return super()._adder(w, scale)
        xp, buffers, least = array_namespace(w), Buffers(), self._least_log_odds
        odds, slab = self._numbers(w, self.log_odds_at_zero, scale / self.slab_var)
        half_gap, pull = 0.5 * self.precision_gap, scale * self.precision_gap

        def _add_(grad: Array, part: Array) -> None:
            part = part.to(odds.dtype)
            spike = xp.addcmul(odds, part, part, value=-half_gap, out=buffers.like(part, "spike"))
            spike.clamp_(min=least).sigmoid_()
            grad.addcmul_(part, xp.add(slab, spike, alpha=pull, out=spike))

        return _add_

    def _numbers(self, w: Array, *numbers: float) -> list[Array]:
        """Return numbers as tensors on the device of `w`, in the precision of the computation."""
        xp = array_namespace(w)
        dtype = xp.float64 if w.dtype == xp.float64 else xp.float32
        return [w.new_full((), number, dtype=dtype) for number in numbers]

    def _add_compiled_(self, grad: Array, w: Array, scale: float) -> bool:
        if not is_torch(w) or self.lam in (0.0, 1.0):
            return False
        if is_contiguous(grad) and is_contiguous(w):  # matrices of one size share a loop
            grad, w = grad.reshape(-1), w.reshape(-1)
        gap = self.precision_gap
        numbers = (self.log_odds_at_zero, 0.5 * gap, self._least_log_odds, scale / self.slab_var, scale * gap)
        _compiled(array_namespace(w))(grad, w, *self._numbers(w, *numbers))
        return True

    @property
    def _least_log_odds(self) -> float:
        """Log odds at which the spike's pull is at most e^-45 of the slab's: below the precision of float64."""
        return -max(87.0, math.log(self.slab_var / self.spike_var) + 45)


@cache
def _compiled(xp: Any) -> Any:
    """Compile the prior's gradient into one loop. Its numbers are tensors, so annealing does not recompile."""

    def _add_pull_(grad: Any, w: Any, odds: Any, half_gap: Any, least: Any, slab: Any, gap: Any) -> None:
        w = w.to(odds.dtype)
        spike = (odds - half_gap * (w * w)).clamp(min=least).sigmoid()
        grad.add_(w * (slab + gap * spike))

    return xp.compile(_add_pull_, dynamic=False)
