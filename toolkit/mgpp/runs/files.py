"""The files of a run: their names, and how each is read and written whole."""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from mgpp.runs.shape import fault_of_row

FORMAT_VERSION = 1
FRAMES = ("layers", "weights", "trajectories")
METRICS_COLUMNS = [
    "step",
    "epoch",
    "phase",
    "loss",
    "learning_rate",
    "sparsity_target",
    "sparsity",
    "pruning_threshold",
    "prior_threshold",
    "lam",
    "spike_var",
    "slab_var",
    "spike_fraction",
    "regrown",
    "mask_churn",
]


class RunError(ValueError):
    """A run's folder can't be written or read; the message says which file and why."""


class RunWarning(UserWarning):
    """Something in a run's folder is damaged, and is passed over; the message says what."""


def save_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write run.json whole, or leave the one there is."""
    text = json.dumps(plain(info), indent=1, allow_nan=False) + "\n"
    write_whole(folder / "run.json", text.encode())


def write_whole(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write a file whole or not at all: under a hidden name, fsynced if `durable`, then renamed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_whole(path, b"all of it")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('all of it', 1)
    """
    hidden = hidden_name(path)
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


def hidden_name(path: Path) -> Path:
    """Return the name under which a file is written before it is complete.

    Example:
        >>> hidden_name(Path("my-run/run.json")).name
        '.run.json.tmp'
    """
    return path.with_name(f".{path.name}.tmp")


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
    try:
        begin_folder(hidden)
        yield hidden
        complete_folder(hidden, target)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def begin_folder(hidden: Path) -> None:
    """Make an empty folder; delete what an interrupted writer left there.

    Example:
        >>> import tempfile
        >>> begin_folder(Path(tempfile.mkdtemp()) / ".final.writing")
    """
    shutil.rmtree(hidden, ignore_errors=True)
    hidden.mkdir(parents=True)


def complete_folder(hidden: Path, target: Path) -> None:
    """Fsync a folder and rename it to `target`; what was there is deleted afterwards, or comes back on an error."""
    for path in [*hidden.rglob("*"), hidden]:
        fsync(path)
    old = _set_aside(target)
    try:
        os.replace(hidden, target)
    except OSError:
        if old.exists():
            os.replace(old, target)
        raise
    fsync(target.parent)
    shutil.rmtree(old, ignore_errors=True)


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
    """Nested data as JSON holds it: numbers of Python, paths as text, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str | Path):
        return str(value).encode(errors="replace").decode()  # names of files may hold half characters
    raise RunError(f"{value!r} is a {type(value).__name__}, which a run can't hold; use numbers, text, lists, mappings")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that was cut off is left out with a warning.

    Raises:
        RunError: if another line is no row, or the file can't be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise RunError(f"{path} is not readable: {error.strerror or error}") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if fault := fault_of_row(row, METRICS_COLUMNS):
                raise ValueError(fault)
            rows.append(row)
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise RunError(f"{path}, line {number} is not a row of metrics: {line[:60]!r}: {error}") from None
            warnings.warn(f"{path}: the last row was cut off and is left out", RunWarning, stacklevel=4)
    return rows
