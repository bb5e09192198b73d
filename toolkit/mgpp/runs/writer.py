"""Write runs: `RunWriter` logs while a training goes on, `mark_failed` after one that was killed."""

import json
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pandas as pd

from mgpp.runs.errors import RunError, StorageError, check_writable, writing
from mgpp.runs.files import plain, write_whole
from mgpp.runs.frames import FRAMES, join_parts, split_parts, write_part
from mgpp.runs.locks import LOCK_FILE, WRITER_FILE, FolderLock, refuse_if_written, seconds_noted
from mgpp.runs.metrics_log import MetricsLog
from mgpp.runs.reader import FORMAT_VERSION, load_run

# what a run leaves when it is killed before run.json is written
LEFTOVERS = {LOCK_FILE, WRITER_FILE, f".{WRITER_FILE}.tmp", ".run.json.tmp"}


def save_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write run.json whole, or leave the one there is."""
    write_whole(folder / "run.json", (json.dumps(plain(info), indent=1, allow_nan=False) + "\n").encode())


def check_folder(folder: str | Path, *, replace: bool = False) -> None:
    """Raise RunError unless a run can be written to `folder`.

    The folder must be missing or empty, or hold a run that may be replaced; no other process may be writing it.

    Example:
        >>> check_folder("a-folder-that-does-not-exist")
    """
    folder = Path(folder)
    check_writable(folder)
    refuse_if_written(folder)
    if not folder.exists() or (folder.is_dir() and {file.name for file in folder.iterdir()} <= LEFTOVERS):
        return
    if not (folder / "run.json").is_file():
        raise RunError(f"{folder} is not an empty folder; choose another")
    if replace:
        return
    run = load_run(folder)
    if run.info.get("recorded"):
        raise RunError(f"{folder} holds a {run.status} run; choose another folder, or replace it: replace=True")
    resume = "" if run.status == "finished" else f"go on with it: mgpp train --resume {folder}; or "
    raise RunError(
        f"{folder} holds a {run.status} run; {resume}choose another folder, or replace it: --replace, in Python "
        "replace_run=True"
    )


class RunWriter:
    """Write one run's folder. Each row and part is fsynced, so that a run that is stopped loses nothing it logged.

    The writer holds a lock on the folder, see `mgpp.runs.is_being_written`. Used as a context manager it sets the
    status to `finished`, or `failed` with the error's text, or `stopped` if it was interrupted. A process that is
    killed leaves `running`; `Run.status` then says `stopped`.

    Args:
        folder: the run's folder; it must not exist yet, or be empty.
        info: what is known at the start, anything JSON can hold.
        replace: delete the run that the folder holds, instead of refusing.
        resume_at: go on with the run that the folder holds, at this step. All that it logged stays. Rows that differ
            replace the old ones of their step; run.json lists these steps as `replaced`.

    Raises:
        RunError: if the folder holds another run or other files, if the run to resume is finished, or if another
            process writes it.
        StorageError: at any time, if the system refuses to write.

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
        self.folder = Path(folder)
        self._started, self._seconds_before = time.monotonic(), 0.0
        if resume_at is None:
            check_folder(self.folder, replace=replace)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = FolderLock(self.folder, seconds_noted(self.folder))
            try:
                self.info = self._begin(info or {}, replace, resume_at)
                self._rows = MetricsLog(self.folder / "metrics.jsonl")
            except BaseException:
                self._lock.release()
                raise

    def _begin(self, info: Mapping[str, Any], replace: bool, resume_at: int | None) -> dict[str, Any]:
        if resume_at is None:
            if replace:
                _empty(self.folder)
            before: dict[str, Any] = {}
        else:
            before = load_run(self.folder).info
            if before["status"] == "finished":
                raise RunError(f"{self.folder} holds a run that is finished; there is nothing to resume")
            self._seconds_before = max(before.pop("wall_seconds", None) or 0.0, seconds_noted(self.folder))
            before |= {"resumed_at": [*before.get("resumed_at", []), resume_at]}
            before.pop("error", None)
            _tidy(self.folder)
        begun = {"format": FORMAT_VERSION, **before, **info, "status": "running"}
        save_info(self.folder, begun)
        return begun

    @property
    def seconds(self) -> float:
        """Seconds spent on the run so far, including those before it was stopped."""
        return round(self._seconds_before + time.monotonic() - self._started, 1)

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row; it must hold `step`. Values that are not finite are written as null."""
        with writing(self.folder):
            if self._rows.append(plain(row)):
                self._note_replaced(row["step"])
            self._lock.note(self.seconds)

    def part(self, frame: str, step: int, rows: pd.DataFrame) -> None:
        """Store the rows of one step of `layers`, `weights` or `trajectories`."""
        if frame not in FRAMES:
            raise RunError(f"frame={frame!r} is not one of {', '.join(FRAMES)}")
        with writing(self.folder):
            if write_part(self.folder / f"{frame}.parquet", step, step, rows):
                self._note_replaced(step)

    def _note_replaced(self, step: int) -> None:
        self.update(replaced=sorted({*self.info.get("replaced", []), int(step)}))

    def update(self, **info: Any) -> None:
        """Add to run.json."""
        self.info |= info
        with writing(self.folder):
            save_info(self.folder, self.info)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            if error is None:
                self._finish()
            else:
                self._fail(error)
        finally:
            self._rows.close()
            self._lock.release()

    def _finish(self) -> None:
        try:
            with writing(self.folder):
                for frame in FRAMES:
                    join_parts(self.folder / f"{frame}.parquet")
            self.update(status="finished", wall_seconds=self.seconds)
        except Exception as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        status = "failed" if isinstance(error, Exception) else "stopped"
        words = str(error) if isinstance(error, StorageError) else f"{type(error).__name__}: {error}"
        with suppress(StorageError):  # the error that is being raised matters more
            self.update(status=status, wall_seconds=self.seconds, error=words)


def _tidy(folder: Path) -> None:
    """Delete half-written files of a run that was killed, and split its frames into a part for every step."""
    for hidden in [*folder.glob(".*.tmp"), *folder.glob("*.parquet/.*.tmp")]:
        hidden.unlink()
    for frame in FRAMES:
        split_parts(folder / f"{frame}.parquet")


def _empty(folder: Path) -> None:
    """Delete the run that a folder holds, run.json last, so that a half deleted run is still known as one."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == "run.json"):
        if path.name in (LOCK_FILE, WRITER_FILE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def mark_failed(
    folder: str | Path, error: str, info: Mapping[str, Any] | None = None, *, keep_words: bool = True
) -> None:
    """Set the status in run.json to failed, for a training that was killed; its log stays.

    Args:
        folder: the run's folder; it is made if it does not exist yet.
        error: why the training failed; an error that run.json holds already stays.
        info: the content of run.json where there is none yet.
        keep_words: False if `error` replaces the one that run.json holds, which may be of an earlier attempt.

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
        error = info.get("error", error) if keep_words else error
    save_info(folder, {"format": FORMAT_VERSION, **(info or {}), "status": "failed", "error": error})
