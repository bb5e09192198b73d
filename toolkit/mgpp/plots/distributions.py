"""Plot the distribution of the weights with both thresholds: at one step, as a frame of a movie, and over all steps."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from mgpp.plots import style
from mgpp.plots.axes import on_own_axes
from mgpp.plots.runs import filled, mark_phases, ranks_magnitudes
from mgpp.runs import Run
from mgpp.runs.histograms import histogram_at, magnitude_shares, share_of_zeros

MAGNITUDES, SHARES = (1e-7, 1.0), (1e-4, 20.0)  # the axes' limits; above 100% is room for the thresholds' names
PRUNING_LINE: dict[str, Any] = {"color": style.PRUNING_THRESHOLD, "linestyle": "-"}
PRIOR_LINE: dict[str, Any] = {"color": style.PRIOR_THRESHOLD, "linestyle": "--"}
X_TICKS, Y_TICKS = (1e-7, 1e-5, 1e-3, 0.1), (1e-4, 1e-3, 0.01, 0.1, 1.0)


def moment(run: Run, step: int | None = None) -> dict[str, Any]:
    """Return what a run logged at one step: the numbers of a frame.

    Args:
        run: a logged run.
        step: a logged step of `Run.weights`; the last by default.

    Returns:
        step, last (step of the log), phase, sparsity, zeros (share of the histogram), pruning_threshold and
        prior_threshold: None where there is none, where it is 0, so that it prunes nothing, or where it is a threshold
        of scores.

    Raises:
        ValueError: if no histogram, or no row of metrics, was logged at this step.
    """
    rows = histogram_at(run.weights, step)
    step = int(rows["step"].iloc[0])
    of_step = run.metrics[run.metrics["step"] == step]
    if of_step.empty:  # the histogram is written first
        raise ValueError(f"{run.name} has no row of metrics for step {step} yet; wait, or choose an earlier step")
    logged = of_step.iloc[-1]
    thresholds = {
        name: float(logged[name]) if pd.notna(logged[name]) and logged[name] > 0 else None
        for name in ("pruning_threshold", "prior_threshold")
    }
    if not ranks_magnitudes(run):
        thresholds["pruning_threshold"] = None
    found = {"step": step, "last": int(run.metrics["step"].max()), "zeros": share_of_zeros(rows)}
    return found | {"phase": logged["phase"], "sparsity": logged["sparsity"]} | thresholds


@on_own_axes
def plot_weight_distribution(run: Run, step: int | None = None, *, ax: Axes, **stairs: Any) -> Axes:
    """Draw the magnitudes of a run's nonzero weights at one logged step, on log axes, with both thresholds.

    Args:
        run: a logged run.
        step: a logged step of `Run.weights`; the last by default.
        ax: where to draw; a new figure by default.
        stairs: further arguments for `Axes.stairs`.

    Raises:
        ValueError: if no histogram was logged at this step.
    """
    now, bins = moment(run, step), magnitude_shares(run.weights, step)
    edges = np.unique(bins[["left", "right"]])
    heights = bins.set_index("left")["per_decade"].reindex(edges[:-1], fill_value=0)  # 0 where bins are left out
    options = {"baseline": SHARES[0] / 10, "fill": True, "color": style.method_look(run.method)["color"]}
    ax.stairs(heights, edges, **options | stairs)
    ax.set(xscale="log", yscale="log", xlim=MAGNITUDES, ylim=SHARES)
    ax.set(xlabel="magnitude of a weight |θ|", ylabel="weights per decade")
    ax.set_xticks(X_TICKS, [style.in_powers(tick) for tick in X_TICKS])
    ax.set_yticks(Y_TICKS, [f"{100 * tick:g}%" for tick in Y_TICKS])
    ax.minorticks_off()
    ax.set_title(f"{style.method_label(run.method) or run.name}: {zeros_in_words(now)}", loc="left")
    mark_both_thresholds(now, ax=ax)
    return ax


@on_own_axes
def plot_weights_over_steps(run: Run, *, ax: Axes, **mesh: Any) -> Axes:
    """Draw how the magnitudes of a run's nonzero weights move through training: a heat map with both thresholds.

    The darker, the more of all weights a decade of magnitudes holds. Zeros have no place on the logarithmic axis.

    Args:
        run: a logged run.
        ax: where to draw; a new figure by default.
        mesh: further arguments for `Axes.pcolormesh`.

    Raises:
        ValueError: if no histogram was logged.
    """
    shares = {step: magnitude_shares(run.weights, step) for step in np.unique(filled(run, "weights")["step"])}
    edges = np.unique(pd.concat(shares.values())[["left", "right"]])
    table = [bins.set_index("left")["per_decade"].reindex(edges[:-1], fill_value=0) for bins in shares.values()]
    norm = LogNorm(SHARES[0], 2.0)
    options: dict[str, Any] = {"cmap": "Greys", "norm": norm, "shading": "flat", "rasterized": True}
    ax.pcolormesh(_around([*shares]), edges, np.clip(np.transpose(table), norm.vmin, None), **options | mesh)
    on = run.metrics[run.metrics["phase"] != "frozen"]  # the prior is off afterwards
    ax.plot(on["step"], on["prior_threshold"], **PRIOR_LINE, label="prior threshold τ")
    if ranks_magnitudes(run):
        pruning = run.metrics[run.metrics["pruning_threshold"] > 0]
        ax.plot(pruning["step"], pruning["pruning_threshold"], **PRUNING_LINE, label="pruning threshold")
    ax.set(yscale="log", ylim=MAGNITUDES, xlabel="training step", ylabel="magnitude of a weight |θ|")
    ax.set_yticks(X_TICKS)
    ax.minorticks_off()
    return mark_phases(run, ax=ax)


def _around(steps: list[int]) -> np.ndarray:
    """Return the bounds of columns of which each reaches halfway to the next."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middles = np.convolve(steps, [0.5, 0.5], mode="valid")
    return np.concatenate([steps[:1], middles, steps[-1:]])


