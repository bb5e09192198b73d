"""Plots: data in, Axes in, Axes out. Each draws one thing; nothing here reads files or trains."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from mgpp.analysis import style
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.prior.penalties import L0, Penalty
from mgpp.runs import Run

SYMBOLS = {"lam": "λ", "spike_var": "σ0²", "slab_var": "σ1²"}


def excess(penalty: Penalty, theta: np.ndarray) -> np.ndarray:
    """R(θ) - R(0), how much worse than zero a weight is.

    Example:
        >>> from mgpp import L2
        >>> excess(L2(2.0), np.array([0.0, 3.0]))
        array([0., 9.])
    """
    return penalty.penalty(theta) - penalty.penalty(0.0)


def plot_penalties(
    penalties: Iterable[Penalty], *, ax: Axes | None = None, limit: float = 0.5, reference: float = 0.5, **line: Any
) -> Axes:
    """Penalties on one scale: R(θ) - R(0) as a share of its value at `reference`, for θ in [-limit, limit].

    Args:
        penalties: what to draw, labelled by their class.
        ax: where to draw; a new figure by default.
        limit: half width of the range of θ.
        reference: the θ where every curve is 1.
        line: further arguments for `Axes.plot`.
    """
    ax = ax or plt.figure(layout="constrained").subplots()
    theta = np.linspace(-limit, limit, 2001)
    for penalty in penalties:
        height = excess(penalty, np.array([reference]))[0] or 1.0
        share = excess(penalty, theta) / height
        color = style.PENALTY_COLORS.get(penalty.label)
        if isinstance(penalty, L0):  # the jump is not a line; the value at 0 is a point
            share[theta == 0] = np.nan
            ax.plot([0], [0], "o", color=color, markersize=3, clip_on=False, zorder=3)
        ax.plot(theta, share, style.PENALTY_LINES.get(penalty.label, "-"), color=color, label=penalty.label, **line)
    ax.set(xlabel="weight θ", ylabel=f"penalty relative to θ = {reference:g}", xlim=(-limit, limit))
    return ax


def mark_prior_threshold(prior: Penalty, *, ax: Axes, label: bool = True) -> Axes:
    """Vertical lines at ±τ, if the prior has a threshold."""
    if prior.has_threshold:
        for sign in (-1, 1):
            text = f"±τ = {prior.threshold:.2g}" if label and sign > 0 else None
            ax.axvline(sign * prior.threshold, color=style.PRIOR_THRESHOLD, linewidth=0.8, label=text)
    return ax


def plot_prior_family(
    prior: MixtureGaussianPrior, field: str, values: Sequence[float], *, ax: Axes | None = None, **line: Any
) -> Axes:
    """How one hyperparameter changes the landscape: R(θ) - R(0) against |θ| on a log axis, with a dot at each τ.

    Args:
        prior: the values of the other two.
        field: lam, spike_var or slab_var.
        values: what to set it to, one curve each.
        ax: where to draw; a new figure by default.
        line: further arguments for `Axes.plot`.
    """
    ax = ax or plt.figure(layout="constrained").subplots()
    theta = np.logspace(-4, 0, 1001)
    others = {name: getattr(prior, name) for name in SYMBOLS if name != field}
    for value, color in zip(values, style.shades(len(values)), strict=True):
        member = MixtureGaussianPrior(**others | {field: value})
        ax.plot(theta, excess(member, theta), color=color, label=f"{value:g}", **line)
        if member.has_threshold:
            tau = np.array([member.threshold])
            ax.plot(tau, excess(member, tau), "o", color=color, markersize=4, markeredgecolor="white", zorder=3)
    ax.set(xscale="log", xlabel="|θ|", ylabel="penalty R(θ) − R(0)", xlim=(theta[0], theta[-1]))
    ax.legend(title=SYMBOLS[field])
    return ax


def remaining_density(weights: pd.DataFrame, step: int | None = None) -> pd.DataFrame:
    """The density of the nonzero weights of a model at one logged step, from the histogram `Run.weights`.

    Args:
        weights: frame of `Run.weights`.
        step: a logged step; the last by default.

    Returns:
        Columns left, right (edges of the bins, finite), count (over all targets), density (integrates to 1).
    """
    step = weights["step"].max() if step is None else step
    rows = weights[(weights["step"] == step) & ~((weights["left"] == 0) & (weights["right"] == 0))]
    bins = rows.groupby(["left", "right"], as_index=False)["count"].sum()
    bins = bins[np.isfinite(bins["left"]) & np.isfinite(bins["right"])]
    bins["density"] = bins["count"] / bins["count"].sum() / (bins["right"] - bins["left"])
    return bins.sort_values("left", ignore_index=True)


def plot_remaining_weights(runs: Iterable[Run], *, ax: Axes | None = None, limit: float = 0.3, **line: Any) -> Axes:
    """Density of the remaining nonzero weights at the last logged step, a line a run, coloured by method."""
    ax = ax or plt.figure(layout="constrained").subplots()
    for run in runs:
        bins = remaining_density(_filled(run, "weights"))
        x, y = _steps_of(bins)
        ax.plot(x, y, **_look(run) | line)
    ax.set(xlabel="remaining weight θ", ylabel="density", xlim=(-limit, limit))
    ax.set_ylim(bottom=0)
    return _legend_by_method(ax)


def _steps_of(bins: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Outline of a histogram whose empty bins are left out: 0 wherever there is no bin."""
    left, right, density = (bins[name].to_numpy() for name in ("left", "right", "density"))
    edges = np.concatenate([left, right])
    heights = np.concatenate([density, np.zeros_like(density)])
    keep = np.concatenate([np.ones(len(left), bool), ~np.isin(right, left)])  # a right edge counts where a gap begins
    order = np.argsort(edges[keep], kind="stable")
    x, y = edges[keep][order], heights[keep][order]
    return np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]


