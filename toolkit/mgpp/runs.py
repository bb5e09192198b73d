"""The record of a run: `RunWriter` writes its folder, `Run` reads it into pandas frames. No torch needed.

A run's folder, `data/runs/<name>/`:

    run.json                 recipe, versions, commit, seed, device, hashes, targets, status, final metrics
    metrics.jsonl            one row a logged step, appended and flushed
    layers.parquet/          part files named <first step>-<last step>.parquet, each written whole and renamed;
    weights.parquet/         when a run finishes, the parts of a frame are joined into one
    trajectories.parquet/
    checkpoints/final/       the pruned model, ignored by git
This is the only module that knows these names. A folder can be read while it is written and after a crash.
"""

import json
import os
import shutil
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pandas as pd

FORMAT_VERSION = 1
FRAMES = ("layers", "weights", "trajectories")
METRICS_COLUMNS = [
    "step",
    "epoch",
    "phase",
    "loss",
    "learning_rate",
    "sparsity_target",
    "sparsity",
    "pruning_threshold",
    "prior_threshold",
    "lam",
    "spike_var",
    "slab_var",
    "spike_fraction",
    "regrown",
    "mask_churn",
]


class RunError(ValueError):
    """A run's folder can't be written or read; the message says which file and why."""


def check_folder(folder: str | Path, *, replace: bool = False) -> None:
    """Nothing, if a run can be written to `folder`: it does not exist, is empty, or holds a run that may be replaced.

    Raises:
        RunError: if it holds another run or other files.

    Example:
        >>> check_folder("a-folder-that-does-not-exist")
    """
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    holds_run = (folder / "run.json").is_file()
    if not holds_run:
        raise RunError(f"{folder} is not an empty folder; choose another: --out DIR")
    if not replace and load_run(folder).status != "finished":
        raise RunError(
            f"{folder} holds a run that was stopped, or is running still; go on with it: mgpp train --resume {folder}; "
            "or choose another folder or replace it: --out DIR or --replace"
        )
    if not replace:
        raise RunError(f"{folder} holds another run; choose another folder or replace it: --out DIR or --replace")


class RunWriter:
    """Writes one run's folder, flushing each row, so that a run that is stopped loses nothing that was logged.

    Used as a context manager it leaves status `finished`, or `failed` with the error's text.

    Args:
        folder: the run's folder; it must not exist yet, or be empty.
        info: what is known at the start, anything JSON can hold.
        replace: delete the run that the folder holds, instead of refusing.
        resume_at: go on with the run that the folder holds, at this step; rows of it and of later steps are removed.

    Raises:
        RunError: if the folder holds another run or other files.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with RunWriter(folder, {"method": "mgpp"}) as writer:
        ...     writer.metrics({"step": 0, "loss": 0.7})
        >>> load_run(folder).status, load_run(folder).metrics["loss"].tolist()
        ('finished', [0.7])
    """

    def __init__(
        self,
        folder: str | Path,
        info: Mapping[str, Any] | None = None,
        *,
        replace: bool = False,
        resume_at: int | None = None,
    ):
        self.folder, self._seconds_before = Path(folder), 0.0
        if resume_at is None:
            check_folder(self.folder, replace=replace)
            if self.folder.exists() and replace:
                shutil.rmtree(self.folder.resolve())
            self.folder.mkdir(parents=True, exist_ok=True)
        else:
            before = load_run(folder).info
            info = {**(info or {}), "resumed_at": [*before.get("resumed_at", []), resume_at]}
            self._seconds_before = before.get("wall_seconds", 0.0)
            self._cut_off(resume_at)
        self.info: dict[str, Any] = {"format": FORMAT_VERSION, "status": "running", **(info or {})}
        self._started = time.monotonic()
        self._save_info()
        self._metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")

    def _cut_off(self, step: int) -> None:
        """Remove what was logged of a step and of those after it."""
        path = self.folder / "metrics.jsonl"
        rows = [row for row in (_read_rows(path) if path.exists() else []) if row["step"] < step]
        hidden = self.folder / ".metrics.jsonl.tmp"
        hidden.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(hidden, path)
        for frame in FRAMES:
            for part in _parts(self.folder / f"{frame}.parquet"):
                if _span(part)[0] >= step:
                    part.unlink()

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row and flush it; it must hold `step`. Values that are not finite are written as null."""
        if "step" not in row:
            raise RunError(f"a row of metrics needs its step, this one has only {', '.join(row)}")
        self._metrics.write(json.dumps(_plain(row), allow_nan=False) + "\n")
        self._metrics.flush()

    def part(self, frame: str, step: int, rows: pd.DataFrame) -> None:
        """Store the rows of one step of `layers`, `weights` or `trajectories`."""
        self._write_part(frame, step, step, rows)

    def _write_part(self, frame: str, first: int, last: int, rows: pd.DataFrame) -> None:
        if frame not in FRAMES:
            raise RunError(f"frame={frame!r} is not one of {', '.join(FRAMES)}")
        folder = self.folder / f"{frame}.parquet"
        folder.mkdir(exist_ok=True)
        path = folder / f"{first:08d}-{last:08d}.parquet"
        hidden = folder / f".{path.name}.tmp"
        rows.to_parquet(hidden, index=False, compression="zstd")
        os.replace(hidden, path)

    def update(self, **info: Any) -> None:
        """Add to run.json."""
        self.info |= info
        self._save_info()

    def _save_info(self) -> None:
        _save_info(self.folder, self.info)

    def _join_parts(self) -> None:
        for frame in FRAMES:
            parts = _parts(self.folder / f"{frame}.parquet")
            if len(parts) > 1:
                self._write_part(frame, _span(parts[0])[0], _span(parts[-1])[1], _read_parts(parts))
                for path in parts:
                    path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._metrics.close()
        seconds = round(self._seconds_before + time.monotonic() - self._started, 1)
        if error is None:
            self._join_parts()
            self.update(status="finished", wall_seconds=seconds)
        else:
            self.update(status="failed", wall_seconds=seconds, error=f"{type(error).__name__}: {error}")


def _save_info(folder: Path, info: Mapping[str, Any]) -> None:
    hidden = folder / ".run.json.tmp"
    hidden.write_text(json.dumps(_plain(info), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(hidden, folder / "run.json")


def mark_failed(folder: str | Path, error: str, info: Mapping[str, Any] | None = None) -> None:
    """Write into run.json that a training ended without saying so, as one does that is killed; its log stays.

    Args:
        folder: the run's folder; it is made if the training did not come so far.
        error: why it failed, in words; a run that says so itself keeps its own words.
        info: what run.json says where there is none yet.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> mark_failed(folder, "killed", {"recipe": {"method": "l2"}})
        >>> load_run(folder).status, load_run(folder).info["error"], load_run(folder).method
        ('failed', 'killed', 'l2')
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / "run.json").is_file():
        info = load_run(folder).info
        error = info.get("error", error)
    _save_info(folder, {"format": FORMAT_VERSION, **(info or {}), "status": "failed", "error": error})


