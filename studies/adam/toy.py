"""Follow pruned weights under Adam and a prior, without a model: noise in place of the gradient of the loss."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from mgpp.prior.mixture import MixtureGaussianPrior
from studies.adam.proximal import proximal

# How the prior meets Adam: its gradient goes into Adam's moments (MGPP), is subtracted beside Adam's step as AdamW
# does with weight decay, or its proximal map follows Adam's step.
Place = Literal["through", "beside", "proximal"]
EVENTS, WEIGHTS = 40, 20_000


@dataclass(frozen=True)
class Adam:
    """Hold the settings of Adam, with PyTorch's defaults for all but the learning rate."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def largest_step(self) -> float:
        """Return the longest first step after quiet ones: lr (1 - β1) / √(1 - β2), when the gradient jumps.

        Example:
            >>> round(Adam().largest_step() / 1e-4, 2)
            3.16
        """
        return self.learning_rate * (1 - self.beta1) / (1 - self.beta2) ** 0.5


def steps_of_adam(
    prior: MixtureGaussianPrior | None,
    adam: Adam,
    *,
    n: int,
    place: Place = "through",
    interval: int = 10,
    events: int = EVENTS,
    noise: float = 1e-4,
    weights: int = WEIGHTS,
    quiet: int = 90,
    seed: int = 0,
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield step, weights and pulls after each step of Adam, for weights that are zeroed at every prune event.

    Before the first event the weights take `quiet` steps on noise alone from 0.1, far from the spike, so that Adam's
    moments are those of a training. Then all are zeroed, and after every `interval` steps again.

    Args:
        prior: added to the gradient, divided by n; None: no penalty.
        adam: its settings.
        n: number of training examples.
        place: how the prior meets Adam.
        interval: steps between prune events.
        events: number of prune events.
        noise: standard deviation of the loss gradient.
        weights: how many weights are followed.
        quiet: steps before the first event.
        seed: of the noise.
    """
    draw = np.random.default_rng(seed)
    theta, first, second = np.full(weights, 0.1), np.zeros(weights), np.zeros(weights)
    for step in range(quiet + events * interval):
        if step >= quiet and (step - quiet) % interval == 0:
            theta[:] = 0.0
        pull = prior.penalty_grad(theta) / n if prior is not None else np.zeros(weights)
        gradient = noise * draw.standard_normal(weights) + (pull if place == "through" else 0)
        first = adam.beta1 * first + (1 - adam.beta1) * gradient
        second = adam.beta2 * second + (1 - adam.beta2) * gradient**2
        unbiased = first / (1 - adam.beta1 ** (step + 1)), second / (1 - adam.beta2 ** (step + 1))
        rate = adam.learning_rate / (np.sqrt(unbiased[1]) + adam.epsilon)  # Adam's own, by weight
        theta = theta - rate * unbiased[0]
        if place == "beside":
            theta = theta - adam.learning_rate * pull
        elif place == "proximal" and prior is not None:
            theta = proximal(prior, theta, rate / n)
        if step >= quiet:
            yield step - quiet, theta, pull


def sizes_before_events(
    prior: MixtureGaussianPrior | None, adam: Adam, *, interval: int = 10, **settings: Any
) -> pd.DataFrame:
    """Return how far pruned weights get until the next prune event; `settings` are those of `steps_of_adam`.

    Returns:
        A row an event: event (from 1), rms (root of the mean squared weight just before the next event).

    Example:
        >>> table = sizes_before_events(None, Adam(), n=10_000, events=2)
        >>> table["event"].tolist()
        [1, 2]
    """
    steps = steps_of_adam(prior, adam, interval=interval, **settings)
    ends = [np.sqrt(np.mean(theta**2)) for step, theta, _ in steps if (step + 1) % interval == 0]
    return pd.DataFrame({"event": np.arange(1, len(ends) + 1), "rms": ends})
