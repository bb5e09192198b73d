"""Append to the log of metrics, metrics.jsonl: one row a logged step, fsynced and never lost."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgpp.runs.errors import RunError, RunWarning
from mgpp.runs.files import write_whole

METRICS_COLUMNS = [
    *("step", "epoch", "phase", "loss", "learning_rate", "sparsity_target", "sparsity", "pruning_threshold"),
    *("prior_threshold", "lam", "spike_var", "slab_var", "spike_fraction", "regrown", "mask_churn"),
]


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a log; a last line that was cut off is left out with a warning.

    Raises:
        RunError: if another line is not a row.
    """
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        warnings.warn(f"{path}: the last row was cut off and is left out", RunWarning, stacklevel=4)
    return [row for row, _ in _parse(path, content)]


def _parse(path: Path, content: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Return each complete row of a log, with its line."""
    found = []
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        if line.strip():
            try:
                row = json.loads(line)
                if not isinstance(row["step"], int):
                    raise TypeError(f"step={row['step']!r} must be a whole number")
            except (ValueError, LookupError, TypeError) as error:
                text = f"{path}, line {number} is not a row of metrics: {line[:60]!r}"
                raise RunError(f"{text} ({type(error).__name__}: {error}); remove that line") from None
            found.append((row, line + b"\n"))
    return found


class MetricsLog:
    r"""Append rows to metrics.jsonl. What the file holds stays, apart from a last line that was cut off.

    A training that goes on from a checkpoint comes again to steps that were logged before it was stopped. A row that is
    the same is not written twice; one that differs replaces all rows of its step.

    Args:
        path: the file; it need not exist.

    Raises:
        RunError: if a complete line is not a row.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> _ = path.write_text('{"step": 0, "loss": 0.7}\n{"step": 10, "lo')
        >>> log = MetricsLog(path)
        >>> [log.append({"step": step, "loss": loss}) for step, loss in ((0, 0.7), (10, 0.5))]
        [False, False]
        >>> log.close()
        >>> path.read_text().splitlines()
        ['{"step": 0, "loss": 0.7}', '{"step": 10, "loss": 0.5}']
    """

    def __init__(self, path: Path):
        self.path = path
        content = path.read_bytes() if path.exists() else b""
        self._old: dict[int, bytes] = {}  # by step: all lines of a step as one text
        for row, line in _parse(path, content):
            self._old[row["step"]] = self._old.get(row["step"], b"") + line
        if b"".join(self._old.values()) != content:
            self._rewrite()
        self._stream = path.open("ab", buffering=0)

    def append(self, row: Mapping[str, Any]) -> bool:
        """Write a row unless the same is there; return whether it replaced others of its step."""
        step, line = int(row["step"]), json.dumps(row, allow_nan=False).encode() + b"\n"
        if step not in self._old:
            self._write(line)
            return False
        differs, self._old[step] = self._old[step] != line, line
        if differs:
            self._stream.close()
            self._rewrite()
            self._stream = self.path.open("ab", buffering=0)
        return differs

    def _rewrite(self) -> None:
        write_whole(self.path, b"".join(self._old.values()))

    def _write(self, line: bytes) -> None:
        while line:
            line = line[self._stream.write(line) :]
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
