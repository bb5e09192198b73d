"""Penalties on weights: what every one of them can do, and the classical ones (none, L0, L1, L2).

A penalty R(θ) enters the training objective as

    objective = mean loss + scale(n) · Σ R(θ)        over the prunable weights,

where n is the number of training examples. `Penalty.add_grad_` adds the gradient of the second term in closed form.
Classical penalties state their strength on the scale of the mean loss, as weight decay does, so scale(n) = 1. A log
prior is worth as much as one example's log likelihood, so `mgpp.MixtureGaussianPrior` has scale(n) = 1/n.

Every method takes floats, numpy arrays or torch tensors of any shape, and returns the same kind. Formulas are evaluated
in float64 and rounded once: float32 and float64 come back as they went in; half precision comes back as float32.
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
    """The penalty has no prior threshold: no magnitude at which spike and slab are equally probable."""


def evaluate(formula: Callable[[Any, Any], Any], w: Array) -> Array:
    """Apply `formula(namespace, float64 array)` to `w` and hand back the kind of array that came in."""
    if not is_array_api_obj(w):
        values = np.asarray(w, dtype=np.float64)
        result = formula(np, values)
        return float(result) if values.ndim == 0 else result
    xp = array_namespace(w)
    dtype = w.dtype if w.dtype in (xp.float32, xp.float64) else _result_dtype(xp, w)
    result = formula(xp, xp.astype(w, xp.float64))
    if dtype == xp.float64:
        return result
    largest = float(xp.finfo(dtype).max)  # values beyond the narrower type saturate instead of overflowing
    return xp.astype(xp.clip(result, -largest, largest), dtype)


def _result_dtype(xp: Any, w: Array) -> Any:
    """Half precision is widened to float32, integers to float64."""
    return xp.float32 if w.dtype.itemsize == 2 and "float" in str(w.dtype) else xp.float64


def sigmoid(xp: Any, a: Array) -> Array:
    """1 / (1 + exp(-a)) without overflow; torch has its own, which is fused."""
    return xp.sigmoid(a) if hasattr(xp, "sigmoid") else xp.exp(xp.clip(a, None, 0.0)) / (1 + xp.exp(-xp.abs(a)))


def check_number(owner: str, field: str, value: Any, low: float, high: float, hint: str) -> float:
    """Return `value` as a float, or raise a ValueError that names owner, field, value and the way out."""
    try:
        number = math.nan if isinstance(value, bool | str) else float(value)
    except TypeError:
        number = math.nan
    if not low <= number <= high:  # NaN fails too
        raise ValueError(f"{owner}: {field}={value!r} must be a number from {low:g} to {high:g}; {hint}")
    return number


def check_count(owner: str, field: str, value: Any, low: int) -> int:
    """Return `value` as an int, or raise a ValueError; numpy's whole numbers count, True and 2.0 do not."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or operator.index(value) < low:
        raise ValueError(f"{owner}: {field}={value!r} must be a whole number from {low}")
    return operator.index(value)


@dataclass(frozen=True)
class Penalty(ABC):
    """The interface of all penalties; a subclass gives the penalty R and its derivative as formulas.

    Subclasses define `_penalty(xp, w)` and `_grad(xp, w)`, where `xp` is the array namespace.
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
        """R(θ), elementwise."""
        return evaluate(self._penalty, w)

    def penalty_grad(self, w: Array) -> Array:
        """∂R/∂θ, elementwise, in closed form."""
        return evaluate(self._grad, w)

    def log_prob(self, w: Array) -> Array:
        """Log π(θ) = -R(θ), up to the constant of a prior that may be improper."""
        return evaluate(lambda xp, x: -self._penalty(xp, x), w)

    def spike_probability(self, w: Array) -> Array:
        """Probability that θ was drawn from a spike; 0 for penalties without one."""
        return evaluate(self._spike_probability, w)

    def inclusion_probability(self, w: Array) -> Array:
        """1 - spike probability."""
        return evaluate(self._inclusion_probability, w)

    @property
    def threshold(self) -> float:
        """The prior threshold τ, where the spike probability is ½.

        Raises:
            NoThresholdError: if there is none.
        """
        raise NoThresholdError(f"{type(self).__name__} has no spike and so no prior threshold")

    @property
    def has_threshold(self) -> bool:
        """Whether `threshold` exists."""
        try:
            return self.threshold >= 0
        except NoThresholdError:
            return False

    def scale(self, n: int) -> float:
        """The factor of Σ R in the objective mean loss + scale · Σ R, for n training examples."""
        return 1.0

    def at(self, step: int) -> "Penalty":
        """The penalty of training step `step`: constant here, see `mgpp.AnnealedPrior` for one that changes."""
        return self

    def add_grad_(self, grad: Array, w: Array, *, n: int) -> None:
        """Add scale(n) · ∂R/∂θ to `grad` in place, in one pass and a few MB of extra memory.

        Args:
            grad: gradient of the mean loss, any shape, changed in place.
            w: the weights, same shape. Float64 is computed in float64, torch tensors of any other type in float32.
            n: number of training examples, at least 1.

        Raises:
            ValueError: if the shapes differ or n is not a positive whole number.

        Example:
            >>> import numpy as np
            >>> grad = np.zeros(2)
            >>> L2(strength=0.5).add_grad_(grad, np.array([1.0, -2.0]), n=10)
            >>> grad
            array([ 0.5, -1. ])
        """
        self.add_grads_([grad], [w], n=n)

    def add_grads_(self, grads: Iterable[Array], weights: Iterable[Array], *, n: int, compiled: bool = False) -> None:
        """`add_grad_` for a list of weights and the list of their gradients.

        Args:
            grads: gradients, changed in place.
            weights: as many, of the same shapes.
            n: number of training examples, at least 1.
            compiled: let `torch.compile` fuse the formula into one loop, where the penalty has more than a product.
                The first call takes some seconds for every size of weights, and a C++ compiler (Triton on a GPU).

        Raises:
            ValueError: if the lists or the shapes of a pair differ, or n is not a positive whole number.

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
        """What adds to one chunk of weights like `w`. A subclass may say the same in fewer operations."""
        xp = array_namespace(w)

        def _add_(grad: Array, part: Array) -> None:
            grad += scale * self._grad(xp, working_precision(xp, part))

        return _add_

    def _add_compiled_(self, grad: Array, w: Array, scale: float) -> bool:
        """Add in one compiled loop; False where there is none."""
        return False


def is_torch(w: Array) -> bool:
    """Whether `w` is a torch tensor, asked without importing torch."""
    return hasattr(w, "detach")


def working_precision(xp: Any, w: Array) -> Array:
    """Float64 for numpy arrays and float64 tensors, float32 for all other tensors (fast, and fit for training)."""
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
        """Nothing to add."""


@dataclass(frozen=True)
class _Classical(Penalty):
    """A penalty with one strength on the scale of the mean loss."""

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
    """R(θ) = strength |θ| (lasso; Tibshirani 1996). The derivative at 0 is taken as 0.

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
    """R(θ) = strength · [θ ≠ 0], the count of nonzero weights. It has no gradient to train with: 0 everywhere.

    Example:
        >>> L0(strength=0.5).penalty(-2.0), L0(strength=0.5).penalty(0.0)
        (0.5, 0.0)
    """

    label: ClassVar[str] = "L0"

    def _penalty(self, xp: Any, w: Array) -> Array:
        return self.strength * xp.astype(w != 0, w.dtype)

    def _grad(self, xp: Any, w: Array) -> Array:
        return xp.zeros_like(w)
