"""Define penalties on weights: their interface, and the classical ones (none, L0, L1, L2).

A penalty R(θ) enters the training objective as

    objective = mean loss + scale(n) · Σ R(θ)        over the prunable weights,

where n is the number of training examples. `Penalty.add_grad_` adds the gradient of the second term in closed form.
The strength of a classical penalty is on the scale of the mean loss, as weight decay is, so scale(n) = 1. A log prior
counts as much as the log likelihood of one example, so `mgpp.MixtureGaussianPrior` has scale(n) = 1/n.

Every method takes floats, numpy arrays or torch tensors of any shape, and returns the same kind. Formulas are evaluated
in float64 and rounded once. float32 and float64 keep their dtype; half precision is returned as float32.
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from mgpp.prior.chunks import chunks

Array = Any  # a float, a numpy array or a torch tensor


class NoThresholdError(ValueError):
    """The penalty has no prior threshold, where spike and slab would be equally probable."""


def evaluate(formula: Callable[[Any, Any], Any], w: Array) -> Array:
    """Apply `formula(namespace, float64 array)` to `w`, and return the kind of array that was given."""
    if not is_array_api_obj(w):
        values = np.asarray(w, dtype=np.float64)
        result = formula(np, values)
        return float(result) if values.ndim == 0 else result
    xp = array_namespace(w)
    dtype = w.dtype if w.dtype in (xp.float32, xp.float64) else _result_dtype(xp, w)
    result = formula(xp, xp.astype(w, xp.float64))
    if dtype == xp.float64:
        return result
    largest = float(xp.finfo(dtype).max)  # values beyond the narrower dtype saturate
    return xp.astype(xp.clip(result, -largest, largest), dtype)


def _result_dtype(xp: Any, w: Array) -> Any:
    """Widen half precision to float32 and integers to float64."""
    return xp.float32 if w.dtype.itemsize == 2 and "float" in str(w.dtype) else xp.float64


def sigmoid(xp: Any, a: Array) -> Array:
    """Return 1 / (1 + exp(-a)) without overflow; torch has a fused one."""
    return xp.sigmoid(a) if hasattr(xp, "sigmoid") else xp.exp(xp.clip(a, None, 0.0)) / (1 + xp.exp(-xp.abs(a)))


def check_number(owner: str, field: str, value: Any, low: float, high: float, hint: str) -> float:
    """Return `value` as a float; raise ValueError, with owner, field, value and hint, unless low <= value <= high."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except TypeError:
        number = math.nan
    if not low <= number <= high:  # NaN fails too
        raise ValueError(f"{owner}: {field}={value!r} must be a number from {low:g} to {high:g}; {hint}")
    return number


