"""Methods that ask the data: magnitude times the curvature of the loss, alone, under MGPP's prior, or with L2."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.methods.base import Method
from mgpp.methods.magnitude import Ridge
from mgpp.methods.mgpp import MGPP
from mgpp.palette import BLUE, SKY, VERMILION
from mgpp.prior.penalties import check_number
from mgpp.pruning.importance import Importance

if TYPE_CHECKING:
    from torch import Tensor


class Curvature(Importance):
    """Magnitude times a power of the curvature: |θ| v^(p/2), with v the running mean of squared loss gradients.

        v ← decay v + (1 - decay) (∂L/∂θ)²        from v = 0, at every step
    Removing a weight raises the loss by about ½ F θ², with F the diagonal of its Hessian (LeCun et al. 1990). v is an
    estimate of F up to a factor that all weights share, which ranks don't see: the empirical Fisher information. So
    p = 1 is Optimal Brain Damage, and p = 0 is magnitude. With Adam's β2 as `decay`, and no penalty, v is the second
    moment that Adam holds. It is kept apart here because the penalty's gradient goes into Adam's, and not into v.

    Args:
        decay: share of the past that is kept at every step, in [0, 1).
        exponent: p, at least 0.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
        >>> w.grad, importance = torch.tensor([0.5, 3.0]), Curvature(decay=0.0)
        >>> importance.attach({"w": w})
        >>> importance.observe(0)
        >>> importance.ranks()["w"]
        tensor([1., 3.])
    """

    by_magnitude = False

    def __init__(self, decay: float = 0.98, exponent: float = 1.0):
        self.decay = check_number("curvature", "decay", decay, 0, 1 - 1e-9, "it is the share of the past that is kept")
        self.exponent = check_number("curvature", "exponent", exponent, 0, 8, "0 is magnitude, 1 Optimal Brain Damage")

    def attach(self, weights: "Mapping[str, Tensor]") -> None:
        """Start with zeros."""
        super().attach(weights)
        self.second_moment = self.zeros()

    def observe(self, step: int) -> None:
        """Add the squared gradient to the running mean, as Adam does."""
        for name, weight in self.weights.items():
            mean = self.second_moment[name].mul_(self.decay)
            if weight.grad is not None:
                gradient = weight.grad.to(mean.dtype)
                mean.addcmul_(gradient, gradient, value=1 - self.decay)

    def finish(self) -> None:
        """Free the number a weight."""
        self.second_moment = {}

    def ranks(self) -> "Mapping[str, Tensor]":
        """Return |θ| v^(p/2)."""
        return {
            name: mean.pow(self.exponent / 2).mul_(self.weights[name].detach().abs())
            for name, mean in self.second_moment.items()
        }

    def tensors(self) -> "dict[str, Tensor]":
        """Return v."""
        return {f"second_moment.{name}": mean for name, mean in self.second_moment.items()}


@dataclass(frozen=True)
class _RankedByCurvature(Method):
    """What the methods of this module share."""

    # not tuned yet, whatever the trials of a base class chose
    grid: ClassVar[tuple[Mapping[str, Any], ...]] = ()
    floats_per_weight = 1
    decay: float = 0.98
    exponent: float = 1.0

    def importance(self) -> Curvature:
        """Return magnitude times curvature."""
        return Curvature(self.decay, self.exponent)


@dataclass(frozen=True)
class OptimalBrainDamage(_RankedByCurvature):
    """Optimal Brain Damage while training: weights whose removal costs the loss least are removed.

    Source: LeCun, Denker & Solla (1990) for the saliency ½ F θ². Here F is the running mean of squared loss gradients,
    the diagonal of the empirical Fisher information, which Adam follows as well. Nothing is computed for it beyond the
    gradients of the training. No penalty is added.

    Hyperparameters: `decay` → 0 takes the last batch alone for the curvature, `decay` → 1 looks far back, to weights
    that are no more (Adam's β2, 0.999, has a memory of a thousand steps). `exponent` 0 is GMP, 1 is Optimal Brain
    Damage; above 1 the gradient counts more than the weight.

    Cost: one float32 a weight, three operations a weight at every step until t_f.
    """

    label = "OBD"
    color, line, marker = SKY, (0, (3, 1)), "p"
    section = "obd"


@dataclass(frozen=True)
class MGPPFisher(_RankedByCurvature, MGPP):
    """MGPP with the ranking of Optimal Brain Damage: the prior shrinks, the curvature of the loss decides.

    Source: this toolkit; Zhang, Sun & Liang (2024) for the prior, LeCun, Denker & Solla (1990) for the ranking. It
    shows whether the prior adds anything once the data are asked. Compare with `obd`, which has no penalty, and with
    `l2-fisher`.

    Hyperparameters: those of `mgpp`, and `decay` and `exponent` of `obd`.

    Cost: that of `mgpp` and of `obd`.
    """

    label = "MGPP, ranked by curvature"
    color, marker = BLUE, "*"
    line: ClassVar[Any] = (0, (3, 1, 1, 1))
    section = "mgpp_fisher"


@dataclass(frozen=True)
class L2Fisher(_RankedByCurvature, Ridge):
    """L2 with the ranking of Optimal Brain Damage: the control of `mgpp-fisher`.

    Source: Hoerl & Kennard (1970) for the penalty, LeCun, Denker & Solla (1990) for the ranking.

    Hyperparameters: `strength` 0 is `obd`; `decay` and `exponent` as there.

    Cost: that of `l2` and of `obd`.
    """

    label = "L2, ranked by curvature"
    color, marker = VERMILION, "H"
    line: ClassVar[Any] = (0, (3, 1, 1, 1, 1, 1))
    section = "l2_fisher"