def plot_thresholds(runs: Iterable[Run], *, ax: Axes | None = None, **line: Any) -> Axes:
    """The pruning threshold through training, a line a run, coloured by method, with the phases marked."""
    ax = ax or plt.figure(layout="constrained").subplots()
    runs = list(runs)
    for run in runs:
        rows = run.metrics.dropna(subset=["pruning_threshold"])
        ax.plot(rows["step"], rows["pruning_threshold"], **_look(run) | line)
    ax.set(xlabel="training step", ylabel="pruning threshold", xlim=(0, None))
    ax.set_ylim(bottom=0)
    if runs:
        mark_phases(runs[0], ax=ax)
    return _legend_by_method(ax)


def mark_phases(run: Run, *, ax: Axes) -> Axes:
    """Lines where pruning begins and the mask is frozen, phases' names above; nothing if the run does not say."""
    steps = run.info.get("steps")
    if steps is None:
        return ax
    names = {"warm-up": (0, steps["begin"]), "pruning": (steps["begin"], steps["end"])}
    names["frozen"] = (steps["end"], steps["total"])
    for step in (steps["begin"], steps["end"]):
        ax.axvline(step, color="0.7", linewidth=0.6, zorder=0)
    for name, (left, right) in names.items():
        place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
        ax.text((left + right) / 2, 1.01, name, color="0.35", fontsize=7, **place)
    ax.set_xlim(0, steps["total"])
    return ax


def plot_sparsity_by_layer(run: Run, *, ax: Axes | None = None, **heatmap: Any) -> Axes:
    """Sparsity of each layer and kind of weight at the last logged step, as a heat map."""
    ax = ax or plt.figure(layout="constrained").subplots()
    layers = _filled(run, "layers")
    last = layers[layers["step"] == layers["step"].max()]
    table = last.pivot_table(index="layer", columns="kind", values="sparsity", sort=False)
    options: dict[str, Any] = {"annot": True, "fmt": ".3f", "cmap": "cividis", "cbar_kws": {"label": "sparsity"}}
    sns.heatmap(table, ax=ax, **options | heatmap)
    ax.set_xticks(ax.get_xticks(), [kind.replace("_", "\n") for kind in table.columns], rotation=0, fontsize=7)
    ax.set(xlabel="", ylabel="layer", title=_label(run))
    return ax


def plot_trajectories(run: Run, *, ax: Axes | None = None, count: int = 40, **line: Any) -> Axes:
    """Single weights through training: those kept at the end in the slab's colour, those pruned in the spike's."""
    ax = ax or plt.figure(layout="constrained").subplots()
    table = _filled(run, "trajectories").pivot_table(index="step", columns=["name", "index"], values="value")
    kept = table.columns[table.iloc[-1] != 0][: count // 2]
    pruned = table.columns[table.iloc[-1] == 0][: count // 2]
    options: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.8}
    for chosen, color, label in ((pruned, style.SPIKE, "pruned at the end"), (kept, style.SLAB, "kept")):
        lines = ax.plot(table.index, table[chosen].to_numpy(), color=color, **options | line)
        if lines:
            lines[0].set_label(label)
    ax.set(xlabel="training step", ylabel="weight θ")
    ax.set_title(_label(run), pad=14)  # above the phases' names
    ax.legend()
    return mark_phases(run, ax=ax)


def _filled(run: Run, frame: str) -> pd.DataFrame:
    """A frame of the run that has rows."""
    rows: pd.DataFrame = getattr(run, frame)
    if rows.empty:
        raise ValueError(
            f"{run.name} has logged no {frame}; train with a run_writer, or wait for the first logged step"
        )
    return rows


def _label(run: Run) -> str:
    if not run.method:  # a log of one's own Trainer, without a recipe
        return run.name
    return f"{METHOD_NAMES.get(run.method, run.method)}, sparsity {run.sparsity:g}, seed {run.seed}"


METHOD_NAMES = {"mgpp": "MGPP", "l2": "L2", "l1": "L1", "gmp": "GMP (no penalty)", "dense": "dense"}


def _look(run: Run) -> dict[str, Any]:
    return {
        "color": style.METHOD_COLORS.get(run.method),
        "linestyle": style.METHOD_LINES.get(run.method, "-"),
        "label": METHOD_NAMES.get(run.method, run.method or run.name),
        "linewidth": 0.9,
        "alpha": 0.85,
    }


def _legend_by_method(ax: Axes) -> Axes:
    """One entry a label, however many runs share it."""
    handles, labels = ax.get_legend_handles_labels()
    unique: Mapping[str, Any] = dict(zip(labels, handles, strict=True))
    if unique:
        ax.legend(unique.values(), unique.keys())
    return ax
