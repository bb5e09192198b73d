"""Define movement pruning, hard and soft: every weight has a learned score, and is kept under the mask."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgpp.methods.base import Method, trials
from mgpp.palette import GREEN
from mgpp.prior.penalties import check_number
from mgpp.pruning.importance import Importance

if TYPE_CHECKING:
    from torch import Tensor


class LearnedScores(Importance):
    """Scores that Adam learns together with the weights; pruned weights are kept under the mask.

    The model computes with the gated weight θ' = g(s) θ, where s is the weight's score and g a mask or a gate. Between
    `update` and the next `observe`, the model's parameters hold θ', so what is evaluated, logged or saved is the
    pruned model. θ itself is kept here, and the optimizer steps it. No module is replaced, so any model works.

    A subclass gives the gradient of the scores, `score_grad`, and may multiply the weights by gates.

    Args:
        learning_rate: Adam's learning rate for the scores.
        strength: of the penalty on the mean of all scores, on the scale of the mean loss.
        initial: value that scores start with.

    Raises:
        ValueError: if a number is out of range.
    """

    by_magnitude = False
    keeps_weights = True

    def __init__(self, learning_rate: float = 1e-2, strength: float = 0.0, initial: float = 0.0):
        name, hint = type(self).__name__, "for instance 0.01"
        self.learning_rate = check_number(name, "learning_rate", learning_rate, 1e-30, 1e30, hint)
        self.strength = check_number(name, "strength", strength, 0, 1e30, "0 for none")
        self.initial = check_number(name, "initial", initial, -1e30, 1e30, "where scores start")

    def attach(self, weights: "Mapping[str, Tensor]") -> None:
        """Make a score for every weight, and their optimizer."""
        import torch

        super().attach(weights)
        self.scores = {
            name: torch.full_like(weight, self.initial, dtype=torch.float32, requires_grad=True)
            for name, weight in weights.items()
        }
        self.kept: dict[str, Tensor] = {}
        self.optimizer = torch.optim.Adam(self.scores.values(), lr=self.learning_rate)
        for score in self.scores.values():  # as Adam's first step makes it; a checkpoint may come before
            moments = {key: torch.zeros_like(score, requires_grad=False) for key in ("exp_avg", "exp_avg_sq")}
            self.optimizer.state[score] = {"step": torch.zeros(()), **moments}

    def keep(self) -> None:
        """Copy θ from the parameters, unless that was done before."""
        if not self.kept:
            self.kept = {name: weight.detach().clone() for name, weight in self.weights.items()}

    def skip(self, step: int) -> None:
        """Put θ back into the parameters; the scores stay as they are."""
        for name, kept in self.kept.items():
            self.weights[name].detach().copy_(kept)

    def observe(self, step: int) -> None:
        """Turn the gradient of θ' into those of scores and θ, and put θ back for the optimizer."""
        self.keep()
        for name, score in self.scores.items():
            weight = self.weights[name]
            gradient = weight.detach().new_zeros(weight.shape) if weight.grad is None else weight.grad
            score.grad = self.score_grad(name, gradient).to(score.dtype)
            if self.strength:
                score.grad += self.strength / self.weights.total * self.penalty_grad(score.detach())
            self.gate_grad_(name, gradient)
        self.skip(step)

    def update(self, step: int) -> None:
        """Step the scores, and keep the new θ; the parameters hold θ' from here on."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.keep()
        for name, weight in self.weights.items():
            self.kept[name].copy_(weight.detach())
            self.gate_(name, weight.detach())

    def finish(self) -> None:
        """Free scores, their optimizer, and θ: θ' replaces it for good."""
        self.scores, self.kept = {}, {}
        self.__dict__.pop("optimizer", None)  # it holds the scores

    def ranks(self) -> "Mapping[str, Tensor]":
        """Return the scores."""
        return {name: score.detach() for name, score in self.scores.items()}

    def tensors(self) -> "dict[str, Tensor]":
        """Return scores, kept weights, and Adam's moments."""
        found = {f"score.{name}": score for name, score in self.ranks().items()}
        found |= {f"kept.{name}": weight for name, weight in self.kept.items()}
        for name, score in self.scores.items():
            found |= {f"{key}.{name}": value for key, value in self.optimizer.state[score].items()}
        return found

    def load(self, tensors: "Mapping[str, Tensor]") -> None:
        """Restore what `tensors` returned; it holds θ if θ was kept by then."""
        if any(key.startswith("kept.") for key in tensors):
            self.keep()
        super().load(tensors)

    @abstractmethod
    def score_grad(self, name: str, gradient: "Tensor") -> "Tensor":
        """Return ∂L/∂s, given ∂L/∂θ'."""

    def penalty_grad(self, score: "Tensor") -> "Tensor":
        """Return the derivative of the penalty on one score, sigmoid(s)."""
        gate = score.sigmoid()
        return gate * (1 - gate)

    def gate_grad_(self, name: str, gradient: "Tensor") -> None:
        """Turn ∂L/∂θ' into ∂L/∂θ, without the mask; the Pruner applies it."""

    def gate_(self, name: str, weight: "Tensor") -> None:
        """Turn θ into g(s) θ, without the mask."""


