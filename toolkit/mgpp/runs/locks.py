"""Who writes a run: an advisory lock on its folder, which the system lets go of when the process ends, however it ends.

The lock is one on the file `.lock`; `.writer.json` says who holds it and for how long it has been training. Both are
removed when the writer is done. A process that is killed leaves them behind, and they block nobody.
"""

import json
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mgpp.runs.files import RunError, write_whole

LOCK_FILE, WRITER_FILE = ".lock", ".writer.json"


class FolderLock:
    """Held by the one process that writes a run's folder.

    Args:
        folder: of the run; it must exist.
        seconds: of work on the run so far, for the note.

    Raises:
        RunError: if somebody else writes the run; with process, machine and time.

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
        """Write down who holds the lock, and after how many seconds of work on the run."""
        who = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._since, "seconds": round(seconds, 1)}
        write_whole(self.folder / WRITER_FILE, json.dumps(who).encode(), durable=False)

    def release(self) -> None:
        """Let go, and remove the lock's files."""
        for name in (WRITER_FILE, LOCK_FILE):
            with suppress(OSError):  # the folder may be gone, or full, or on Windows the file still open
                (self.folder / name).unlink(missing_ok=True)
        self._lock.release()


def is_being_written(folder: str | Path) -> bool:
    """Whether a process that is alive writes this run now.

    Seen on the machine of the writer, and on others that share its file system where that carries locks, as NFS and
    Lustre usually do. A copy of a run is written by nobody.

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
    except Timeout:
        return True
    except PermissionError:  # another user's run: the lock is there, more can't be known
        return True
    except OSError:  # the folder is gone, or can't be written at all
        return False


def refuse_if_written(folder: str | Path) -> None:
    """Nothing, if nobody writes this run now.

    Raises:
        RunError: if somebody does; with process, machine and time.

    Example:
        >>> refuse_if_written("a-folder-that-does-not-exist")
    """
    if is_being_written(folder):
        raise RunError(_refusal(Path(folder)))


def seconds_noted(folder: str | Path) -> float:
    """How long a process that was killed had worked on this run, as it last noted; 0 if it left no note.

    Example:
        >>> seconds_noted("a-folder-that-does-not-exist")
        0.0
    """
    seconds = _writer(Path(folder)).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) and 0 <= seconds < float("inf") else 0.0


def _writer(folder: Path) -> dict[str, Any]:
    try:
        who = json.loads((folder / WRITER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return who if isinstance(who, dict) else {}


def _refusal(folder: Path) -> str:
    who = _writer(folder)
    words = f"process {who.get('pid')} on {who.get('host')} since {who.get('since')}" if who else "another process"
    return f"{folder} is being written by {words}; wait until it is done or stop it, or choose another folder"
