"""Read runs: `load_run` gives a `Run`, whose frames are read when they are asked for."""

import json
import os
import warnings
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from mgpp.runs.borders import stray
from mgpp.runs.files import FORMAT_VERSION, FRAMES, METRICS_COLUMNS, RunError, RunWarning, read_rows
from mgpp.runs.locks import is_being_written
from mgpp.runs.parts import check_parts, part_files, read_parts
from mgpp.runs.shape import fault_of_info


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
        """running, finished, failed, or stopped: nobody writes it any more, and it can be resumed."""
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
        """The final sparsity that the recipe asks for."""
        settings = self.recipe.get("sparsity")
        final = settings.get("final", float("nan")) if isinstance(settings, dict) else float("nan")
        if self.method == "transfer":  # the mask's own
            final = self.final.get("sparsity", float("nan"))
        return 0.0 if self.method == "dense" else final

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
        """One row a logged step; a last line that a crash cut off is left out with a warning."""
        path = self.folder / "metrics.jsonl"
        rows = pd.DataFrame(read_rows(path) if path.exists() else [])
        return rows.reindex(columns=[*METRICS_COLUMNS, *rows.columns.difference(METRICS_COLUMNS, sort=False)])

    @cached_property
    def layers(self) -> pd.DataFrame:
        """One row a logged step and target."""
        return self._frame("layers")

    @cached_property
    def weights(self) -> pd.DataFrame:
        """One row a logged step, target and bin: the histogram of the weights."""
        return self._frame("weights")

    @cached_property
    def trajectories(self) -> pd.DataFrame:
        """One row a logged step and followed weight."""
        return self._frame("trajectories")

    def _frame(self, frame: str) -> pd.DataFrame:
        folder = self.folder / f"{frame}.parquet"
        try:
            return read_parts(part_files(folder))
        except FileNotFoundError:  # the writer has joined the parts since they were listed
            return read_parts(part_files(folder))


def load_run(path: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        RunError: if there is no run.json, or it can't be read, or a newer version wrote it.
    """
    folder = Path(path)
    file = folder / "run.json"
    if not os.path.lexists(file):
        raise RunError(f"{folder} holds no run: there is no run.json in it")
    if found := stray(folder):
        raise RunError(f"{found}; a run is not read beyond its own folder: remove it, or put the folder itself there")
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{file} is not readable: {error}") from None
    if not isinstance(info, dict) or "status" not in info:
        raise RunError(f"{file} does not describe a run: it has no status")
    if not isinstance(info.get("format"), int) or info["format"] > FORMAT_VERSION:
        raise RunError(
            f"{file} has format {info.get('format')}, this version reads up to {FORMAT_VERSION}; upgrade mgpp"
        )
    if fault := fault_of_info(info):
        raise RunError(f"{file} is damaged: {fault}")
    return Run(folder, info)


def load_runs(folder: str | Path) -> list[Run]:
    """All runs in a folder, sorted by name, or the one run that the folder itself is; other folders are passed over.

    So is, with a warning, a run that is damaged or that a newer version wrote: the others can be read all the same.

    Raises:
        RunError: if the folder does not exist, or is itself a run that can't be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; train a run first, or give the folder of the runs")
    if (folder / "run.json").is_file():
        return [load_run(folder)]
    runs = []
    for file in sorted(folder.glob("*/run.json")):
        try:
            runs.append(_load_sound(file.parent))
        except RunError as error:
            warnings.warn(f"{error}. The run is passed over", RunWarning, stacklevel=2)
    return runs


def _load_sound(folder: Path) -> Run:
    """A run whose files look complete; what they hold is read when it is asked for."""
    run = load_run(folder)
    check_frames(folder)
    _ = run.metrics
    return run


def check_frames(folder: str | Path) -> None:
    """Nothing, if no file of a run's frames was cut off.

    Raises:
        RunError: with the file.

    Example:
        >>> check_frames("a-folder-that-does-not-exist")
    """
    for frame in FRAMES:
        check_parts(Path(folder) / f"{frame}.parquet")


def summary(runs: list[Run]) -> pd.DataFrame:
    """One row a run: name, status, method, sparsity, seed, metric, score (the metric's value), score_se, seconds."""
    columns = ["name", "status", "method", "sparsity", "seed", "metric", "score", "score_se", "seconds"]
    rows = [
        (
            run.name,
            run.status,
            run.method,
            run.sparsity,
            run.seed,
            run.metric,
            run.final.get(run.metric),
            run.final.get(f"{run.metric}_se"),
            run.info.get("wall_seconds"),
        )
        for run in runs
    ]
    return pd.DataFrame(rows, columns=columns).astype({"score": float, "score_se": float, "seconds": float})
