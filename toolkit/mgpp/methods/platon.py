"""Define PLATON: sensitivity times its uncertainty, with the mask judged anew until the end, or frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgpp.methods.base import Method, trials
from mgpp.palette import PURPLE
from mgpp.prior.penalties import check_count, check_number
from mgpp.pruning.importance import Importance

if TYPE_CHECKING:
    from torch import Tensor


class Sensitivity(Importance):
    """Smoothed sensitivity times its uncertainty (Zhang et al. 2022, equations 4 to 8).

        I = mean over a window of |θ ∂L/∂θ|        Ī ← β1 Ī + (1 - β1) I
        Ū ← β2 Ū + (1 - β2) |I - Ī|                importance Ī Ū
    Ī and Ū start at 0 and change when a window is full. Before the first window is full, its sum so far is ranked. In
    the paper the window is one step; the authors' code averages over the steps between two prune events. Their code
    takes θ after the optimizer's step; the paper and this class take it before.

    Args:
        beta1: β1 in (0, 1). Near 0, only the last window counts.
        beta2: β2 in [0, 1).
        window: number of steps that are averaged, at least 1.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
        >>> w.grad, importance = torch.tensor([0.5, 3.0]), Sensitivity(beta1=0.5, beta2=0.0, window=1)
        >>> importance.attach({"w": w})
        >>> importance.observe(0)
        >>> importance.ranks()["w"]
        tensor([0.2500, 2.2500])
    """

    by_magnitude = False

    def __init__(self, beta1: float = 0.85, beta2: float = 0.95, window: int = 10):
        hint = "it is the share of the past that is kept, such as 0.85"
        self.beta1 = check_number("platon", "beta1", beta1, 1e-6, 1 - 1e-9, f"{hint}; at 0 the uncertainty is 0")
        self.beta2 = check_number("platon", "beta2", beta2, 0, 1 - 1e-9, hint)
        self.window = check_count("platon", "window", window, 1)

    def attach(self, weights: "Mapping[str, Tensor]") -> None:
        """Start with zeros."""
        import torch

        super().attach(weights)
        self.mean, self.uncertainty, self.sum = self.zeros(), self.zeros(), self.zeros()
        self.seen = torch.zeros((), dtype=torch.int64)

    def observe(self, step: int) -> None:
        """Add |θ ∂L/∂θ| to the window, and close the window when it is full."""
        self.seen += 1
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.sum[name] += (weight.detach().to(self.sum[name].dtype) * weight.grad).abs_()
            if int(self.seen) % self.window == 0:
                self._smooth(name)

    def _smooth(self, name: str) -> None:
        sensitivity, mean = self.sum[name].div_(self.window), self.mean[name]
        mean.lerp_(sensitivity, 1 - self.beta1)
        self.uncertainty[name].lerp_(sensitivity.sub_(mean).abs_(), 1 - self.beta2)
        self.sum[name].zero_()

    def finish(self) -> None:
        """Free the three numbers a weight."""
        self.mean, self.uncertainty, self.sum = {}, {}, {}

    def ranks(self) -> "Mapping[str, Tensor]":
        """Return Ī Ū, or the sum of the open window if none has been full."""
        if int(self.seen) < self.window:
            return self.sum
        return {name: mean * self.uncertainty[name] for name, mean in self.mean.items()}

    def tensors(self) -> "dict[str, Tensor]":
        """Return Ī, Ū, the sum of the open window, and the number of steps seen."""
        kinds = {"mean": self.mean, "uncertainty": self.uncertainty, "sum": self.sum}
        named = {f"{kind}.{name}": tensor for kind, each in kinds.items() for name, tensor in each.items()}
        return {"seen": self.seen, **named}


@dataclass(frozen=True)
class Platon(Method):
    """PLATON: weights with a low sensitivity |θ ∂L/∂θ| that is certain are removed.

    Source: Zhang et al. (2022). The sensitivity varies much from batch to batch. It is smoothed, and multiplied by its
    smoothed deviation, so that a weight with an uncertain sensitivity is kept. As in the authors' code, the mask is
    judged anew at every step after t_f; `platon-frozen` freezes it as MGPP does.

    Hyperparameters: `beta1` → 0 uses only the last window (at 0 the deviation is 0, and there is no ranking), `beta1`
    → 1 never learns; `beta2` likewise for the uncertainty (authors: 0.85, and 0.85 to 0.95 depending on the sparsity).
    `window` is the number of steps averaged before smoothing (authors: the interval of prune events; 1 gives the
    paper's equations).

    Cost: three float32 a weight, six operations a weight at every step.
    """

    label = "PLATON"
    color, line, marker = PURPLE, (0, (2, 1)), "h"
    section = "platon"
    grid = trials(
        "platon.beta1 platon.beta2 platon.window", (0.85, 0.95, 10), (0.85, 0.85, 10), (0.95, 0.95, 10), (0.85, 0.95, 1)
    )
    freeze = False
    floats_per_weight = 3
    beta1: float = 0.85
    beta2: float = 0.95
    window: int = 10

    def importance(self) -> Sensitivity:
        """Return smoothed sensitivity times uncertainty."""
        return Sensitivity(self.beta1, self.beta2, self.window)


@dataclass(frozen=True)
class PlatonFrozen(Platon):
    """PLATON with the mask frozen at t_f, as for the other methods; see `platon`."""

    label = "PLATON, mask frozen"
    line, marker = (0, (2, 3)), "d"
    tuned_as = "platon"
    freeze = True
