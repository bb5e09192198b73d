"""When the system refuses to write a run: its errors in words that say what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mgpp.runs.files import RunError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


class StorageError(RunError):
    """A run's folder can't be written: the disk is full, the folder read-only or gone. What was logged stays."""


@contextmanager
def writing(folder: str | Path) -> Iterator[None]:
    """Say of the system's errors in this block that concern the run in `folder` what they mean.

    Raises:
        StorageError: in place of such an OSError.

    Example:
        >>> with writing("my-run"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ...
        mgpp.runs.faults.StorageError: my-run can't be written, the disk is full (No space left on device). What was
        logged stays; make room, then go on: mgpp train --resume my-run
    """
    try:
        yield
    except OSError as error:
        if not _concerns(Path(folder), error):
            raise
        raise StorageError(_in_words(Path(folder), error)) from error


def _concerns(folder: Path, error: OSError) -> bool:
    """Whether an error is about a file in the folder; one about an open file does not say which."""
    if error.filename is None:
        return error.errno in _FULL | _FORBIDDEN | {errno.EIO}
    return Path(os.fsdecode(error.filename)).absolute().is_relative_to(folder.absolute())


def _in_words(folder: Path, error: OSError) -> str:
    reason, resume = error.strerror or str(error), f"mgpp train --resume {folder}"
    if error.errno in _FULL:
        return (
            f"{folder} can't be written, the disk is full ({reason}). What was logged stays; "
            f"make room, then go on: {resume}"
        )
    if error.errno in _FORBIDDEN:
        return (
            f"{folder} may not be written ({reason}). What was logged stays; make it writable and go on: {resume}; "
            "or choose another folder: --out DIR"
        )
    if not folder.is_dir():
        return f"{folder} is gone: something moved or deleted it while it was written. Put it back and go on: {resume}"
    return f"{error.filename or folder} can't be written ({reason}). What was logged stays; then go on: {resume}"


def check_writable(folder: str | Path) -> None:
    """Nothing, if `folder` is one that can be written, or could be made.

    Raises:
        RunError: if it or what it would lie in is a file, or read-only.

    Example:
        >>> check_writable("a-folder-that-does-not-exist")
    """
    path = Path(folder).absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists() or each.is_symlink())
    if not nearest.is_dir():
        raise RunError(f"{folder} can't be a folder: {nearest} is a file; choose another: --out DIR")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise RunError(f"{folder} can't be written: {nearest} is read-only; choose another folder: --out DIR")
