"""The errors of the record: damaged files, folders that can't be written, and the system's refusals in plain words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


class RunError(ValueError):
    """A run's folder can't be written or read; the message says which file and why."""


class RunWarning(UserWarning):
    """Something in a run's folder is damaged and passed over; the message says what."""


class StorageError(RunError):
    """A run's folder can't be written: the disk is full, the folder read-only or gone. What was logged stays."""


@contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Raise StorageError, which says what to do, in place of an OSError about the run in `folder`.

    Example:
        >>> with writing("my-run"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ...
        mgpp.runs.errors.StorageError: my-run can't be written, the disk is full (No space left on device). What was
        logged stays; make room, then go on: mgpp train --resume my-run
    """
    try:
        yield
    except OSError as error:
        if not _is_about(Path(folder), error):
            raise
        raise StorageError(_explain(Path(folder), error)) from error


def _is_about(folder: Path, error: OSError) -> bool:
    """Return whether an error is about a file in the folder; errors about open files name none."""
    if error.filename is None:
        return error.errno in _FULL | _FORBIDDEN | {errno.EIO}
    return Path(os.fsdecode(error.filename)).absolute().is_relative_to(folder.absolute())


def _explain(folder: Path, error: OSError) -> str:
    reason, resume = error.strerror or str(error), f"go on: mgpp train --resume {folder}"
    if error.errno in _FULL:
        return (
            f"{folder} can't be written, the disk is full ({reason}). What was logged stays; make room, then {resume}"
        )
    if error.errno in _FORBIDDEN:
        way_out = f"make it writable and {resume}; or choose another folder: --out DIR"
        return f"{folder} may not be written ({reason}). What was logged stays; {way_out}"
    if not folder.is_dir():
        return f"{folder} is gone: something moved or deleted it while it was written. Put it back and {resume}"
    return f"{error.filename or folder} can't be written ({reason}). What was logged stays; then {resume}"


def check_writable(folder: str | Path) -> None:
    """Raise RunError unless `folder` can be written or made.

    Example:
        >>> check_writable("a-folder-that-does-not-exist")
    """
    path = Path(folder).absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir():
        raise RunError(f"{folder} can't be a folder: {nearest} is a file; choose another: --out DIR")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{folder} can't be written: {nearest} is read-only; choose another folder: --out DIR")
