"""Write files and folders whole, hash files, and turn data into plain JSON."""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from mgpp.runs.errors import RunError


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all: under a hidden name, fsynced if `durable`, then renamed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_whole(path, b"all of it")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('all of it', 1)
    """
    hidden = path.with_name(f".{path.name}.tmp")
    try:
        hidden.write_bytes(content)
        if durable:
            fsync(hidden)
        os.replace(hidden, path)
        if durable:
            fsync(path.parent)
    except OSError:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)  # half a file would take room on a full disk
        raise


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `target` to write to, and rename it to `target` when the block ends.

    It takes the place of what `target` holds. If the block fails, `target` stays as it was and the hidden folder is
    deleted.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "final"
        >>> with whole_folder(target) as folder:
        ...     _ = (folder / "weights").write_text("all")
        ...     target.exists()
        False
        >>> (target / "weights").read_text()
        'all'
    """
    hidden = target.with_name(f".{target.name}.writing")
    shutil.rmtree(hidden, ignore_errors=True)  # what an interrupted writer left
    try:
        hidden.mkdir(parents=True)
        yield hidden
        for path in [*hidden.rglob("*"), hidden]:
            fsync(path)
        old = _set_aside(target)
        os.replace(hidden, target)
        fsync(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def remove_folder(target: Path) -> None:
    """Delete a folder under a hidden name, so that nobody reads it half deleted."""
    if target.exists():
        shutil.rmtree(_set_aside(target))


def _set_aside(target: Path) -> Path:
    """Rename a folder, where there is one, to a hidden name for deletion."""
    hidden = target.with_name(f".{target.name}.deleting")
    shutil.rmtree(hidden, ignore_errors=True)
    if target.exists():
        os.replace(target, hidden)
    return hidden


def fsync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, would survive a loss of power.

    Example:
        >>> fsync(Path.cwd())
    """
    is_folder = path.is_dir()
    with suppress(OSError) if is_folder else nullcontext():  # Windows and some network file systems fsync no folders
        descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "empty"
        >>> path.touch()
        >>> sha256(path)[:12]
        'e3b0c44298fc'
    """
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def plain(value: Any) -> Any:
    """Return nested data as JSON holds it: Python's numbers, paths as text, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise RunError(f"{value!r} is a {type(value).__name__}, which a run can't hold; use numbers, text, lists, mappings")
