"""Draw the spike under Adam: the early fall of the accuracy, its size by the spike's width, and lives of weights."""

import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mgpp.plots import style
from mgpp.plots.axes import label_once, letter_panels, on_own_axes
from mgpp.plots.runs import mark_phases
from mgpp.runs import Run
from studies.adam.experiments import SPIKE, WIDTHS

CONTROL = "no-penalty"
# of what has no spike; all others have the spike's
COLORS = {CONTROL: style.GREY, f"{CONTROL}-no-regrowth": style.BLACK, "slab-alone": style.SLAB}
MARKERS = dict(zip([name for name in SPIKE if name not in WIDTHS], "^vsDPX<>", strict=False))
LIVES = ("kicked", "trapped", "free")
ACROSS = 5
WEIGHT = ["name", "index"]


def variant(run: Run) -> str:
    """Return a run's name without its seed.

    Example:
        >>> from pathlib import Path
        >>> variant(Run(Path("spike-1e-10-seed0"), {}))
        'spike-1e-10'
    """
    return run.name.rpartition("-seed")[0]


def accuracies(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a row for each evaluation of the runs.

    Returns:
        Columns variant, seed, step, phase, accuracy, and regrown: whether pruned weights have grown again since the
        last prune event, so that the model is dense.
    """
    frames = []
    for run in (run for run in runs if "eval_accuracy" in run.metrics):  # others have just begun
        rows = run.metrics.dropna(subset=["eval_accuracy"])
        columns = {"accuracy": rows["eval_accuracy"], "regrown": rows["sparsity"] < 0.9 * rows["sparsity_target"]}
        frames.append(rows[["step", "phase"]].assign(variant=variant(run), seed=run.seed, **columns))
    return pd.concat(frames, ignore_index=True)


def falls(runs: Iterable[Run]) -> pd.DataFrame:
    """Return how far the accuracy falls in the pruning phase, two rows a finished run.

    Returns:
        Columns variant, seed, tau_in_steps (prior threshold over learning rate at the first prune event; NaN without a
        prior), regrown (False: evaluated right after prune events, True: between them), mean and lowest: accuracy at
        the end of the warm-up, which is that at the first prune event, minus the mean or the lowest one of the phase.
    """
    rows = []
    for run in (run for run in runs if run.status == "finished"):
        first = run.metrics[run.metrics["step"] == run.info["steps"]["begin"]].iloc[-1]
        pruning = accuracies([run]).query(f"phase == 'pruning' and step > {first['step']}")
        for regrown, accuracy in pruning.groupby("regrown")["accuracy"]:
            described = {"tau_in_steps": float(first["prior_threshold"] or np.nan) / first["learning_rate"]}
            fall = {
                name: first["eval_accuracy"] - accuracy.agg(how) for name, how in (("mean", "mean"), ("lowest", "min"))
            }
            rows.append({"variant": variant(run), "seed": run.seed, "regrown": regrown} | described | fall)
    return pd.DataFrame(rows, columns=["variant", "seed", "regrown", "tau_in_steps", "mean", "lowest"])


def plot_early_fall(runs: Iterable[Run], *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw the accuracy on the validation set over the steps, a panel a variant, a thin line a seed.

    Solid: evaluated right after a prune event. Dotted: between two events, where pruned weights have grown again. Grey
    in every panel: the mean of the runs without a penalty, right after prune events.

    Args:
        runs: of the part `spike`, also unfinished ones.
        width: in inches.
    """
    runs = list(runs)
    table = accuracies(runs)
    names = [name for name in SPIKE if name in set(table["variant"])]
    across = min(ACROSS, len(names))
    down = -(-len(names) // across)
    with style.paper_style():
        shape: dict[str, Any] = {"figsize": (width, 0.6 + 1.6 * down), "sharex": True, "sharey": True, "squeeze": False}
        figure, axes = plt.subplots(down, across, **shape)
        for number, (ax, name) in enumerate(zip(axes.flat, names, strict=False)):
            ax.tick_params(labelbottom=number + across >= len(names))  # the lowest of its column
            _plot_variant(table, name, ax)
            first = next(run for run in runs if variant(run) == name)
            mark_phases(first, ax=ax)
            for text in ax.texts:
                text.set_visible(False)  # the lines suffice in a small panel
            ax.set_title(title(first))
        for ax in axes.flat[len(names) :]:
            ax.set_visible(False)
        letter_panels(axes.flat[: len(names)])
        label_once(*axes.flat)
        figure.supxlabel("training step", fontsize=8)
        figure.legend(handles=_legend(), loc="outside upper center", ncols=3)
    return figure


def _plot_variant(table: pd.DataFrame, name: str, ax: Axes) -> None:
    control = table[(table["variant"] == CONTROL) & ~table["regrown"]].groupby("step")["accuracy"].mean()
    ax.plot(control.index, control, color="0.75", linewidth=1.6, zorder=0)
    thin: dict[str, Any] = {"linewidth": 0.6, "color": COLORS.get(name, style.SPIKE)}
    for _, rows in table[table["variant"] == name].groupby("seed"):
        for regrown, line in ((False, "-"), (True, ":")):
            chosen = rows[rows["regrown"] == regrown]
            ax.plot(chosen["step"], chosen["accuracy"], line, **thin)
    ax.set(ylabel="accuracy")


def _legend() -> list[Line2D]:
    dark: dict[str, Any] = {"color": style.BLACK, "linewidth": 0.8}
    return [
        Line2D([], [], **dark, label="right after a prune event"),
        Line2D([], [], **dark, linestyle=":", label="between two, weights regrown"),
        Line2D([], [], color="0.75", linewidth=1.6, label="no penalty, mean"),
    ]


def title(run: Run) -> str:
    """Return the name of a run's panel: the spike's width in steps of the optimizer, or what was changed."""
    name = variant(run)
    if name not in WIDTHS:
        return textwrap.fill(name.replace("-", " "), 13)
    first = run.metrics[run.metrics["phase"] == "warmup"].iloc[-1]
    steps = first["prior_threshold"] / first["learning_rate"]
    return f"σ0² {style.in_powers(run.recipe['prior']['spike_var'])}\nτ {steps:.1f} steps"


@on_own_axes
def plot_fall_by_width(runs: Iterable[Run], measure: str = "mean", *, ax: Axes, **points: Any) -> Axes:
    """Draw the fall of the accuracy in the pruning phase against the spike's width in steps of the optimizer.

    Filled: evaluated right after prune events. Hollow: between them. Lines join the means of the spike's widths; level
    lines are the means of the runs without a spike, dotted between prune events.

    Args:
        runs: of the part `spike`; finished ones are drawn.
        measure: mean or lowest, see `falls`.
        ax: where to draw; a new figure by default.
        points: further arguments for `Axes.plot`.

    Raises:
        ValueError: if no run is finished.
    """
    table = falls(runs)
    if table.empty:
        raise ValueError("no finished run of the study; make them with python -m studies.adam spike")
    table = table.assign(fall=100 * table[measure])
    for without, color in COLORS.items():
        for regrown, rows in table[table["variant"] == without].groupby("regrown"):
            label = None if regrown else without.replace("-", " ")
            ax.axhline(rows["fall"].mean(), color=color, linestyle=":" if regrown else "-", linewidth=0.9, label=label)
    for (name, dense), rows in table.dropna(subset="tau_in_steps").groupby(["variant", "regrown"], sort=False):
        label = None if dense or name in WIDTHS else str(name).replace("-", " ")
        face = "white" if dense else style.SPIKE
        marker = MARKERS.get(str(name), "o")
        look: dict[str, Any] = {"marker": marker, "markersize": 4, "color": style.SPIKE, "markerfacecolor": face}
        ax.plot(rows["tau_in_steps"], rows["fall"], linestyle="", label=label, **look | points)
    for regrown, rows in table[table["variant"].isin(WIDTHS)].groupby("regrown"):
        means = rows.groupby("variant")[["tau_in_steps", "fall"]].mean().sort_values("tau_in_steps")
        line, label = (":", "spike, between events") if regrown else ("-", "spike, right after events")
        ax.plot(means["tau_in_steps"], means["fall"], line, color=style.SPIKE, linewidth=0.9, label=label)
    ax.axvline(1, color="0.8", linewidth=0.8, zorder=0)
    ax.set(
        xscale="log", xlabel="prior threshold τ / optimizer step", ylabel=f"fall of the accuracy ({measure}), points"
    )
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))  # outside: a dozen entries
    return ax