class Movement(LearnedScores):
    """Movement: a weight that moves away from zero gains importance (Sanh, Wolf & Rush 2020).

        θ' = M θ,  M = 0 for the lowest scores            ∂L/∂s = θ ∂L/∂θ'  (straight through M, also where M = 0)
    `strength` adds the penalty of the soft version, strength · mean sigmoid(s). It lowers all scores that the loss does
    not raise. The mean is over all targets; the authors average the means of the matrices.

    Example:
        >>> import torch
        >>> w = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
        >>> w.grad, importance = torch.tensor([-0.5, -3.0]), Movement(learning_rate=0.1)
        >>> importance.attach({"w": w})
        >>> importance.observe(0)
        >>> importance.update(0)
        >>> importance.ranks()["w"]  # the first weight is to grow, the second to shrink
        tensor([ 0.1000, -0.1000])
    """

    def score_grad(self, name: str, gradient: "Tensor") -> "Tensor":
        """Return θ ∂L/∂θ'."""
        return gradient * self.kept[name]


@dataclass(frozen=True)
class MovementPruning(Method):
    """Movement pruning: weights that move towards zero are removed, whatever their size.

    Source: Sanh, Wolf & Rush (2020), hard version. Every weight has a score, learned with the gradient θ ∂L/∂θ' as if
    there were no mask (straight-through estimator). The lowest scores of every matrix are removed. A removed weight is
    kept under the mask and returns if its score rises; meanwhile it has no gradient and only follows the optimizer's
    momentum. The method is made for fine-tuning, where most pretrained weights hardly move and their magnitudes say
    little about the task.

    Hyperparameters: `learning_rate` of the scores (Adam, constant; the authors use 1e-2, decaying with that of the
    weights). Adam moves a score by at most this much a step, whatever the size of its gradient. Since all scores scale
    with it, it hardly changes their order. The authors change the mask at every step, this method at prune events.

    Cost: a score, its gradient, two moments of Adam and the kept weight, five float32 a weight.
    """

    label = "movement"
    color, line, marker = GREEN, (0, (4, 1, 1, 1)), "P"
    section = "movement"
    grid = trials("sparsity.warmup sparsity.scope", (0.1, "matrix"), (0.3, "matrix"), (0.1, "global"), (0.3, "global"))
    scope = "matrix"
    floats_per_weight = 5
    learning_rate: float = 1e-2

    def importance(self) -> Movement:
        """Return movement scores."""
        return Movement(self.learning_rate)


@dataclass(frozen=True)
class SoftMovementPruning(Method):
    """Soft movement pruning: movement scores with a penalty, and one threshold for all matrices.

    Source: Sanh, Wolf & Rush (2020), soft version. Scores are learned as in movement pruning. The penalty
    strength · mean sigmoid(s) lowers all scores that the loss does not raise, so matrices lose unequal shares. In the
    original the threshold is fixed, and the sparsity follows from `strength`. Here the schedule sets the sparsity, and
    the threshold follows, so that all methods end at the same sparsity.

    Hyperparameters: `strength` 0 is movement pruning with a global threshold; with a large one, all scores fall
    together. `learning_rate` against `strength` decides how far scores fall into the flat part of the sigmoid.

    Cost: five float32 a weight.
    """

    label = "soft movement"
    color, line, marker = GREEN, (0, (4, 1, 1, 1, 1, 1, 1, 1)), "X"
    section = "soft_movement"
    grid = trials(
        "soft_movement.strength soft_movement.learning_rate", (100, 1e-2), (10, 1e-2), (1000, 1e-2), (100, 3e-2)
    )
    floats_per_weight = 5
    learning_rate: float = 1e-2
    strength: float = 100.0

    def importance(self) -> Movement:
        """Return movement scores with their penalty."""
        return Movement(self.learning_rate, self.strength)
