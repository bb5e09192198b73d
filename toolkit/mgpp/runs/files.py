"""The files of a run: their names, and how each is read and written whole."""

import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
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
    """Write a file whole or not at all: under a hidden name, to the disk if it is to be durable, then renamed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "note.txt"
        >>> write_whole(path, b"all of it")
        >>> path.read_text(), len(list(path.parent.iterdir()))
        ('all of it', 1)
    """
    hidden = hidden_name(path)
    try:
        hidden.unlink(missing_ok=True)  # if it is a link, what it leads to is not to be written
        hidden.write_bytes(content)
        if durable:
            to_disk(hidden)
        os.replace(hidden, path)
        if durable:
            to_disk(path.parent)
    except OSError:
        with suppress(OSError):
            hidden.unlink(missing_ok=True)  # on a full disk half a file is in the way
        raise


def to_disk(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, would survive a loss of power.

    Example:
        >>> to_disk(Path.cwd())
    """
    if path.is_dir():
        with suppress(OSError):  # Windows opens no folders, some network file systems don't do this for them
            _fsync(path, os.O_RDONLY)
    else:
        _fsync(path, os.O_RDWR)


def _fsync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hidden_name(path: Path) -> Path:
    """The name under which a file is written before it is complete.

    Example:
        >>> hidden_name(Path("my-run/run.json")).name
        '.run.json.tmp'
    """
    return path.with_name(f".{path.name}.tmp")


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
