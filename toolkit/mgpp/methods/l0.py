"""Define L0 regularisation with hard concrete gates."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgpp.methods.base import Method, trials
from mgpp.methods.movement import LearnedScores
from mgpp.palette import SKY

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_GATE = 0.01  # of a kept weight when gates are folded into the weights: 0 would prune it


class HardConcrete(LearnedScores):
    """L0 regularisation: every weight has a gate that is drawn anew at every step (Louizos, Welling & Kingma 2018).

        s̄ = sigmoid((log u - log(1-u) + s) / β) (ζ - γ) + γ,   u uniform in (0, 1)         gate z = clip(s̄, 0, 1)
        P(z ≠ 0) = sigmoid(s - β log(-γ/ζ))            penalty: strength · mean P(z ≠ 0)
    Here s is the paper's log α. For evaluation z = clip(sigmoid(s) (ζ - γ) + γ, 0, 1). At t_f the weights are
    multiplied by these gates for good. A closed gate of a weight that the schedule keeps counts as a hundredth. The
    draws depend on torch's seed and on the step only. Processes that share a matrix draw for all of it, one matrix at
    a time, and take their part.

    Args:
        learning_rate: Adam's learning rate for the scores.
        strength: of the penalty.
        initial: value that scores start with; from 2.4 on the gates of evaluation are open.

    Example:
        >>> import torch
        >>> gates = HardConcrete(strength=1.0)
        >>> round(float(gates.probability_open(torch.tensor(0.0))), 4)
        0.8318
    """

    must_freeze = True
    temperature, low, high = 2 / 3, -0.1, 1.1  # β, γ, ζ of the paper

    def __init__(self, learning_rate: float = 1e-2, strength: float = 0.0, initial: float = 2.5):
        super().__init__(learning_rate, strength, initial)

    def attach(self, weights: "Mapping[str, Tensor]") -> None:
        """Start with open gates, and note the seed of their draws."""
        import torch

        super().attach(weights)
        self.seed = torch.tensor(torch.initial_seed() % (1 << 62))
        self.stretched: dict[str, Tensor] = {}
        self.drawn = -1

    def begin_step(self, step: int) -> bool:
        """Draw the gates of this step, and multiply the weights by them."""
        import torch

        self.drawn = step
        self.keep()
        for number, (name, weight) in enumerate(self.weights.items()):
            generator = torch.Generator(weight.device).manual_seed(self._seed_of(step, number))
            score = self.scores[name].detach()
            draws = score.new_empty(self.weights.whole[name].shape)
            u = self.weights.part(name, draws.uniform_(1e-6, 1 - 1e-6, generator=generator))
            s = ((u.logit() + score) / self.temperature).sigmoid_()
            self.stretched[name] = s.mul_(self.high - self.low).add_(self.low)
            weight.detach().copy_(self.kept[name] * self.stretched[name].clamp(0, 1))
        return True

    def _seed_of(self, step: int, number: int) -> int:
        return ((int(self.seed) * 1_000_003 + step) * 1_000_003 + number) % (1 << 63)

    def observe(self, step: int) -> None:
        """Read the gradients as for all learned scores.

        Raises:
            RuntimeError: if `Pruner.begin_step` was not called for this step.
        """
        if self.drawn != step:
            raise RuntimeError(f"l0: step {step} has no gates; call pruner.begin_step({step}) before the forward pass")
        super().observe(step)

    def probability_open(self, score: "Tensor") -> "Tensor":
        """Return P(z ≠ 0), elementwise."""
        return (score - self.temperature * math.log(-self.low / self.high)).sigmoid()

    def gate(self, score: "Tensor") -> "Tensor":
        """Return the gate of evaluation, in [0, 1]."""
        return (score.sigmoid() * (self.high - self.low) + self.low).clamp(0, 1)

    def finish(self) -> None:
        """Multiply the weights by their gates for good, kept weights by a hundredth at least."""
        for name, kept in self.kept.items():
            gate = self.gate(self.scores[name].detach()).clamp(min=SMALLEST_GATE)
            self.weights[name].detach().copy_(kept * gate)
        super().finish()
        self.stretched = {}

    def tensors(self) -> "dict[str, Tensor]":
        """Return the state of all learned scores, and the seed of the draws."""
        return {"seed": self.seed, **super().tensors()}

    def score_grad(self, name: str, gradient: "Tensor") -> "Tensor":
        """Return ∂L/∂s through the stretched gate; 0 where it is clipped."""
        stretched, width = self.stretched[name], self.high - self.low
        sigmoid = (stretched - self.low) / width
        slope = sigmoid * (1 - sigmoid) * width / self.temperature
        return gradient * self.kept[name] * slope * ((stretched > 0) & (stretched < 1))

    def penalty_grad(self, score: "Tensor") -> "Tensor":
        """Return the derivative of P(z ≠ 0)."""
        open_ = self.probability_open(score)
        return open_ * (1 - open_)

    def gate_grad_(self, name: str, gradient: "Tensor") -> None:
        """Multiply by the gates of this step."""
        gradient *= self.stretched[name].clamp(0, 1)

    def gate_(self, name: str, weight: "Tensor") -> None:
        """Multiply by the gates of evaluation."""
        weight *= self.gate(self.scores[name].detach())


@dataclass(frozen=True)
class L0Gates(Method):
    """L0: every weight has a random gate, and the expected number of open gates is penalised.

    Source: Louizos, Welling & Kingma (2018). Every weight is multiplied by a random gate that is often exactly 0 or 1.
    The scores of the gates are learned with the reparametrisation trick, and the penalty closes gates. In the original
    the sparsity follows from `strength`. Here the schedule says how many of the lowest scores are removed, so that all
    methods end at the same sparsity. At t_f the kept weights are multiplied by their gates for good, a closed gate
    counting as a hundredth.

    Hyperparameters: with `strength` 0 only the loss moves the scores. With a large one, more gates close than the
    schedule asks for (the logged sparsity shows it), and the order of the closed ones means little. `learning_rate` of
    the scores (Adam): too small, the order stays as it started. `initial`: 2.5 starts with open gates; 0 halves the
    signal at once.

    Cost: a score, its gradient, two moments of Adam, the gate and the kept weight, six float32 a weight; one draw a
    weight at every step.
    """

    label = "L0"
    color, line, marker = SKY, (0, (8, 1.5)), "<"
    section = "l0"
    grid = trials("l0.strength l0.learning_rate", (100, 1e-2), (10, 1e-2), (1000, 1e-2), (100, 3e-2))
    must_freeze = True
    floats_per_weight = 6
    learning_rate: float = 1e-2
    strength: float = 100.0
    initial: float = 2.5

    def importance(self) -> HardConcrete:
        """Return hard concrete gates."""
        return HardConcrete(self.learning_rate, self.strength, self.initial)
