"""Describe a source of weights for the browser: what its log knows, and the penalty that the run had."""

from dataclasses import fields
from typing import Any

from mgpp.methods import METHODS
from mgpp.plots.runs import ranks_magnitudes
from mgpp.prior.schedules import CubicSparsity
from mgpp.runs import Run, score_column
from mgpp.runs.files import plain
from mgpp.runs.histograms import Snapshots

_LOGGED = ("step", "phase", "learning_rate", "lam", "spike_var", "slab_var", "pruning_threshold", "sparsity")


def describe_source(snapshots: Snapshots, text: str, run: Run | None, start: int) -> dict[str, Any]:
    """Return what the header says of a source; `penalty` is None for weights that are no run's."""
    rows = snapshots.steps.reindex(columns=[key for key in _LOGGED if key in snapshots.steps])
    scores = run is not None and not ranks_magnitudes(run)
    if scores:  # a threshold of scores is no magnitude: there is nowhere to draw it
        rows["pruning_threshold"] = None
    return plain(
        {
            "name": snapshots.name,
            "label": text,
            "n": run.info.get("examples", {}).get("train") if run else None,
            "edges": list(snapshots.edges),
            "targets": snapshots.targets,
            "rows": rows.to_dict("records"),
            "start": start,
            "scores": scores,
            "penalty": penalty_of(run) if run else None,
            "score": _score(run) if run else None,
        }
    )


def _score(run: Run) -> dict[str, Any] | None:
    """Return the name of the metric that decides, and its logged steps and values."""
    column = score_column(run)
    if not column:
        return None
    rows = run.metrics.dropna(subset=[column])
    return {"name": column.removeprefix("eval_"), "steps": rows["step"].tolist(), "values": rows[column].tolist()}


def penalty_of(run: Run) -> dict[str, Any]:
    """Return label and strength of the penalty that a run's weights had; the label is empty if that is unknown.

    Penalties on scores, as in L0 regularisation, do not act on the weights.
    """
    if "lam" in run.metrics and run.metrics["lam"].notna().any():
        return {"label": "MGP", "strength": None}
    method = METHODS.get(run.method)
    if method is None:
        return {"label": "", "strength": None}
    section = run.recipe.get(method.section or "", {})
    known = {field.name: section[field.name] for field in fields(method) if field.name in section}
    penalty: Any = method(**known).penalty(CubicSparsity(0.0, 0.5, 0, 1)).at(0)
    strength = getattr(penalty, "strength", None)
    return {"label": "no penalty" if strength == 0 else penalty.label, "strength": strength}
