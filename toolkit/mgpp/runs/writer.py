"""Write runs: `RunWriter` logs while a training goes on, `mark_failed` where one ended without a word."""

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import pandas as pd

from mgpp.runs.faults import StorageError, check_writable, writing
from mgpp.runs.files import FORMAT_VERSION, FRAMES, RunError, hidden_name, plain, save_info
from mgpp.runs.locks import LOCK_FILE, WRITER_FILE, FolderLock, refuse_if_written, seconds_noted
from mgpp.runs.parts import join_parts, split_parts, write_part
from mgpp.runs.reader import load_run
from mgpp.runs.rows import RowLog


def check_folder(folder: str | Path, *, replace: bool = False) -> None:
    """Nothing, if a run can be written to `folder`: it does not exist, is empty, or holds a run that may be replaced.

    Raises:
        RunError: if it holds another run or other files, or is read-only, or another process writes it.

    Example:
        >>> check_folder("a-folder-that-does-not-exist")
    """
    folder = Path(folder)
    check_writable(folder)
    refuse_if_written(folder)
    if not folder.exists() or (folder.is_dir() and all(_is_leftover(file) for file in folder.iterdir())):
        return
    holds_run = (folder / "run.json").is_file()
    if not holds_run:
        raise RunError(f"{folder} is not an empty folder; choose another: --out DIR")
    if replace:
        return
    status = load_run(folder).status
    if status != "finished":
        raise RunError(
            f"{folder} holds a run that is not finished ({status}); go on with it: mgpp train --resume {folder}; "
            "or choose another folder or replace it: --out DIR or --replace"
        )
    raise RunError(f"{folder} holds another run; choose another folder or replace it: --out DIR or --replace")


def _is_leftover(file: Path) -> bool:
    """Whether a file is one that a run leaves which is killed before it has begun."""
    hidden = [hidden_name(file.with_name(name)).name for name in (WRITER_FILE, "run.json")]
    return file.name in (LOCK_FILE, WRITER_FILE, *hidden)


class RunWriter:
    """Writes one run's folder, each row and part to the disk, so that a run that is stopped loses nothing it logged.

    It holds a lock on the folder, see `mgpp.runs.is_being_written`. Used as a context manager it leaves status
    `finished`, or `failed` with the error's text, or `stopped` if it was interrupted. A process that is killed leaves
    `running`, which `Run.status` tells from a run that is being written.

    Args:
        folder: the run's folder; it must not exist yet, or be empty.
        info: what is known at the start, anything JSON can hold.
        replace: delete the run that the folder holds, instead of refusing.
        resume_at: go on with the run that the folder holds, at this step. All that it logged stays. What is logged
            again is the same, or takes the place of what was there; run.json then names its steps as `replaced`.

    Raises:
        RunError: if the folder holds another run or other files, or a run that is finished is to be resumed, or
            another process writes it.
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
                self._rows = RowLog(self.folder / "metrics.jsonl")
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
        """Time spent on the run so far, the time before it was stopped included."""
        return round(self._seconds_before + time.monotonic() - self._started, 1)

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Append one row; it must hold `step`. Values that are not finite are written as null."""
        if "step" not in row:
            raise RunError(f"a row of metrics needs its step, this one has only {', '.join(row)}")
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
        before = [each for each in self.info.get("replaced", []) if isinstance(each, int)]
        self.update(replaced=sorted({*before, int(step)}))

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
        with suppress(StorageError):  # where run.json can't be written either, what it says is still true
            self.update(status=status, wall_seconds=self.seconds, error=words)


def _tidy(folder: Path) -> None:
    """Make the folder of a run that was killed whole: no half-written files, a part for every step."""
    for hidden in [*folder.glob(".*.tmp"), *folder.glob("*.parquet/.*.tmp")]:
        hidden.unlink()
    for frame in FRAMES:
        split_parts(folder / f"{frame}.parquet")


def _empty(folder: Path) -> None:
    """Delete the run that a folder holds, run.json last: what is half deleted can still be told to be a run."""
    for path in sorted(folder.resolve().iterdir(), key=lambda path: path.name == "run.json"):
        if path.name in (LOCK_FILE, WRITER_FILE):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def mark_failed(
    folder: str | Path, error: str, info: Mapping[str, Any] | None = None, *, keep_words: bool = True
) -> None:
    """Write into run.json that a training ended without saying so, as one does that is killed; its log stays.

    Args:
        folder: the run's folder; it is made if the training did not come so far.
        error: why it failed, in words; a run that says so itself keeps its own words.
        info: what run.json says where there is none yet.
        keep_words: false where the run's own words may be those of an earlier attempt, to be replaced.

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