def check_count(owner: str, field: str, value: Any, low: int) -> int:
    """Return `value` as an int; raise ValueError unless it is an integer (not a bool, not 2.0) of at least `low`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < low:
        raise ValueError(f"{owner}: {field}={value!r} must be an integer of at least {low}")
    return operator.index(value)


@dataclass(frozen=True)
class Penalty(ABC):
    """Base class of penalties: a subclass defines R as `_penalty(xp, w)` and its derivative as `_grad(xp, w)`.

    `xp` is the array namespace of `w`, numpy or torch.
    """

    label: ClassVar[str] = "penalty"

    @abstractmethod
    def _penalty(self, xp: Any, w: Array) -> Array: ...

    @abstractmethod
    def _grad(self, xp: Any, w: Array) -> Array: ...

    def _spike_probability(self, xp: Any, w: Array) -> Array:
        return xp.zeros_like(w)

    def _inclusion_probability(self, xp: Any, w: Array) -> Array:
        return 1 - self._spike_probability(xp, w)

    def penalty(self, w: Array) -> Array:
        """Return R(θ), elementwise."""
        return evaluate(self._penalty, w)

    def penalty_grad(self, w: Array) -> Array:
        """Return ∂R/∂θ, elementwise, in closed form."""
        return evaluate(self._grad, w)

    def log_prob(self, w: Array) -> Array:
        """Return log π(θ) = -R(θ), up to a constant; the prior may be improper."""
        return evaluate(lambda xp, x: -self._penalty(xp, x), w)

    def spike_probability(self, w: Array) -> Array:
        """Return the probability that θ belongs to the spike; 0 for penalties without a spike."""
        return evaluate(self._spike_probability, w)

    def inclusion_probability(self, w: Array) -> Array:
        """Return 1 - spike probability."""
        return evaluate(self._inclusion_probability, w)

    @property
    def threshold(self) -> float:
        """Prior threshold τ, where the spike probability is ½.

        Raises:
            NoThresholdError: if there is none.
        """
        raise NoThresholdError(f"{type(self).__name__} has no spike, so it has no prior threshold")

    @property
    def has_threshold(self) -> bool:
        """Tell whether `threshold` exists."""
        try:
            return self.threshold >= 0
        except NoThresholdError:
            return False

    def scale(self, n: int) -> float:
        """Return the factor of Σ R in the objective: mean loss + scale · Σ R, for n training examples."""
        return 1.0

    def at(self, step: int) -> "Penalty":
        """Return the penalty of a training step: always itself; `mgpp.AnnealedPrior` changes with the step."""
        return self

    def add_grad_(self, grad: Array, w: Array, *, n: int) -> None:
        """Add scale(n) · ∂R/∂θ to `grad` in place, in one pass with a few MB of extra memory.

        Args:
            grad: gradient of the mean loss, any shape, changed in place.
            w: the weights, same shape. Torch tensors that are not float64 are computed in float32.
            n: number of training examples, at least 1.

        Raises:
            ValueError: if the shapes differ, or n is not a positive integer.

        Example:
            >>> import numpy as np
            >>> grad = np.zeros(2)
            >>> L2(strength=0.5).add_grad_(grad, np.array([1.0, -2.0]), n=10)
            >>> grad
            array([ 0.5, -1. ])
        """
        self.add_grads_([grad], [w], n=n)

    def add_grads_(self, grads: Iterable[Array], weights: Iterable[Array], *, n: int, compiled: bool = False) -> None:
        """Apply `add_grad_` to a list of weights and the list of their gradients.

        Args:
            grads: gradients, changed in place.
            weights: as many, of the same shapes.
            n: number of training examples, at least 1.
            compiled: fuse the formula into one loop with `torch.compile`, if the penalty supports it. The first call
                takes some seconds for every size of weights, and needs a C++ compiler (Triton on a GPU).

        Raises:
            ValueError: if the lists or the shapes of a pair differ, or n is not a positive integer.

        Example:
            >>> import numpy as np
            >>> grads, weights = [np.zeros(1), np.zeros(1)], [np.array([1.0]), np.array([-2.0])]
            >>> L2(strength=0.5).add_grads_(grads, weights, n=10)
            >>> grads
            [array([0.5]), array([-1.])]
        """
        scale = self.scale(check_count("add_grad_", "n", n, 1))
        pairs = [(grad, w.detach() if is_torch(w) else w) for grad, w in zip(grads, weights, strict=True)]
        for grad, w in pairs:
            if grad.shape != w.shape:
                raise ValueError(f"add_grad_: grad has shape {tuple(grad.shape)} but w has {tuple(w.shape)}")
        adders: dict[Any, Callable[[Array, Array], None]] = {}
        for grad, w in pairs:
            if compiled and self._add_compiled_(grad, w, scale):
                continue
            kind = (w.dtype, getattr(w, "device", None))
            if kind not in adders:
                adders[kind] = self._adder(w, scale)
            for grad_part, part in chunks(grad, w):
                adders[kind](grad_part, part)

    def _adder(self, w: Array, scale: float) -> Callable[[Array, Array], None]:
        """Return a function that adds the gradient for one chunk; a subclass may use fewer operations."""
        xp = array_namespace(w)

        def _add_(grad: Array, part: Array) -> None:
            grad += scale * self._grad(xp, working_precision(xp, part))

        return _add_

    def _add_compiled_(self, grad: Array, w: Array, scale: float) -> bool:
        """Add in one compiled loop and return True; return False if there is none."""
        return False


def is_torch(w: Array) -> bool:
    """Tell whether `w` is a torch tensor, without importing torch."""
    return hasattr(w, "detach")


def working_precision(xp: Any, w: Array) -> Array:
    """Cast to float64 for numpy arrays and float64 tensors, to float32 for all other tensors."""
    return xp.astype(w, xp.float32 if is_torch(w) and w.dtype != xp.float64 else xp.float64, copy=False)


@dataclass(frozen=True)
class NoPenalty(Penalty):
    """R(θ) = 0: plain gradual magnitude pruning.

    Example:
        >>> NoPenalty().penalty(3.0)
        0.0
    """

    label: ClassVar[str] = "no penalty"

    def _penalty(self, xp: Any, w: Array) -> Array:
        return xp.zeros_like(w)

    def _grad(self, xp: Any, w: Array) -> Array:
        return xp.zeros_like(w)

    def add_grad_(self, grad: Array, w: Array, *, n: int) -> None:
        """Add nothing."""


@dataclass(frozen=True)
class _Classical(Penalty):
    """Base class of penalties with one strength, on the scale of the mean loss."""

    strength: float = 1.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        hint = "on the scale of the mean loss, for instance 0.001"
        object.__setattr__(self, "strength", check_number(name, "strength", self.strength, 0, 1e30, hint))


@dataclass(frozen=True)
class L2(_Classical):
    """R(θ) = ½ strength θ²: ridge, or weight decay in its gradient form.

    A Gaussian slab of variance σ1² acts on the mean loss of n examples as an L2 of strength 1/(n σ1²).

    Example:
        >>> L2(strength=0.5).penalty(2.0), L2(strength=0.5).penalty_grad(2.0)
        (1.0, 1.0)
    """

    label: ClassVar[str] = "L2"

    def _penalty(self, xp: Any, w: Array) -> Array:
        return 0.5 * self.strength * w * w

    def _grad(self, xp: Any, w: Array) -> Array:
        return self.strength * w


@dataclass(frozen=True)
class L1(_Classical):
    """R(θ) = strength |θ|: lasso (Tibshirani 1996). The derivative at 0 is set to 0.

    Example:
        >>> L1(strength=0.5).penalty(-2.0), L1(strength=0.5).penalty_grad(-2.0)
        (1.0, -0.5)
    """

    label: ClassVar[str] = "L1"

    def _penalty(self, xp: Any, w: Array) -> Array:
        return self.strength * xp.abs(w)

    def _grad(self, xp: Any, w: Array) -> Array:
        return self.strength * xp.sign(w)


@dataclass(frozen=True)
class L0(_Classical):
    """R(θ) = strength · [θ ≠ 0], the number of nonzero weights. Its gradient is 0 everywhere: it can't be trained with.

    Example:
        >>> L0(strength=0.5).penalty(-2.0), L0(strength=0.5).penalty(0.0)
        (0.5, 0.0)
    """

    label: ClassVar[str] = "L0"

    def _penalty(self, xp: Any, w: Array) -> Array:
        return self.strength * xp.astype(w != 0, w.dtype)

    def _grad(self, xp: Any, w: Array) -> Array:
        return xp.zeros_like(w)
