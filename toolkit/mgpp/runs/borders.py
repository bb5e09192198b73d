"""What lies in a folder stays in it: no link leads out, and nothing is there that is neither a file nor a folder."""

import os
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
    for parent, folders, files in os.walk(home):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            if os.path.islink(path):
                if not os.path.realpath(path).startswith(home + os.sep):
                    return f"{Path(folder, os.path.relpath(path, home))} is a link that leads out of the folder"
            elif not os.path.isfile(path) and not os.path.isdir(path) and os.path.lexists(path):
                return f"{Path(folder, os.path.relpath(path, home))} is neither a file nor a folder"
    return None
