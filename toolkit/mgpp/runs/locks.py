"""Lock a run's folder, so that two processes never write the same run.

The lock is on the file `.lock`; `.writer.json` says which process holds it and for how many seconds it has worked. Both
are removed when the writer is done. A process that is killed leaves them behind: the system releases its lock, so they
block nobody.
"""

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mgpp.runs.errors import RunError
from mgpp.runs.files import write_whole

LOCK_FILE, WRITER_FILE = ".lock", ".writer.json"


class FolderLock:
    """Hold the lock of a run's folder until `release`.

    Args:
        folder: of the run; it must exist.
        seconds: of work on the run so far, for the note.

    Raises:
        RunError: if another process writes the run; the message names process, machine and time.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> lock = FolderLock(folder)
        >>> is_being_written(folder)
        True
        >>> lock.release()
        >>> is_being_written(folder)
        False
    """

    def __init__(self, folder: str | Path, seconds: float = 0.0):
        self.folder = Path(folder)
        self._lock = FileLock(self.folder / LOCK_FILE, timeout=1.0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunError(_refusal(self.folder)) from None
        self._since = datetime.now(UTC).isoformat(timespec="seconds")
        self.note(seconds)

    def note(self, seconds: float) -> None:
        """Write which process holds the lock, and the seconds of work on the run so far."""
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._since, "seconds": round(seconds, 1)}
        write_whole(self.folder / WRITER_FILE, json.dumps(who).encode(), durable=False)

    def release(self) -> None:
        """Remove the lock's files and release the lock."""
        for name in (WRITER_FILE, LOCK_FILE):
            with suppress(OSError):  # the folder may be gone, or full, or on Windows the file still open
                (self.folder / name).unlink(missing_ok=True)
        self._lock.release()


def is_being_written(folder: str | Path) -> bool:
    """Return whether a living process writes this run now.

    It works on the writer's machine, and on others that share its file system where that supports locks, as NFS and
    Lustre usually do.

    Example:
        >>> is_being_written("a-folder-that-does-not-exist")
        False
    """
    path = Path(folder) / LOCK_FILE
    if not path.is_file():
        return False
    try:
        with FileLock(path, timeout=0.02, poll_interval=0.01, thread_local=False):
            return False
    except (Timeout, PermissionError):  # of another user's run it is only known that there is a lock
        return True
    except OSError:  # the folder is gone, or can't be written at all
        return False


def refuse_if_written(folder: str | Path) -> None:
    """Raise RunError, with process, machine and time, if another process writes this run now.

    Example:
        >>> refuse_if_written("a-folder-that-does-not-exist")
    """
    if is_being_written(folder):
        raise RunError(_refusal(Path(folder)))


def seconds_noted(folder: str | Path) -> float:
    """Return the seconds of work that the last writer noted; 0 if there is no readable note.

    Example:
        >>> seconds_noted("a-folder-that-does-not-exist")
        0.0
    """
    return float(_writer(Path(folder)).get("seconds", 0.0))


def _writer(folder: Path) -> dict[str, Any]:
    try:
        return json.loads((folder / WRITER_FILE).read_bytes())
    except (OSError, ValueError):
        return {}


def _refusal(folder: Path) -> str:
    who = _writer(folder)
    words = f"process {who.get('pid')} on {who.get('host')} since {who.get('since')}" if who else "another process"
    return f"{folder} is being written by {words}; wait until it is done or stop it, or choose another folder"
