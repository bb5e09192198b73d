"""Importance that is learned: every weight has a score, and lives on under the mask.

The model computes with the gated weight θ' = g(s) θ, where s is the weight's score and g a mask or a gate. Between
`update` and the next `observe` the model's parameters hold θ', so that what is evaluated, logged or saved is the pruned
model; θ itself is kept here, and is what the optimizer steps. No module is replaced: any model will do.
"""

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from mgpp.prior.penalties import check_number
from mgpp.pruning.importance import Importance

SMALLEST_GATE = 0.01  # of what is kept when gates are folded into the weights: 0 would prune it


class Learned(Importance):
    """Scores that Adam learns beside the weights, and weights that live on under the mask.

    Subclasses give the scores' gradient, and may gate the weights.

    Args:
        learning_rate: Adam's, of the scores.
        strength: of the penalty on the scores, times its mean over all targets, on the scale of the mean loss.
        initial: where scores start.

    Raises:
        ValueError: if a number is out of range.
    """

    by_magnitude: ClassVar[bool] = False
    keeps_weights: ClassVar[bool] = True

    def __init__(self, learning_rate: float = 1e-2, strength: float = 0.0, initial: float = 0.0):
        name, hint = type(self).__name__, "for instance 0.01"
        self.learning_rate = check_number(name, "learning_rate", learning_rate, 1e-30, 1e30, hint)
        self.strength = check_number(name, "strength", strength, 0, 1e30, "0 for none")
        self.initial = check_number(name, "initial", initial, -1e30, 1e30, "where scores start")

    def attach(self, weights: Mapping[str, Tensor]) -> None:
        """A score for every weight, and a place to keep the weight."""
        super().attach(weights)
        self.scores = {
            name: torch.full_like(weight, self.initial, dtype=torch.float32, requires_grad=True)
            for name, weight in weights.items()
        }
        self.kept: dict[str, Tensor] = {}
        self.optimizer = torch.optim.Adam(self.scores.values(), lr=self.learning_rate)
        self.total = self.weights.total

    def keep(self) -> None:
        """Take θ from the parameters, the first time that it is needed."""
        if not self.kept:
            self.kept = {name: weight.detach().clone() for name, weight in self.weights.items()}

    @torch.no_grad()
    def skip(self, step: int) -> None:
        """Put θ back; the scores stay what they are."""
        for name, weight in self.weights.items():
            if self.kept:
                weight.copy_(self.kept[name])

    @torch.no_grad()
    def observe(self, step: int) -> None:
        """Turn the gradient of θ' into those of score and θ, and put θ back for the optimizer."""
        self.keep()
        for name, weight in self.weights.items():
            gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
            score = self.scores[name]
            score.grad = self._score_grad(name, gradient).to(score.dtype)
            if self.strength:
                score.grad += self.strength / self.total * self._penalty_grad(score)
            self._gate_grad_(name, gradient)
            weight.copy_(self.kept[name])

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Step the scores, and keep the new θ; the parameters hold θ' from here on."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.keep()
        for name, weight in self.weights.items():
            self.kept[name].copy_(weight)
            self._gate_(name, weight)

    def finish(self) -> None:
        """θ' takes the place of θ for good."""
        self.scores, self.kept = {}, {}
        self.__dict__.pop("optimizer", None)  # it holds the scores

    def ranks(self) -> Mapping[str, Tensor]:
        """The scores."""
        return {name: score.detach() for name, score in self.scores.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Scores, kept weights, and the moments of Adam."""
        found = {f"score.{name}": score.detach() for name, score in self.scores.items()}
        found |= {f"kept.{name}": weight for name, weight in self.kept.items()}
        for name, score in self.scores.items():
            found |= {f"{key}.{name}": value for key, value in self._moments(score).items()}
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave; θ comes with it, if it was taken by then."""
        if any(key.startswith("kept.") for key in tensors):
            self.keep()
        super().load(tensors)

    def _moments(self, score: Tensor) -> dict[str, Tensor]:
        """Adam's state of a score; as Adam makes it at its first step if there was none yet."""
        if score not in self.optimizer.state:
            moments = {key: torch.zeros_like(score, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[score] = {"step": torch.zeros(()), **moments}
        return self.optimizer.state[score]

    @abstractmethod
    def _score_grad(self, name: str, gradient: Tensor) -> Tensor:
        """∂L/∂s, given ∂L/∂θ'."""

    def _penalty_grad(self, score: Tensor) -> Tensor:
        """Derivative of the penalty on one score: of sigmoid(s)."""
        gate = score.sigmoid()
        return gate * (1 - gate)

    def _gate_grad_(self, name: str, gradient: Tensor) -> None:
        """∂L/∂θ' becomes ∂L/∂θ; that of weights under the mask becomes 0 by the Pruner."""

    def _gate_(self, name: str, weight: Tensor) -> None:
        """θ becomes g(s) θ, without the mask."""


class Movement(Learned):
    """Movement: a weight that moves away from zero gains importance (Sanh, Wolf & Rush 2020).

        θ' = M θ,  M = 0 for the lowest scores            ∂L/∂s = θ ∂L/∂θ'  (straight through M, also where M = 0)
    With `strength` there is the soft version's penalty, strength · mean sigmoid(s), which makes all scores sink unless
    the loss holds them up. The mean is over all targets; the authors average the matrices' means.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
        >>> w.grad, importance = torch.tensor([-0.5, -3.0]), Movement(learning_rate=0.1)
        >>> importance.attach({"w": w})
        >>> importance.observe(0)
        >>> importance.update(0)
        >>> importance.ranks()["w"]  # the first weight is to grow, the second to shrink
        tensor([ 0.1000, -0.1000])
    """

    def _score_grad(self, name: str, gradient: Tensor) -> Tensor:
        return gradient * self.kept[name]


class HardConcrete(Learned):
    """L0 regularisation: every weight has a gate that is drawn anew at every step (Louizos, Welling & Kingma 2018).

        s̄ = sigmoid((log u - log(1-u) + s) / β) (ζ - γ) + γ,   u uniform in (0, 1)         gate z = clip(s̄, 0, 1)
        P(z ≠ 0) = sigmoid(s - β log(-γ/ζ))            penalty: strength · mean P(z ≠ 0)
    For evaluation z = clip(sigmoid(s) (ζ - γ) + γ, 0, 1), which is also what gates are folded into the weights by at
    t_f, but for those that the schedule keeps though they have closed: they come back at a hundredth. Here s is the
    paper's log α. The draws depend on torch's seed and the step alone; processes that share out a matrix draw for all
    of it, one matrix at a time, and take their part.

    Args:
        learning_rate: Adam's, of the scores.
        strength: of the penalty.
        initial: where scores start; from 2.4 on the gates of evaluation are open.

    Example:
        >>> gates = HardConcrete(strength=1.0)
        >>> round(float(gates.probability_open(torch.tensor(0.0))), 4)
        0.8318
    """

    must_freeze: ClassVar[bool] = True
    temperature, low, high = 2 / 3, -0.1, 1.1  # β, γ, ζ of the paper

    def __init__(self, learning_rate: float = 1e-2, strength: float = 0.0, initial: float = 2.5):
        super().__init__(learning_rate, strength, initial)

    def attach(self, weights: Mapping[str, Tensor]) -> None:
        """Gates that are open, and where their draws begin."""
        super().attach(weights)
        self.seed = torch.tensor(torch.initial_seed() % (1 << 62))
        self.stretched: dict[str, Tensor] = {}
        self.drawn = -1

    @torch.no_grad()
    def begin_step(self, step: int) -> bool:
        """Draw the gates of this step, and lay them on the weights."""
        self.drawn = step
        self.keep()
        for number, (name, weight) in enumerate(self.weights.items()):
            generator = torch.Generator(weight.device).manual_seed(self._seed_of(step, number))
            draws = self.scores[name].new_empty(self.weights.whole[name].shape)
            u = self.weights.part(name, draws.uniform_(1e-6, 1 - 1e-6, generator=generator))
            s = ((u.logit() + self.scores[name]) / self.temperature).sigmoid_()
            self.stretched[name] = s.mul_(self.high - self.low).add_(self.low)
            weight.copy_(self.kept[name] * self.stretched[name].clamp(0, 1))
        return True

    def _seed_of(self, step: int, number: int) -> int:
        return ((int(self.seed) * 1_000_003 + step) * 1_000_003 + number) % (1 << 63)

    def observe(self, step: int) -> None:
        """As for all learned importance, if this step's gates were drawn.

        Raises:
            RuntimeError: if `Pruner.begin_step` was not called.
        """
        if self.drawn != step:
            raise RuntimeError(f"l0: step {step} has no gates; call pruner.begin_step({step}) before the forward pass")
        super().observe(step)

    def probability_open(self, score: Tensor) -> Tensor:
        """P(z ≠ 0), elementwise."""
        return (score - self.temperature * math.log(-self.low / self.high)).sigmoid()

    def gate(self, score: Tensor) -> Tensor:
        """The gate of evaluation, in [0, 1]."""
        return (score.sigmoid() * (self.high - self.low) + self.low).clamp(0, 1)

    @torch.no_grad()
    def finish(self) -> None:
        """The gates are folded into the weights, what is kept by a hundredth at least."""
        for name, weight in self.weights.items():
            if self.kept:
                weight.copy_(self.kept[name] * self.gate(self.scores[name]).clamp(min=SMALLEST_GATE))
        super().finish()
        self.stretched = {}

    def tensors(self) -> dict[str, Tensor]:
        """The seed of the draws, too."""
        return {"seed": self.seed, **super().tensors()}

    def _score_grad(self, name: str, gradient: Tensor) -> Tensor:
        stretched, width = self.stretched[name], self.high - self.low
        sigmoid = (stretched - self.low) / width
        slope = sigmoid * (1 - sigmoid) * width / self.temperature
        return gradient * self.kept[name] * slope * ((stretched > 0) & (stretched < 1))

    def _penalty_grad(self, score: Tensor) -> Tensor:
        open_ = self.probability_open(score)
        return open_ * (1 - open_)

    def _gate_grad_(self, name: str, gradient: Tensor) -> None:
        gradient *= self.stretched[name].clamp(0, 1)

    def _gate_(self, name: str, weight: Tensor) -> None:
        weight *= self.gate(self.scores[name])
