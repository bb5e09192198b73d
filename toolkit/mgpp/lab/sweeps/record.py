"""Record a sweep: the attempts at each of its runs, and one frame of them all.

A sweep's folder holds the folders of its runs, and

    sweep.csv            the frame, a row a run
    .attempts/NAME/      attempts.jsonl, a row for each time that a worker began or resumed the run; worker.log, the
                         standard error of local workers; and the lock of the worker that trains the run now
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from mgpp.runs.errors import RunError
from mgpp.runs.files import write_whole
from mgpp.runs.locks import FolderLock, is_being_written
from mgpp.runs.reader import Run, load_run, load_runs, summary

SWEEP_FILE, ATTEMPTS_FOLDER, ATTEMPTS_FILE = "sweep.csv", ".attempts", "attempts.jsonl"
MEASURED = ["status", "attempts", "metric", "score", "score_se", "sparsity", "seconds", "folder", "error"]

Varied = Mapping[str, Mapping[str, Any]]  # for each run's name the varied settings and the seed


def attempts_folder(folder: str | Path) -> Path:
    """Return where the attempts at a run are noted: beside its own folder, which a run that starts anew empties.

    Example:
        >>> attempts_folder("sweep/lam=0.1-seed0").as_posix()
        'sweep/.attempts/lam=0.1-seed0'
    """
    folder = Path(folder)
    return folder.parent / ATTEMPTS_FOLDER / folder.name


@contextmanager
def claim(folder: str | Path) -> Iterator[None]:
    """Lock a run for this process, from before its first file to after its last.

    Raises:
        RunError: if another process has it.

    Example:
        >>> import tempfile
        >>> run = Path(tempfile.mkdtemp()) / "run"
        >>> with claim(run):
        ...     is_taken(run)
        True
        >>> is_taken(run)
        False
    """
    place = attempts_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    lock = FolderLock(place)
    try:
        yield
    finally:
        lock.release()


def is_taken(folder: str | Path) -> bool:
    """Return whether a process that is alive has claimed this run, or writes it."""
    return is_being_written(attempts_folder(folder)) or is_being_written(folder)


def note_attempt(folder: str | Path) -> None:
    """Note that this process trains the run in `folder`, which it has claimed."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    with (attempts_folder(folder) / ATTEMPTS_FILE).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"time": now, "host": socket.gethostname(), "pid": os.getpid()}) + "\n")


def count_attempts(folder: str | Path) -> int:
    """Return how often a worker began or resumed the run in `folder`.

    Example:
        >>> count_attempts("a-run-that-does-not-exist")
        0
    """
    file = attempts_folder(folder) / ATTEMPTS_FILE
    return file.read_bytes().count(b"\n") if file.is_file() else 0


def load_sweep(folder: str | Path) -> pd.DataFrame:
    """Return one frame of a sweep, a row a run, from the present state of its runs.

    `sweep.csv` lists the runs and the settings that vary. Without that file they are all runs in the folder, and the
    settings in which their recipes differ.

    Args:
        folder: of the sweep, or any folder of runs.

    Returns:
        Columns name; a column for each setting that varies, by dotted key; seed; status (waiting, running, stopped,
        failed or finished), attempts, metric, score (the metric's value), score_se, sparsity (as measured), seconds,
        folder, error (why it failed).

    Raises:
        RunError: if the folder does not exist. A run that can't be read counts as failed.

    Example:
        >>> from mgpp.runs import RunWriter
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for lam in (1e-6, 1e-5):
        ...     with RunWriter(folder / f"lam={lam}", {"recipe": {"prior": {"lam": lam}, "seed": 0}}) as writer:
        ...         writer.update(final={"accuracy": 0.75})
        >>> load_sweep(folder)[["prior.lam", "seed", "status", "score"]].values.tolist()
        [[1e-05, 0, 'finished', 0.75], [1e-06, 0, 'finished', 0.75]]
    """
    folder = Path(folder)
    return sweep_frame(folder, _listed(folder) or _found(load_runs(folder)))


