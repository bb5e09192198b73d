"""Define the errors of the record: damaged files, and folders that can't be written."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# what errors about open files, which name no file, are about if a run can't be written
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


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
        mgpp.runs.errors.StorageError: my-run can't be written: No space left on device. What was logged stays; when
        that is mended, go on: mgpp train --resume my-run
    """
    try:
        yield
    except OSError as error:
        if not _is_about(Path(folder), error):
            raise
        raise StorageError(
            f"{folder} can't be written: {error.strerror or error}. What was logged stays; when that is mended, "
            f"go on: mgpp train --resume {folder}"
        ) from error


def _is_about(folder: Path, error: OSError) -> bool:
    """Return whether an error is about a file in the folder; errors about open files name none."""
    if error.filename is None:
        return error.errno in _DISK
    return Path(os.fsdecode(error.filename)).absolute().is_relative_to(folder.absolute())


def check_writable(folder: str | Path) -> None:
    """Raise RunError unless `folder` can be written or made.

    Example:
        >>> check_writable("a-folder-that-does-not-exist")
    """
    path = Path(folder).absolute()
    nearest = next(each for each in (path, *path.parents) if each.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        what = "read-only" if nearest.is_dir() else "a file"
        raise RunError(f"{folder} can't be written: {nearest} is {what}; choose another folder: --out DIR")