def mark_both_thresholds(now: dict[str, Any], *, ax: Axes) -> Axes:
    """Draw named lines at the pruning threshold and the prior threshold τ of a `moment`, if it has them."""
    if now["pruning_threshold"] is not None:  # to the left of it everything is pruned: there is room for its name
        text = f"pruning threshold {now['pruning_threshold']:.4f} "
        _mark(now["pruning_threshold"], text, 1.0, ax, **PRUNING_LINE)
    if now["prior_threshold"] is not None:
        off = "\n(prior is off) " if now["phase"] == "frozen" else ""
        text = f"prior threshold \nτ {now['prior_threshold']:.1e} {off}"
        _mark(now["prior_threshold"], text, 0.86, ax, **PRIOR_LINE)
    return ax


def _mark(value: float, text: str, top: float, ax: Axes, **line: Any) -> None:
    ax.axvline(value, ymax=top, linewidth=1.4, label=text.strip(), **line)
    ax.text(value, top, text, transform=ax.get_xaxis_transform(), ha="right", va="top", fontsize=7)


def zeros_in_words(now: dict[str, Any]) -> str:
    """Return a text that says how many weights of a `moment` are zero."""
    return f"{now['zeros']:.1%} of the weights are zero" if now["zeros"] else "no weight is zero"


@on_own_axes
def plot_sparsity_schedule(run: Run, step: int, *, ax: Axes, **line: Any) -> Axes:
    """Draw the logged sparsity through training, with the names of the phases and a dot at `step`."""
    ax.plot(run.metrics["step"], run.metrics["sparsity"], **{"color": "0.35"} | line)
    ax.plot([step], [moment(run, step)["sparsity"]], "o", color=style.BLACK, markersize=5, clip_on=False, zorder=3)
    ax.set(xlabel="training step", ylabel="sparsity", ylim=(0, 1), xlim=(0, run.metrics["step"].max()))
    return mark_phases(run, ax=ax)
