"""Read runs: `load_run` returns a `Run`, whose frames are read when they are first asked for."""

import json
import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mgpp.runs.errors import RunError, RunWarning
from mgpp.runs.frames import check_frames, part_files, read_parts
from mgpp.runs.locks import is_being_written
from mgpp.runs.metrics_log import METRICS_COLUMNS, read_rows

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Run:
    """One logged run; its frames are read when they are first asked for.

    Attributes:
        folder: where it lies.
        info: run.json.
    """

    folder: Path
    info: dict[str, Any] = field(repr=False)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def status(self) -> str:
        """Return running, finished, failed, or stopped: nobody writes the run any more, and it can be resumed."""
        status = self.info["status"]
        return "stopped" if status == "running" and not is_being_written(self.folder) else status

    @property
    def recipe(self) -> dict[str, Any]:
        """The recipe as it was resolved."""
        return self.info.get("recipe", {})

    @property
    def method(self) -> str:
        """The pruning method."""
        return self.recipe.get("method", "")

    @property
    def sparsity(self) -> float:
        """The final sparsity that the recipe asks for; for `transfer` that of the given mask."""
        if self.method == "dense":
            return 0.0
        if self.method == "transfer":
            return self.final.get("sparsity", math.nan)
        return self.recipe.get("sparsity", {}).get("final", math.nan)

    @property
    def seed(self) -> int:
        """The random seed."""
        return self.recipe.get("seed", -1)

    @property
    def final(self) -> dict[str, float]:
        """Final metrics, empty before the end."""
        return self.info.get("final", {})

    @property
    def metric(self) -> str:
        """The name of the metric that decides, a key of `final`; empty if a run failed before its task was known.

        Finished runs that name none were of accuracy.
        """
        return self.info.get("metric", {}).get("name", "accuracy" if self.final else "")

    @property
    def checkpoint(self) -> Path:
        """Folder of the pruned model, for `from_pretrained`; it may not exist, since git does not keep it."""
        return self.folder / "checkpoints" / "final"

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a logged step; a last line that a crash cut off is left out with a warning.

        What was logged of one step in several lines, such as a metric of one's own, is joined. Lines with
        different values stay apart, such as those of several trainings in one log.
        """
        path = self.folder / "metrics.jsonl"
        rows = pd.DataFrame(_joined(read_rows(path) if path.exists() else []))
        return rows.reindex(columns=[*METRICS_COLUMNS, *rows.columns.difference(METRICS_COLUMNS, sort=False)])

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a logged step and pruned weight matrix.

        Columns step, layer (the block's index), kind, name, n (number of weights), sparsity, abs_mean and abs_std (of
        the magnitudes), spike_fraction (share of the weights below the prior threshold).
        """
        return self._frame("layers")

    @cached_property
    def weights(self) -> pd.DataFrame:
        """One row a logged step, target and bin: the histogram of the weights, see `mgpp.runs.histograms`."""
        return self._frame("weights")

    @cached_property
    def last_weights(self) -> pd.DataFrame:
        """The rows of `weights` of the last logged step; of a run that is being written the others are not read."""
        rows = self._frame("weights", slice(-1, None))
        return rows[rows["step"] == rows["step"].max()] if len(rows) else rows

    @cached_property
    def trajectories(self) -> pd.DataFrame:
        """One row a logged step and followed weight."""
        return self._frame("trajectories")

    @cached_property
    def dynamics(self) -> pd.DataFrame:
        """One row a logged step and followed weight, if `log.dynamics_every` asks for it: see `mgpp.pruning.dynamics`.

        Columns step, name, index, value (before the step), loss_gradient, pull (what the penalty adds to it),
        first_moment, second_moment (Adam's, after the step), step_length (with its sign).
        """
        return self._frame("dynamics")

    def _frame(self, frame: str, parts: slice = slice(None)) -> pd.DataFrame:
        folder = self.folder / f"{frame}.parquet"
        try:
            return read_parts(part_files(folder)[parts])
        except FileNotFoundError:  # the writer has joined the parts since they were listed
            return read_parts(part_files(folder)[parts])


def load_run(path: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        RunError: if there is no run.json, or it is damaged, or a newer version wrote it.
    """
    file = Path(path) / "run.json"
    try:
        info = json.loads(file.read_bytes())
    except (ValueError, OSError) as error:
        raise RunError(f"{path} holds no run with a readable run.json: {error}") from None
    if not isinstance(info, dict) or "status" not in info:
        raise RunError(f"{file} does not describe a run: it has no status")
    if not isinstance(info.get("format"), int) or info["format"] > FORMAT_VERSION:
        raise RunError(
            f"{file} has format {info.get('format')}, this version reads up to {FORMAT_VERSION}; upgrade mgpp"
        )
    for key in ("recipe", "final", "metric"):
        if not isinstance(info.get(key, {}), dict):
            raise RunError(f"{file} is damaged: {key}={info[key]!r} must be an object")
    return Run(Path(path), info)


def run_folders(folder: str | Path) -> list[Path]:
    """Return the folders of the runs in a folder, sorted by name, or the folder itself if it is a run."""
    folder = Path(folder)
    if (folder / "run.json").is_file():
        return [folder]
    return [file.parent for file in sorted(folder.glob("*/run.json"))]


def load_runs(folder: str | Path) -> list[Run]:
    """Read all runs in a folder, sorted by name, or the one run that the folder itself is; skip other folders.

    A run that is damaged, or that a newer version wrote, is passed over with a RunWarning. Folders inside its folders
    are not searched; if there are runs only there, a RunWarning names one of these folders.

    Raises:
        RunError: if the folder does not exist, or is itself a run that can't be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; train a run first, or give the folder of the runs")
    folders = run_folders(folder)
    if folders == [folder]:
        return [load_run(folder)]
    runs = []
    for each in folders:
        try:
            run = load_run(each)
            check_frames(run.folder)
            _ = run.metrics  # read now, so that damage is noticed
            runs.append(run)
        except RunError as error:
            warnings.warn(f"{error}. The run is passed over", RunWarning, stacklevel=2)
    if not runs and (deeper := next(folder.glob("*/*/run.json"), None)):
        message = f"{folder} holds no run itself; there are runs in {deeper.parent.parent}"
        warnings.warn(message, RunWarning, stacklevel=2)
    return runs


def summary(runs: list[Run]) -> pd.DataFrame:
    """Return one row a run: name, status, method, sparsity, seed, metric, score, score_se, seconds.

    The score is the value of the metric that decides, score_se its standard error.
    """
    columns = ["name", "status", "method", "sparsity", "seed", "metric"]
    rows = [
        {name: getattr(run, name) for name in columns}
        | {"score": run.final.get(run.metric), "score_se": run.final.get(f"{run.metric}_se")}
        | {"seconds": run.info.get("wall_seconds")}
        for run in runs
    ]
    numbers = ["score", "score_se", "seconds"]
    return pd.DataFrame(rows, columns=[*columns, *numbers]).astype(dict.fromkeys(numbers, float))


def _joined(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Join a row to the last one of its step, unless their values of a column differ: then both stay."""
    joined: list[dict[str, Any]] = []
    last: dict[int, dict[str, Any]] = {}
    for row in rows:
        known = last.get(row["step"], {})
        if not known or any(value is not None and known.get(name) not in (None, value) for name, value in row.items()):
            known = last[row["step"]] = {}
            joined.append(known)
        known |= {name: value for name, value in row.items() if value is not None or name not in known}
    return joined
