"""Read what is watched: the runs in a folder, and the curves and the last histogram of two of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mgpp.plots.runs import ranks_magnitudes, run_label
from mgpp.runs import Run, RunError, load_run, run_folders, score_column
from mgpp.runs.files import plain
from mgpp.runs.histograms import Snapshots

CURVES = ("loss", "sparsity", "pruning_threshold", "prior_threshold")
POINTS = 600  # of a curve, at most
NEWEST = ""  # stands for the first run that is left


def state_of(folder: str | Path, chosen: Sequence[str] = (NEWEST, NEWEST)) -> dict[str, Any]:
    """Return the runs in a folder, those that train and were written last first, and all that is drawn of two of them.

    Args:
        folder: of runs, or of one run; it need not exist yet.
        chosen: names of the runs A and B. An empty name stands for the first run that is left, "-" for none.

    Example:
        >>> state_of("a-folder-that-does-not-exist")
        {'folder': 'a-folder-that-does-not-exist', 'exists': False, 'deeper': None, 'runs': [], 'shown': [None, None]}
    """
    place = Path(folder).absolute()
    found = sorted((_read(each) for each in run_folders(place)), key=_age)
    names = {run["name"]: run for run in found}
    rest = [name for name in names if name not in chosen]
    shown = [rest.pop(0) if name == NEWEST and rest else name for name in chosen]
    deeper = None if found else next((file.parents[1] for file in place.glob("*/*/run.json")), None)
    about = {"folder": str(folder), "exists": place.is_dir(), "deeper": deeper}
    listed = [{key: run[key] for key in ("name", "status")} for run in found]
    return plain(
        about | {"runs": listed, "shown": [_described(names[name]) if name in names else None for name in shown]}
    )


def _read(folder: Path) -> dict[str, Any]:
    try:
        run = load_run(folder)
        return {"name": run.name, "status": run.status, "run": run, "written": folder.stat().st_mtime}
    except (RunError, OSError) as error:  # a damaged run, or one that has just been removed
        return {"name": folder.name, "status": "unreadable", "error": str(error), "written": 0.0}


def _age(found: dict[str, Any]) -> tuple[bool, float]:
    return found["status"] != "running", -found["written"]


def _described(found: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of a run; `error` says why it failed, or what is damaged."""
    about = {"name": found["name"], "status": found["status"], "error": found.get("error", "")}
    if "run" not in found:
        return about
    run: Run = found["run"]
    about |= {"label": run_label(run), "error": run.info.get("error", ""), "steps": run.info.get("steps")}
    try:
        return about | {"scores": not ranks_magnitudes(run), **_logged(run)}
    except (RunError, OSError) as error:  # a damaged file, or a run that is being replaced
        return about | {"error": str(error)}


def _logged(run: Run) -> dict[str, Any]:
    score = score_column(run)
    curves = {name: _points(run.metrics, name) for name in (*CURVES, *([score] if score else []))}
    last = run.metrics.iloc[-1][["step", "phase"]].to_dict() if len(run.metrics) else None
    return {"last": last, "curves": curves, "score": score, "histogram": _histogram(run)}


def _points(metrics: pd.DataFrame, column: str) -> list[list[float]]:
    """Return pairs of step and value, the last among them, not more than can be seen."""
    rows = metrics.dropna(subset=[column])[["step", column]]
    thin = rows.iloc[:: -max(1, -(-len(rows) // POINTS))][::-1]
    return thin.to_numpy(dtype=float).tolist()


def _histogram(run: Run) -> dict[str, Any] | None:
    if run.last_weights.empty:
        return None
    snapshots = Snapshots.of_run(run, run.last_weights)
    counts = [snapshots.zeros.sum(), *snapshots.counts.sum(axis=(0, 1))]
    row = snapshots.steps.iloc[0]
    moment = {name: row.get(name) for name in ("step", "phase", "learning_rate", "lam", "spike_var", "slab_var")}
    cut = row.get("pruning_threshold") if ranks_magnitudes(run) else None
    return {"edges": list(snapshots.edges), "counts": counts, "moment": moment | {"pruning_threshold": cut}}
