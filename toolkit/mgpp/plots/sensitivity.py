"""Show what λ, σ0² and σ1² do in training, from runs in which one of them at a time was changed."""

from collections.abc import Iterable
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from mgpp.plots import style
from mgpp.plots.axes import on_own_axes
from mgpp.plots.landscape import SYMBOLS
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.runs import Run

FIELDS = tuple(SYMBOLS)
MEASURES = {
    "accuracy": "accuracy",
    "spike_before": "in the spike before pruning",
    "tau_over_cut": "prior / pruning threshold",
}
LOOKS: dict[str, dict[str, Any]] = {
    "lam": {"color": style.GREY, "linestyle": ":", "marker": "^"},
    "spike_var": {"color": style.SPIKE, "linestyle": "-", "marker": "o"},
    "slab_var": {"color": style.SLAB, "linestyle": "--", "marker": "s"},
}


def default_prior(runs: Iterable[Run]) -> MixtureGaussianPrior:
    """Return the prior around which the runs vary: the commonest value of each hyperparameter.

    Raises:
        ValueError: if there are no finished runs of MGPP, or no value is commoner than the others.
    """
    settings = pd.DataFrame([run.recipe["prior"] for run in _finished(runs)])
    commonest = {field: settings[field].mode() for field in FIELDS}
    for field, values in commonest.items():
        if len(values) > 1:
            shown = " and ".join(f"{value:g}" for value in values)
            raise ValueError(f"{field} is {shown} equally often; train more of the sweep")
    return MixtureGaussianPrior(**{field: float(values.iloc[0]) for field, values in commonest.items()})


def sensitivity_table(runs: Iterable[Run]) -> pd.DataFrame:
    """Return a row for each hyperparameter and value; the default run appears under each of the three.

    Returns:
        Columns field, value, multiple (of the default), name; accuracy and accuracy_se on the test set; spike_before,
        share of the weights in the spike at the last logged step before pruning; spike_kept, share of the weights kept
        at the end that lie below the prior threshold; prior_threshold and pruning_threshold at the end of pruning, and
        their ratio tau_over_cut.

    Raises:
        ValueError: if there are no finished runs of MGPP, or they differ in more than one hyperparameter at a time.
    """
    runs = _finished(runs)
    _check_one_experiment(runs)
    default = default_prior(runs)
    rows = [
        {"field": field, "value": value, "multiple": value / getattr(default, field)} | measured(run)
        for run in runs
        for field, value in _changed(run, default)
    ]
    return pd.DataFrame(rows).sort_values(["field", "value"], ignore_index=True)


def measured(run: Run) -> dict[str, Any]:
    """Return from one run's log the numbers that the sweep compares."""
    metrics = run.metrics
    warmup = metrics[metrics["phase"] == "warmup"]
    both = metrics.dropna(subset=["prior_threshold", "pruning_threshold"])
    if warmup.empty or both.empty:
        raise ValueError(f"{run.name} logged nothing in the warm-up, or no two thresholds; set sparsity.warmup")
    pruned = both.iloc[-1]
    kept = 1 - pruned["sparsity"]
    return {
        "name": run.name,
        **{key: run.final[key] for key in ("accuracy", "accuracy_se")},
        "spike_before": warmup["spike_fraction"].iloc[-1],
        "spike_kept": max(pruned["spike_fraction"] - pruned["sparsity"], 0.0) / kept,
        **pruned[["prior_threshold", "pruning_threshold"]],
        "tau_over_cut": pruned["prior_threshold"] / pruned["pruning_threshold"],
    }


def _finished(runs: Iterable[Run]) -> list[Run]:
    found = [run for run in runs if run.status == "finished" and run.method == "mgpp"]
    if not found:
        raise ValueError("no finished runs of method mgpp among these; data/sensitivity.txt lists those of a sweep")
    return found


def _check_one_experiment(runs: list[Run]) -> None:
    """Raise ValueError unless the recipes differ in the prior alone."""
    first = runs[0]
    for run in runs[1:]:
        others = [key for key in first.recipe if key != "prior" and run.recipe.get(key) != first.recipe[key]]
        if others:
            names = ", ".join(others)
            raise ValueError(f"{run.name} and {first.name} differ in {names}; a sweep changes the prior alone")


def _changed(run: Run, default: MixtureGaussianPrior) -> list[tuple[str, float]]:
    """Return which hyperparameter the run changes and its value; all three for the default run."""
    values = {field: float(run.recipe["prior"][field]) for field in FIELDS}
    changed = [(field, value) for field, value in values.items() if value != getattr(default, field)]
    if len(changed) > 1:
        words = " and ".join(f"{field}={value:g}" for field, value in changed)
        raise ValueError(f"{run.name} changes {words} at once; a sweep changes one hyperparameter at a time")
    return changed or list(values.items())


@on_own_axes
def plot_sensitivity(table: pd.DataFrame, measure: str, *, ax: Axes, **line: Any) -> Axes:
    """Draw one measure against each hyperparameter as a multiple of its default, a line a hyperparameter.

    Bars of the accuracy are one standard error of a single run.

    Args:
        table: of `sensitivity_table`.
        measure: a key of `MEASURES`.
        ax: where to draw; a new figure by default.
        line: further arguments for `Axes.errorbar`.
    """
    for field, look in LOOKS.items():
        rows = table[table["field"] == field]
        if rows.empty:
            continue
        default = (rows["value"] / rows["multiple"]).iloc[0]
        text = f"{SYMBOLS[field]} / {style.in_powers(default)}"
        options = look | {"label": text, "markersize": 4, "capsize": 2, "elinewidth": 0.8} | line
        ax.errorbar(rows["multiple"], rows[measure], rows["accuracy_se"] if measure == "accuracy" else None, **options)
    ax.axvline(1, color="0.8", linewidth=0.8, zorder=0)
    ax.set(xscale="log", xlabel="value / default")
    if measure == "tau_over_cut":
        ax.set_yscale("log")
        ax.axhline(1, color="0.8", linewidth=0.8, zorder=0)
    return ax