def _plain(value: Any) -> Any:
    """Nested data as JSON holds it: numbers of Python, paths as text, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise RunError(f"{value!r} is a {type(value).__name__}, which a run can't hold; use numbers, text, lists, mappings")


def _span(path: Path) -> tuple[int, int]:
    first, last = path.stem.split("-")
    return int(first), int(last)


def _parts(folder: Path) -> list[Path]:
    """The part files of a frame in the order of steps, without those that a joined part already covers."""
    paths = sorted(folder.glob("[0-9]*[0-9]-[0-9]*[0-9].parquet"))
    spans = {path: _span(path) for path in paths}
    return [
        path
        for path, (first, last) in spans.items()
        if not any(a <= first and last <= b and (a, b) != (first, last) for a, b in spans.values())
    ]


def _read_parts(paths: list[Path]) -> pd.DataFrame:
    frames = []
    for path in paths:
        try:
            frames.append(pd.read_parquet(path))
        except FileNotFoundError:
            raise
        except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise RunError(f"{path} is not readable: {error}; remove it to read the others") from None
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


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
        """running, finished or failed."""
        return self.info["status"]

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
        """The name of the metric that decides, a key of `final`; runs that name none were of accuracy."""
        return self.info.get("metric", {}).get("name", "accuracy")

    @property
    def checkpoint(self) -> Path:
        """Folder of the pruned model, for `from_pretrained`; it may not exist, since git does not keep it."""
        return self.folder / "checkpoints" / "final"

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row a logged step; a last line that a crash cut off is left out with a warning."""
        path = self.folder / "metrics.jsonl"
        rows = pd.DataFrame(_read_rows(path) if path.exists() else [])
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
            return _read_parts(_parts(folder))
        except FileNotFoundError:  # the writer has joined the parts since they were listed
            return _read_parts(_parts(folder))


def _read_rows(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "step" not in row:
                raise ValueError("no step")
            rows.append(row)
        except ValueError:
            if number < len(lines):
                raise RunError(f"{path}, line {number} is not a row of metrics: {line[:60]!r}") from None
            warnings.warn(f"{path}: the last row was cut off and is left out", stacklevel=4)
    return rows


def load_run(path: str | Path) -> Run:
    """Read a run's folder.

    Raises:
        RunError: if there is no run.json, or it can't be read, or a newer version wrote it.
    """
    folder = Path(path)
    file = folder / "run.json"
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{folder} holds no run: there is no run.json in it") from None
    except (ValueError, OSError) as error:
        raise RunError(f"{file} is not readable: {error}") from None
    if not isinstance(info, dict) or "status" not in info:
        raise RunError(f"{file} does not describe a run: it has no status")
    if not isinstance(info.get("format"), int) or info["format"] > FORMAT_VERSION:
        raise RunError(
            f"{file} has format {info.get('format')}, this version reads up to {FORMAT_VERSION}; upgrade mgpp"
        )
    for key in ("recipe", "final"):
        if not isinstance(info.get(key, {}), dict):
            raise RunError(f"{file} is damaged: {key} must hold keys, not {info[key]!r}")
    return Run(folder, info)


def load_runs(folder: str | Path) -> list[Run]:
    """All runs in a folder, sorted by name, or the one run that the folder itself is; other folders are passed over.

    Raises:
        RunError: if the folder does not exist, or a run in it can't be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; train a run first, or give the folder of the runs")
    if (folder / "run.json").is_file():
        return [load_run(folder)]
    return [load_run(file.parent) for file in sorted(folder.glob("*/run.json"))]


def percent(metric: str, value: float) -> str:
    """A metric as people write it: shares in percent, a perplexity as it is.

    Example:
        >>> percent("accuracy", 0.756), percent("perplexity", 23.456)
        ('75.6%', '23.46')
    """
    return f"{value:.4g}" if metric == "perplexity" else f"{value:.1%}"


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