def lives(run: Run) -> pd.DataFrame:
    """Return the life of three weights from the frame `dynamics`, chosen by where they are after prune events.

    After each event that set a weight to zero in the pruning phase, its distance is |θ| / τ at the next logged step.
    kicked: has the largest of all distances. trapped: of the others that were set to zero at half of the events or
    more, the one whose largest distance is the smallest. free: of those that no event set to zero, the largest.

    Returns:
        The rows of the three, with columns life, tau (the prior threshold), learning_rate, and zeroed (whether the
        weight is zero after the step).

    Raises:
        ValueError: if the run has no dynamics or no prior threshold, or no weight lives so.
    """
    if run.dynamics.empty or run.trajectories.empty or run.metrics["prior_threshold"].isna().all():
        raise ValueError(f"{run.name} has logged no dynamics or no prior threshold; set log.dynamics_every")
    logged = run.metrics.drop_duplicates("step", keep="last")[["step", "phase", "prior_threshold", "learning_rate"]]
    rows = run.dynamics.merge(logged.rename(columns={"prior_threshold": "tau"}), on="step")
    after = run.trajectories.rename(columns={"value": "after"})[["step", *WEIGHT, "after"]]
    rows = rows.merge(after, on=["step", *WEIGHT]).sort_values("step")
    rows = rows.assign(zeroed=rows["after"] == 0).drop(columns="after")
    chosen = _choose(rows[rows["phase"] == "pruning"])
    if missing := [life for life in LIVES if life not in chosen]:
        raise ValueError(f"{run.name} has followed no weight that is {', '.join(missing)}; follow more")
    found = [rows[(rows["name"] == name) & (rows["index"] == index)] for name, index in chosen.values()]
    return pd.concat([part.assign(life=life) for life, part in zip(chosen, found, strict=True)], ignore_index=True)