def save_sweep(folder: str | Path, varied: Varied) -> pd.DataFrame:
    """Write `sweep.csv` with the runs of `varied` and, below them, those that it lists already."""
    folder = Path(folder)
    (folder / ATTEMPTS_FOLDER).mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ATTEMPTS_FOLDER / ".lock"):  # another sweep may write its own runs into it now
        earlier = {name: settings for name, settings in _listed(folder).items() if name not in varied}
        frame = sweep_frame(folder, {**varied, **earlier})
        write_whole(folder / SWEEP_FILE, frame.to_csv(index=False).encode())
    return frame


def _listed(folder: Path) -> dict[Any, dict[Any, Any]]:
    """Return the runs that `sweep.csv` lists; none if it is missing or is not such a table."""
    try:
        table = pd.read_csv(folder / SWEEP_FILE, float_precision="round_trip")
        return table.drop(columns=MEASURED, errors="ignore").set_index("name").to_dict("index")
    except (OSError, ValueError, KeyError):
        return {}


def _found(runs: list[Run]) -> dict[str, dict[str, Any]]:
    """Return the settings in which the recipes of runs differ, and the seed, by the runs' names."""
    flat = {run.name: dotted(run.recipe) for run in runs}
    keys = dict.fromkeys(key for recipe in flat.values() for key in recipe if key not in ("name", "seed"))
    differ = [key for key in keys if len({repr(recipe.get(key)) for recipe in flat.values()}) > 1]
    return {name: {key: recipe.get(key) for key in [*differ, "seed"]} for name, recipe in flat.items()}


def sweep_frame(folder: Path, varied: Varied) -> pd.DataFrame:
    """Return a row for each run of `varied`, whether it has begun or not; see `load_sweep`."""
    keys = list(dict.fromkeys(key for settings in varied.values() for key in settings if key != "seed"))
    rows = [_row(folder / name, dict.fromkeys([*keys, "seed"]) | dict(varied[name])) for name in varied]
    frame = pd.DataFrame(rows, columns=["name", *keys, "seed", *MEASURED])
    return frame.astype({"score": float, "score_se": float, "sparsity": float, "seconds": float})


def _row(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    row = {"name": folder.name, **settings, "attempts": count_attempts(folder), "folder": str(folder)}
    if not (folder / "run.json").is_file():
        return row | {"status": "waiting"}
    try:
        run = load_run(folder)
    except RunError as damaged:  # the other runs keep their rows
        return row | {"status": "failed", "error": str(damaged)}
    recipe = dotted(run.recipe)
    row |= {key: recipe.get(key, value) for key, value in settings.items()}  # a CSV file has texts in place of lists
    measured = dict(summary([run]).iloc[0][["status", "metric", "score", "score_se", "seconds"]])
    return row | measured | {"sparsity": run.final.get("sparsity"), "error": run.info.get("error")}


def dotted(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted key.

    Example:
        >>> dotted({"seed": 0, "prior": {"lam": 1e-5}})
        {'seed': 0, 'prior.lam': 1e-05}
    """
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat


def over_seeds(frame: pd.DataFrame) -> pd.DataFrame:
    """Return means over the seeds of a sweep's frame, a row for each setting, in the order of the frame.

    Returns:
        The columns that vary, metric, mean, se (standard deviation over seeds, with n - 1, over √n; NaN for one seed),
        seeds (finished runs), failed (other runs).

    Example:
        >>> frame = pd.DataFrame({"name": ["a", "b"], "prior.lam": 1e-5, "seed": [0, 1], "status": "finished",
        ...                       "metric": "accuracy", "score": [0.7, 0.8]})
        >>> over_seeds(frame)[["prior.lam", "seeds", "failed"]].values.tolist()
        [[1e-05, 2.0, 0.0]]
    """
    keys = [key for key in frame.columns if key not in ("name", "seed", *MEASURED)]
    settings = frame[keys].map(lambda value: str(value) if isinstance(value, list) else value)
    scores = frame["score"].where(frame["status"] == "finished")
    groups = settings.assign(sweep=0, score=scores, metric=frame["metric"]).groupby(
        [*keys, "sweep"], sort=False, dropna=False
    )
    table = groups.agg(
        metric=("metric", "first"),
        mean=("score", "mean"),
        se=("score", "sem"),
        seeds=("score", "count"),
        runs=("score", "size"),
    )
    return table.assign(failed=table.pop("runs") - table["seeds"]).reset_index().drop(columns="sweep")
