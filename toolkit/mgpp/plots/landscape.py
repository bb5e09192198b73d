"""Plot penalties: their landscape, their pull, what they do to a weight, and which weights lie in the spike."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from mgpp.plots import style
from mgpp.plots.axes import on_own_axes
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L0, L1, Penalty

SYMBOLS = {"lam": "λ", "spike_var": "σ0²", "slab_var": "σ1²"}
FIELD_NAMES = {"lam": "weight of the slab", "spike_var": "spike variance", "slab_var": "slab variance"}


def excess(penalty: Penalty, theta: np.ndarray) -> np.ndarray:
    """Return R(θ) - R(0), the penalty of a weight compared with that of zero.

    Example:
        >>> from mgpp import L2
        >>> excess(L2(2.0), np.array([0.0, 3.0]))
        array([0., 9.])
    """
    return penalty.penalty(theta) - penalty.penalty(0.0)


@on_own_axes
def plot_penalties(
    penalties: Iterable[Penalty], *, ax: Axes, limit: float = 0.5, reference: float = 0.5, **line: Any
) -> Axes:
    """Draw penalties on one scale: R(θ) - R(0) as a share of its value at `reference`, for θ in [-limit, limit].

    Args:
        penalties: what to draw, labelled by their class.
        ax: where to draw; a new figure by default.
        limit: half width of the range of θ.
        reference: the θ where every curve is 1.
        line: further arguments for `Axes.plot`.
    """
    theta = np.linspace(-limit, limit, 2001)
    for penalty in penalties:
        height = excess(penalty, np.array([reference]))[0] or 1.0
        share = excess(penalty, theta) / height
        look = style.penalty_look(penalty.label)
        if isinstance(penalty, L0):  # the jump is not a line; the value at 0 is a point
            share[theta == 0] = np.nan
            ax.plot([0], [0], "o", color=look["color"], markersize=3, clip_on=False, zorder=3)
        ax.plot(theta, share, **look | line)
    ax.set(xlabel="weight θ", ylabel=f"penalty relative to θ = {reference:g}", xlim=(-limit, limit))
    return ax


def mark_prior_threshold(prior: Penalty, *, ax: Axes) -> Axes:
    """Draw vertical lines at ±τ, if the prior has a threshold."""
    if prior.has_threshold:
        for sign in (-1, 1):
            text = f"±τ = {prior.threshold:.2g}" if sign > 0 else None
            ax.axvline(sign * prior.threshold, color=style.PRIOR_THRESHOLD, linewidth=0.8, label=text)
    return ax


@on_own_axes
def plot_prior_family(
    prior: MixtureGaussianPrior,
    field: str,
    values: Sequence[float],
    *,
    ax: Axes,
    reach: tuple[float, float] = (1e-4, 1.0),
    **line: Any,
) -> Axes:
    """Draw R(θ) - R(0) against |θ| on a log axis for several values of one hyperparameter, with a dot at each τ.

    Args:
        prior: the values of the other two.
        field: lam, spike_var or slab_var.
        values: what to set it to, one curve each.
        ax: where to draw; a new figure by default.
        reach: smallest and largest |θ| of the axis.
        line: further arguments for `Axes.plot`.
    """
    theta = np.geomspace(*reach, 1001)
    others = {name: getattr(prior, name) for name in SYMBOLS if name != field}
    for value, color in zip(values, style.shades(len(values)), strict=True):
        member = MixtureGaussianPrior(**others | {field: value})
        ax.plot(theta, excess(member, theta), color=color, label=style.in_powers(value), **line)
        if member.has_threshold:
            tau = np.array([member.threshold])
            ax.plot(tau, excess(member, tau), "o", color=color, markersize=4, markeredgecolor="white", zorder=3)
    ax.set(xscale="log", xlabel="|θ|", ylabel="penalty R(θ) − R(0)", xlim=(theta[0], theta[-1]))
    ax.legend(title=SYMBOLS[field])
    return ax


@on_own_axes
def plot_pulls(penalties: Iterable[Penalty], *, ax: Axes, limit: float = 0.5, **line: Any) -> Axes:
    """Draw how hard penalties pull on a weight: R'(θ) as a share of its largest value in [-limit, limit].

    Each curve has its own scale, so that shapes can be compared where sizes differ by factors of thousands.

    Args:
        penalties: what to draw, labelled by their class. The jump of L1 at 0 stays a gap.
        ax: where to draw; a new figure by default.
        limit: half width of the range of θ.
        line: further arguments for `Axes.plot`.
    """
    theta = np.linspace(-limit, limit, 2001)
    for penalty in penalties:
        pull = penalty.penalty_grad(theta)
        share = pull / (np.abs(pull).max() or 1.0)
        if isinstance(penalty, L1):
            share[theta == 0] = np.nan
        ax.plot(theta, share, **style.penalty_look(penalty.label) | line)
        mark_prior_threshold(penalty, ax=ax)
    ax.set(xlabel="weight θ", ylabel="pull, share of its largest", xlim=(-limit, limit))
    ax.legend()
    return ax


@on_own_axes
def plot_paths(paths: pd.DataFrame, prior: Penalty, *, ax: Axes, **line: Any) -> Axes:
    """Draw how penalties move one weight step by step, with the prior thresholds ±τ if they are in view.

    Args:
        paths: a column for each penalty, named by its label; a row for each step.
        prior: whose threshold to draw.
        ax: where to draw; a new figure by default.
        line: further arguments for `Axes.plot`.
    """
    for label, path in paths.items():
        look = style.penalty_look(str(label))
        # a solid line is thick and lies below, so that dashes on top of it stay visible
        layer = {"linewidth": 2.4, "zorder": 2} if look["linestyle"] == "-" else {"zorder": 3}
        ax.plot(paths.index, path, **look | layer | line)
    values = paths.to_numpy(dtype=float)
    low, high = min(0.0, values.min()), values.max()
    for sign in (-1, 1):
        if prior.has_threshold and low <= sign * prior.threshold <= 2 * high:
            text = f"τ = {prior.threshold:.2g}" if sign > 0 else None
            ax.axhline(sign * prior.threshold, color=style.PRIOR_THRESHOLD, linewidth=0.8, label=text)
    ax.axhline(0, color="0.7", linewidth=0.6, zorder=0)
    ax.set(xlabel="step", ylabel="weight θ", xlim=(paths.index[0], paths.index[-1]))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend()
    return ax


@on_own_axes
def plot_weights(weights: np.ndarray, prior: Penalty, *, ax: Axes, limit: float = 0.2, **bars: Any) -> Axes:
    """Draw the density of real weights, with the spike as a band from -τ to τ and the share of weights in it.

    Args:
        weights: any shape; those beyond `limit` are counted, not drawn.
        prior: whose threshold to draw.
        ax: where to draw; a new figure by default.
        limit: half width of the range of θ.
        bars: further arguments for `Axes.stairs`.
    """
    values = np.ravel(weights)
    counts, edges = np.histogram(values, bins=200, range=(-limit, limit))
    density = counts / values.size / np.diff(edges)
    ax.stairs(density, edges, **{"color": "0.25", "label": f"{values.size:,} weights"} | bars)
    if prior.has_threshold:
        share = np.mean(np.abs(values) < prior.threshold)
        tau = prior.threshold
        ax.axvspan(-tau, tau, color=style.SPIKE, alpha=0.25, linewidth=0, label=f"{share:.1%} of them in the spike")
    mark_prior_threshold(prior, ax=ax)
    ax.set(xlabel="weight θ", ylabel="density", xlim=(-limit, limit))
    ax.set_ylim(0, 1.4 * density.max() or 1.0)  # room for the legend
    ax.legend(loc="upper left")
    return ax