def _choose(pruning: pd.DataFrame) -> dict[str, tuple[str, int]]:
    """Return the weights of `lives` by the name of their life."""
    ended = pruning.groupby(WEIGHT)["zeroed"].shift(fill_value=False)  # set to zero at the logged step before
    distances = (pruning["value"].abs() / pruning["tau"])[ended]
    furthest = distances.groupby([pruning[key] for key in WEIGHT]).max().sort_values()
    times = pruning.groupby(WEIGHT)["zeroed"].sum()
    found = {"kicked": furthest.index[-1]} if len(furthest) else {}
    often = furthest.iloc[:-1][times[furthest.index[:-1]] >= pruning[pruning["zeroed"]]["step"].nunique() / 2]
    if len(often):
        found["trapped"] = often.index[0]
    sizes = pruning["value"].abs().groupby([pruning[key] for key in WEIGHT]).median()[times == 0]
    return found | ({"free": sizes.idxmax()} if len(sizes) else {})


def plot_lives(run: Run, *, width: float = style.PAGE_WIDTH) -> Figure:
    """Draw the life of the three weights of `lives`: value, pull of the prior and step, a column a weight.

    Args:
        run: of MGPP, with the frame `dynamics`.
        width: in inches.

    Raises:
        ValueError: as `lives` does.
    """
    table = lives(run)
    with style.paper_style():
        figure, axes = plt.subplots(3, len(LIVES), figsize=(width, 4.6), sharex=True, sharey="row")
        for column, life in zip(axes.T, LIVES, strict=True):
            rows = table[table["life"] == life]
            _plot_life(rows, column)
            column[0].set_title(life, pad=14)
            mark_phases(run, ax=column[0])
        for ax in axes.flat:
            ax.label_outer()
        letter_panels(axes.flat)
        entries = [entry for ax in axes[:2, 0] for entry in ax.get_legend_handles_labels()[0]]
        figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def _plot_life(rows: pd.DataFrame, column: Iterable[Axes]) -> None:
    value, pull, step = column
    dots: dict[str, Any] = {"linestyle": "", "marker": ".", "markersize": 2.5}
    value.plot(rows["step"], rows["value"] / rows["tau"], color=style.BLACK, **dots)
    zeroed = rows[rows["zeroed"]]
    zeros: dict[str, Any] = {"linestyle": "", "marker": "|", "markersize": 4, "label": "set to zero"}
    value.plot(zeroed["step"], np.zeros(len(zeroed)), color=style.PRUNING_THRESHOLD, **zeros)
    value.axhspan(-1, 1, color=style.SPIKE, alpha=0.2, linewidth=0, label="within ±τ")
    value.set_yscale("symlog", linthresh=1)
    value.set_ylabel("value / τ")
    pull.plot(rows["step"], rows["pull"].abs(), color=style.SPIKE, label="pull of the prior", **dots)
    gradient = {**dots, "marker": "+"}
    pull.plot(rows["step"], rows["loss_gradient"].abs(), color=style.GREY, label="gradient of the loss", **gradient)
    pull.set_yscale("log")
    pull.set_ylabel("size in the gradient")
    step.plot(rows["step"], rows["step_length"] / rows["learning_rate"], color=style.BLACK, **dots)
    step.set(ylabel="step / learning rate", xlabel="training step")
