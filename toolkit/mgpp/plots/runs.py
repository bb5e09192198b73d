"""Plot runs: data in, Axes in, Axes out. Each function draws one thing; nothing here reads files or trains."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from scipy.interpolate import PchipInterpolator

from mgpp.architectures import stacks_of
from mgpp.methods import METHODS, Method
from mgpp.plots import style
from mgpp.plots.axes import on_own_axes
from mgpp.runs import Run
from mgpp.runs.histograms import remaining_density


@on_own_axes
def plot_remaining_weights(runs: Iterable[Run], *, ax: Axes, limit: float = 0.3, **line: Any) -> Axes:
    """Draw the smooth density of the remaining nonzero weights at the last logged step, coloured by method."""
    theta = np.linspace(-limit, limit, 2401)
    for run in runs:
        bins = remaining_density(filled(run, "weights"), beyond=_frozen_threshold(run))
        ax.plot(theta, smooth_density(bins, theta), **_look(run) | line)
    ax.set(xlabel="remaining weight θ", ylabel="density", xlim=(-limit, limit))
    ax.set_ylim(bottom=0)
    return _legend_by_method(ax)


def _frozen_threshold(run: Run) -> float:
    """Return the magnitude beyond which all kept weights lay when the mask was frozen, 0 if there is none."""
    frozen = run.metrics[run.metrics["phase"] == "frozen"]["pruning_threshold"].dropna()
    return float(frozen.iloc[-1]) if len(frozen) and ranks_magnitudes(run) else 0.0


def smooth_density(bins: pd.DataFrame, theta: np.ndarray) -> np.ndarray:
    """Return a density at `theta`: the slope of the monotone cubic through the cumulative shares at the bins' edges.

    Each group of adjoining bins has a cubic of its own, so that edges of gaps stay sharp. It is 0 where there is no
    bin, and its integral over a bin is the share that was counted there.

    Args:
        bins: of `remaining_density`.
        theta: where.

    Example:
        >>> bins = pd.DataFrame({"left": [-2.0, 1.0], "right": [-1.0, 2.0], "count": [1, 1], "density": [0.5, 0.5]})
        >>> smooth_density(bins, np.array([-3.0, -1.5, 0.0, 1.5])).tolist()
        [0.0, 0.5, 0.0, 0.5]
    """
    density = np.zeros_like(theta)
    for _, group in bins.groupby((bins["left"] != bins["right"].shift()).cumsum()):
        edges = [group["left"].iloc[0], *group["right"]]
        shares = [0.0, *np.cumsum(group["density"] * (group["right"] - group["left"]))]
        density += np.nan_to_num(PchipInterpolator(edges, shares, extrapolate=False).derivative()(theta))
    return density


def plot_thresholds(runs: Iterable[Run], *, ax: Axes | None = None, **line: Any) -> Axes:
    """Draw the pruning threshold through training, a line a run, coloured by method, with the phases marked."""
    return plot_metric(runs, "pruning_threshold", ax=ax, **line)


@on_own_axes
def plot_metric(runs: Iterable[Run], column: str, *, ax: Axes, **line: Any) -> Axes:
    """Draw one column of `Run.metrics` through training, a line a run, coloured by method.

    The phases of the first run that is pruned are marked; a dense run has none.

    Args:
        runs: what to draw.
        column: such as "loss", "sparsity" or "eval_accuracy"; steps without a value are passed over.
        ax: where to draw; a new figure by default.
        line: further arguments for `Axes.plot`.

    Raises:
        ValueError: if a run has not logged the column.
    """
    runs = list(runs)
    for run in runs:
        if column not in run.metrics:
            raise ValueError(f"{run.name} has logged no {column}; its metrics are {', '.join(run.metrics.columns)}")
        rows = run.metrics.dropna(subset=[column])
        ax.plot(rows["step"], rows[column], **_look(run) | line)
    ax.set(xlabel="training step", ylabel=METRIC_NAMES.get(column, column.replace("_", " ")), xlim=(0, None))
    if column not in UNBOUNDED:
        ax.set_ylim(bottom=0)
    for run in [run for run in runs if run.method != "dense"][:1]:
        mark_phases(run, ax=ax)
    return _legend_by_method(ax)


def mark_phases(run: Run, *, ax: Axes) -> Axes:
    """Mark where pruning begins and where the mask is frozen, with names of phases, if the run has logged them."""
    steps = run.info.get("steps")
    if steps is None:
        return ax
    begin, end, total = steps["begin"], steps["end"], steps["total"]
    place: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "ha": "center", "va": "bottom"}
    for step in (begin, end):
        ax.axvline(step, color="0.7", linewidth=0.6, zorder=0)
    for name, left, right in (("warm-up", 0, begin), ("pruning", begin, end), ("frozen", end, total)):
        ax.text((left + right) / 2, 1.01, name, color="0.35", fontsize=7, **place)
    ax.set_xlim(0, total)
    return ax


@on_own_axes
def plot_sparsity_by_layer(run: Run, *, ax: Axes, **heatmap: Any) -> Axes:
    """Draw the sparsity of each layer and kind of weight at the last logged step, as a heat map.

    Matrices of one layer and kind, such as gate and up projection, count by their sizes. Stacks, such as encoder and
    decoder, have rows of their own.
    """
    cells = final_cells(filled(run, "layers"))
    cells["sparsity"] = cells["zeros"] / cells["n"]
    table = cells.pivot_table(index="layer", columns="kind", values="sparsity", sort=False)
    options: dict[str, Any] = {"annot": True, "fmt": ".3f", "cmap": "cividis", "cbar_kws": {"label": "sparsity"}}
    sns.heatmap(table, ax=ax, **options | heatmap)
    ax.set_xticks(ax.get_xticks(), [kind.replace("_", "\n") for kind in table.columns], rotation=0, fontsize=6)
    ax.set(xlabel="", ylabel="layer", title=run_label(run))
    return ax


def final_cells(layers: pd.DataFrame) -> pd.DataFrame:
    """Count the weights of each layer and kind at the last logged step, and the zeros among them.

    Args:
        layers: frame of `Run.layers`.

    Returns:
        Columns layer, kind, zeros, n, in the order of the log; in a model with several stacks, such as encoder and
        decoder, the layer is a text that names its stack.

    Example:
        >>> rows = {"step": 7, "layer": 0, "kind": "output", "name": ["a.0.fc2", "a.0.wo"], "n": [100, 300]}
        >>> final_cells(pd.DataFrame(rows | {"sparsity": [1.0, 0.0]}))
           layer    kind  zeros    n
        0      0  output  100.0  400
    """
    last = layers[layers["step"] == layers["step"].max()]
    names = last.get("name", pd.Series("", last.index))
    if (stacks := names.map(stacks_of(names))).any():
        last = last.assign(layer=stacks + " " + last["layer"].astype(str))
    counted = last.assign(zeros=last["n"] * last["sparsity"])
    return counted.groupby(["layer", "kind"], sort=False, as_index=False)[["zeros", "n"]].sum()


@on_own_axes
def plot_trajectories(run: Run, *, ax: Axes, count: int = 40, **line: Any) -> Axes:
    """Draw single weights through training: those kept at the end in the slab's colour, others in the spike's.

    Dotted: the pruning threshold and its negative. A weight that lies between them at a prune event is set to zero. The
    line of a pruned weight ends at the first logged step from which on it is zero.
    """
    table = filled(run, "trajectories").pivot_table(index="step", columns=["name", "index"], values="value")
    kept = table.columns[table.iloc[-1] != 0][: count // 2]
    pruned = table.columns[table.iloc[-1] == 0][: count // 2]
    options: dict[str, Any] = {"linewidth": 0.6, "alpha": 0.8}
    looks = ((pruned, style.SPIKE, "--", "pruned at the end"), (kept, style.SLAB, "-", "kept"))
    for chosen, color, dashes, label in looks:
        for number, weight in enumerate(chosen):
            path = _until_zero_for_good(table[weight])
            name = None if number else label  # one entry of the legend for all
            ax.plot(path.index, path.to_numpy(), dashes, label=name, color=color, **options | line)
    mark_pruning_threshold(run, ax=ax)
    ax.set(xlabel="training step", ylabel="weight θ")
    ax.set_title(run_label(run), pad=14)  # above the phases' names
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)  # below: the lines fill the inside
    return mark_phases(run, ax=ax)


def _until_zero_for_good(values: pd.Series) -> pd.Series:
    """Return the values up to the first of the final zeros, or all values if the last is not zero."""
    moving = np.flatnonzero(values.to_numpy())
    return values.iloc[: moving[-1] + 2 if len(moving) else 1]


def mark_pruning_threshold(run: Run, *, ax: Axes) -> Axes:
    """Draw the pruning threshold and its negative against the step, if the run has logged one of magnitudes."""
    rows = run.metrics.dropna(subset=["pruning_threshold"])
    if len(rows) and ranks_magnitudes(run):
        look: dict[str, Any] = {"linestyle": ":", "color": style.PRUNING_THRESHOLD, "zorder": 3}
        ax.plot(rows["step"], rows["pruning_threshold"], label="± pruning threshold", **look)
        ax.plot(rows["step"], -rows["pruning_threshold"], **look)
    return ax


def filled(run: Run, frame: str) -> pd.DataFrame:
    """Return a frame of the run; raise ValueError if it has no rows."""
    rows: pd.DataFrame = getattr(run, frame)
    if rows.empty:
        raise ValueError(f"{run.name} has logged no {frame}; wait for the first logged step")
    return rows


def ranks_magnitudes(run: Run) -> bool:
    """Tell whether the pruning threshold of a run is a magnitude; methods that rank scores log one of their scores.

    Example:
        >>> from pathlib import Path
        >>> [ranks_magnitudes(Run(Path(), {"recipe": {"method": name}})) for name in ("l2", "movement")]
        [True, False]
    """
    logged = run.info.get("ranks_magnitudes")  # of a method of one's own, which may be unknown here
    return METHODS.get(run.method, Method)().importance().by_magnitude if logged is None else bool(logged)


def run_label(run: Run) -> str:
    """Return the name of a run for legends.

    Example:
        >>> from pathlib import Path
        >>> run_label(Run(Path("mine"), {"recipe": {"method": "l2", "seed": 1, "sparsity": {"final": 0.9}}}))
        'L2, sparsity 0.9, seed 1'
    """
    if not run.method:  # a log of one's own Trainer, without a recipe
        return run.name
    return f"{style.method_label(run.method)}, sparsity {run.sparsity:g}, seed {run.seed}"


METRIC_NAMES = {"eval_accuracy": "accuracy on the validation set", "mask_churn": "mask churn", "lam": "λ"}
UNBOUNDED = {"loss", "eval_accuracy", "eval_loss"}  # a y axis from 0 would hide what changes


def in_order(methods: Iterable[str]) -> list[str]:
    """Return names of methods, each once, in the order of tables and legends; unknown ones last.

    Example:
        >>> in_order(["mine", "l2", "mgpp", "l2"])
        ['mgpp', 'l2', 'mine']
    """
    known = list(METHODS)
    return sorted(set(methods), key=lambda name: (known.index(name) if name in known else len(known), name))


def _look(run: Run) -> dict[str, Any]:
    look = style.method_look(run.method) if run.method else {"label": run.name}
    return look | {"marker": "", "linewidth": 0.9, "alpha": 0.85}


def _legend_by_method(ax: Axes) -> Axes:
    """Draw a legend with one entry per label, even if several runs share it."""
    handles, labels = ax.get_legend_handles_labels()
    unique: Mapping[str, Any] = dict(zip(labels, handles, strict=True))
    if unique:
        ax.legend(unique.values(), unique.keys())
    return ax
