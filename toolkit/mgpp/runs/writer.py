"""Write runs: `RunWriter` logs while a training goes on, `mark_failed` where one ended without a word."""

import json
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import pandas as pd

from mgpp.runs.files import (
    FORMAT_VERSION,
    FRAMES,
    RunError,
    part_files,
    plain,
    read_parts,
    read_rows,
    save_info,
    steps_of,
)
from mgpp.runs.locks import LOCK_FILE, WRITER_FILE, FolderLock, refuse_if_written
from mgpp.runs.reader import load_run

LEFTOVERS = {LOCK_FILE, WRITER_FILE, ".run.json.tmp"}  # of a run that was killed before it began


def check_folder(folder: str | Path, *, replace: bool = False) -> None:
    """Nothing, if a run can be written to `folder`: it does not exist, is empty, or holds a run that may be replaced.

    Raises:
        RunError: if it holds another run or other files.

    Example:
        >>> check_folder("a-folder-that-does-not-exist")
    """
    folder = Path(folder)
    refuse_if_written(folder)
    if not folder.exists() or (folder.is_dir() and not any(file.name not in LEFTOVERS for file in folder.iterdir())):
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
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder)
            if replace:
                _empty(self.folder)
        else:
            self._lock = FolderLock(self.folder)
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
        rows = [row for row in (read_rows(path) if path.exists() else []) if row["step"] < step]
        hidden = self.folder / ".metrics.jsonl.tmp"
        hidden.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        os.replace(hidden, path)
        for frame in FRAMES:
            for part in part_files(self.folder / f"{frame}.parquet"):
                if steps_of(part)[0] >= step:
                    part.unlink()

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row and flush it; it must hold `step`. Values that are not finite are written as null."""
        if "step" not in row:
            raise RunError(f"a row of metrics needs its step, this one has only {', '.join(row)}")
        self._metrics.write(json.dumps(plain(row), allow_nan=False) + "\n")
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
        save_info(self.folder, self.info)

    def _join_parts(self) -> None:
        for frame in FRAMES:
            parts = part_files(self.folder / f"{frame}.parquet")
            if len(parts) > 1:
                self._write_part(frame, steps_of(parts[0])[0], steps_of(parts[-1])[1], read_parts(parts))
                for path in parts:
                    path.unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._metrics.close()
        seconds = round(self._seconds_before + time.monotonic() - self._started, 1)
        try:
            if error is None:
                self._join_parts()
                self.update(status="finished", wall_seconds=seconds)
            else:
                self.update(status="failed", wall_seconds=seconds, error=f"{type(error).__name__}: {error}")
        finally:
            self._lock.release()


def _empty(folder: Path) -> None:
    """Delete the run that a folder holds, run.json last: what is half deleted can still be told to be a run."""
    for path in sorted(folder.resolve().iterdir(), key=lambda path: path.name == "run.json"):
        if path.name in (LOCK_FILE, WRITER_FILE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
    save_info(folder, {"format": FORMAT_VERSION, **(info or {}), "status": "failed", "error": error})
