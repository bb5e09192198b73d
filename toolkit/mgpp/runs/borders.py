"""What lies in a folder stays in it: no link leads out, and nothing is there that is neither a file nor a folder."""

import os
from contextlib import suppress
from pathlib import Path


def stray(folder: str | Path) -> str | None:
    """The first thing in a folder that a stranger could mislead with, in words; None where there is none.

    A link that leads out of the folder would let reading it show other files, and writing to it change them; a pipe
    would keep a reader waiting for ever. The folder itself may be a link, and links may lead from one part of it to
    another.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> stray(folder)
        >>> (folder / "metrics.jsonl").symlink_to("/etc/hosts")
        >>> print(stray(folder).removeprefix(f"{folder}/"))
        metrics.jsonl is a link that leads out of the folder
    """
    home = os.path.realpath(folder)
    waiting = [home]
    while waiting:
        for entry in _entries(waiting.pop()):
            where = Path(folder, os.path.relpath(entry.path, home))
            if entry.is_symlink():
                if not os.path.realpath(entry.path).startswith(home + os.sep):
                    return f"{where} is a link that leads out of the folder"
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif not entry.is_file(follow_symlinks=False) and os.path.lexists(entry.path):
                return f"{where} is neither a file nor a folder"
    return None


def _entries(folder: str) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:  # it may be gone meanwhile
        return list(entries)
    return []
