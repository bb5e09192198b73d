"""Make the toy problem: linear regression with more inputs than examples and a known structure.

`TextbookPrior` computes the prior in half precision, as a mistake to learn from.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mgpp.prior.penalties import Penalty

N_TRAIN, INPUTS = 200, 800
TRUE_INPUTS = {"first": 8, "second": 4}  # how many inputs of each layer matter, among 400


@dataclass(frozen=True)
class ToyData:
    """Examples of the toy problem.

    Attributes:
        x, y: for training, (n, 800) and (n, 1).
        x_test, y_test: a thousand more.
        true_weights: what the inputs are multiplied with, (800,); zero where an input does not matter.
    """

    x: Tensor
    y: Tensor
    x_test: Tensor
    y_test: Tensor
    true_weights: Tensor


def toy_data(seed: int = 0, *, n_train: int = N_TRAIN, noise: float = 0.5, second_scale: float = 1.0) -> ToyData:
    """Draw a problem: y = x · w + noise, x standard normal, 12 weights from 0.3 to 1 with random signs, the rest 0.

    Args:
        seed: of everything random.
        n_train: number of training examples.
        noise: standard deviation of what is added to y; its square is the least test loss one can reach.
        second_scale: multiplies the inputs of the second layer, as other units would, and divides its true weights.

    Example:
        >>> data = toy_data(0)
        >>> tuple(data.x.shape), int((data.true_weights != 0).sum())
        ((200, 800), 12)
    """
    rng = torch.Generator().manual_seed(seed)
    half = INPUTS // 2
    place = torch.cat(
        [
            start + torch.randperm(half, generator=rng)[:count]
            for start, count in zip((0, half), TRUE_INPUTS.values(), strict=True)
        ]
    )
    sizes = torch.linspace(0.3, 1.0, len(place))[torch.randperm(len(place), generator=rng)]
    w = torch.zeros(INPUTS)
    w[place] = torch.where(torch.rand(len(place), generator=rng) < 0.5, -sizes, sizes)
    x = torch.randn(n_train + 1000, INPUTS, generator=rng)
    y = (x @ w + noise * torch.randn(len(x), generator=rng)).unsqueeze(1)
    x[:, half:] *= second_scale
    w[half:] /= second_scale
    return ToyData(x[:n_train], y[:n_train], x[n_train:], y[n_train:], w)


class ToyModel(nn.Module):
    """Predict with two linear layers, each on its half of the inputs: first(x[:, :400]) + second(x[:, 400:])."""

    def __init__(self, seed: int = 0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # leave the caller's random state alone
            torch.manual_seed(seed)
            self.first = nn.Linear(INPUTS // 2, 1)
            self.second = nn.Linear(INPUTS // 2, 1, bias=False)
        self.targets = {name: self.get_parameter(f"{name}.weight") for name in TRUE_INPUTS}  # what is pruned

    def forward(self, x: Tensor) -> Tensor:
        """Return predictions, (n, 1), for inputs, (n, 800)."""
        return self.first(x[:, : INPUTS // 2]) + self.second(x[:, INPUTS // 2 :])

    @property
    def flat(self) -> Tensor:
        """The weights of both layers, (800,)."""
        return torch.cat([weight.detach().flatten() for weight in self.targets.values()])

    @property
    def flat_grad(self) -> Tensor:
        """The gradients of both layers' weights, (800,)."""
        return torch.cat([weight.grad.flatten() for weight in self.targets.values() if weight.grad is not None])


@dataclass(frozen=True)
class TextbookPrior(Penalty):
    """Compute and add the prior's gradient in half precision, by the textbook formula: a mistake to learn from.

    Args:
        prior: a `MixtureGaussianPrior` or an annealed one.
        dtype: the type of all numbers: weights, 1/σ0², 1/σ1², the gradient and its sum with the data gradient.

    Example:
        >>> from mgpp import MixtureGaussianPrior
        >>> prior = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1)  # 1/σ0² = 10 million
        >>> TextbookPrior(prior, torch.float16).penalty_grad(torch.tensor([0.001, 0.5])).tolist()
        [nan, nan]
        >>> prior.penalty_grad(torch.tensor([0.0, 0.5])).tolist()  # the library's, in float32 and more
        [0.0, 5.0]
    """

    prior: Any
    dtype: torch.dtype

    def at(self, step: int) -> "TextbookPrior":
        """Return the textbook prior of `step`."""
        return replace(self, prior=self.prior.at(step))

    @property
    def threshold(self) -> float:
        """The prior threshold of `prior`."""
        return self.prior.threshold

    def penalty_grad(self, w: Tensor) -> Tensor:
        """Return θ [p0/σ0² + (1-p0)/σ1²], computed in `dtype`."""
        w = w.detach().to(self.dtype)
        spike, slab = (w.new_tensor(1 / var) for var in (self.prior.spike_var, self.prior.slab_var))
        p0 = torch.sigmoid(self.prior.log_odds_at_zero - 0.5 * w * w * (spike - slab))
        return w * (p0 * spike + (1 - p0) * slab)

    def add_grads_(self, grads: Iterable[Tensor], weights: Iterable[Tensor], *, n: int, compiled: bool = False) -> None:
        """Add 1/n of the penalty's gradient to the gradients, in `dtype`."""
        for grad, w in zip(grads, weights, strict=True):
            grad.copy_(grad.to(self.dtype) + self.penalty_grad(w) / n)

    def _penalty(self, xp: Any, w: Any) -> Any:
        return self.prior._penalty(xp, w)

    def _grad(self, xp: Any, w: Any) -> Any:
        return self.prior._grad(xp, w)
