"""Take the prior's step beside Adam's: the proximal map of the mixture Gaussian prior."""

import numpy as np

from mgpp.prior.mixture import MixtureGaussianPrior

STEPS = 30  # of expectation maximisation; most weights are done after two


def proximal(prior: MixtureGaussianPrior, theta: np.ndarray, distance: np.ndarray) -> np.ndarray:
    """Move every weight to the point that balances the way from θ with the prior's penalty.

        prox(θ) = argmin_u  ½ (u - θ)² / d + R(u)
    R has two valleys, so there are up to two minima. Each is found by expectation maximisation: with the spike
    probability p0(u) held, the minimum is at u = θ / (1 + d (p0/σ0² + (1-p0)/σ1²)), and no step goes up. The first
    start is the minimum of the slab alone, the second that of the spike alone; the lower end is taken.

    Around 0 this is a threshold. With σ0 → 0 and a wide slab a weight goes to 0 if |θ| < √(2 d L), where L is the
    log odds of the spike at 0: weights with a large step d, whose gradients are small, are asked for more.

    Args:
        prior: R = -log π.
        theta: weights.
        distance: d > 0, by weight: Adam's own step size lr / (√v̂ + ε), divided by n.

    Source: Parikh & Boyd (2014) for proximal steps; Yun, Lozano & Yang (2020, arXiv 2007.07605) for those of Adam.

    Example:
        >>> prior = MixtureGaussianPrior(lam=0.1, spike_var=1e-8, slab_var=0.1)
        >>> proximal(prior, np.array([0.001, 0.5]), np.array([1e-6, 1e-6])).round(5)
        array([1.e-05, 5.e-01])
    """
    ends = []
    for probability in (0.0, 1.0):
        u = theta / (1 + distance * _pull_per_weight(prior, probability))
        for _ in range(STEPS):
            u = theta / (1 + distance * _pull_per_weight(prior, prior.spike_probability(u)))
        ends.append(u)
    costs = [0.5 * (u - theta) ** 2 / distance + prior.penalty(u) for u in ends]
    return np.where(costs[0] <= costs[1], *ends)


def _pull_per_weight(prior: MixtureGaussianPrior, spike_probability: np.ndarray | float) -> np.ndarray | float:
    """Return R'(θ)/θ = p0/σ0² + (1-p0)/σ1²."""
    return spike_probability * prior.precision_gap + 1 / prior.slab_var
