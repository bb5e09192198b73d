"""The rows of metrics.jsonl: appended one by one, each brought to the disk, and never lost."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mgpp.runs.files import RunError, write_whole


class RowLog:
    r"""Appends lines to metrics.jsonl. What the file holds already stays, apart from a last line that was cut off.

    A training that goes on from a checkpoint comes again to steps that were logged before it was stopped. Their lines
    are the same, and are not written twice; where one differs, the new one takes the place of all that the step had.

    Args:
        path: the file; it need not exist.

    Raises:
        RunError: if a line before the last is no row.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "metrics.jsonl"
        >>> _ = path.write_text('{"step": 0, "loss": 0.7}\n{"step": 10, "lo')
        >>> log = RowLog(path)
        >>> [log.append({"step": step, "loss": loss}) for step, loss in ((0, 0.7), (10, 0.5))]
        [False, False]
        >>> log.close()
        >>> path.read_text().splitlines()
        ['{"step": 0, "loss": 0.7}', '{"step": 10, "loss": 0.5}']
    """

    def __init__(self, path: Path):
        self.path = path
        text = path.read_bytes() if path.exists() else b""
        self._old = _complete_lines(path, text)
        if b"".join(self._old.values()) != text:
            write_whole(path, b"".join(self._old.values()))
        self._stream = path.open("ab", buffering=0)

    def append(self, row: Mapping[str, Any]) -> bool:
        """Write a row, unless the same is there; whether another one was there, which it replaces."""
        step, line = int(row["step"]), json.dumps(row, allow_nan=False).encode() + b"\n"
        if step not in self._old:
            self._write(line)
            return False
        differs, self._old[step] = self._old[step] != line, line
        if differs:
            self._stream.close()
            write_whole(self.path, b"".join(self._old.values()))
            self._stream = self.path.open("ab", buffering=0)
        return differs

    def _write(self, line: bytes) -> None:
        while line:
            line = line[self._stream.write(line) :]
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _complete_lines(path: Path, text: bytes) -> dict[int, bytes]:
    """The lines by their steps, a step's several lines as one text, without a last one that was cut off."""
    lines: dict[int, bytes] = {}
    *complete, _cut_off = text.split(b"\n")
    for number, line in enumerate(complete, start=1):
        if not line.strip():
            continue
        try:
            step = int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):  # infinite steps, a thousand brackets
            words = line[:60].decode(errors="replace")
            raise RunError(f"{path}, line {number} is not a row of metrics: {words!r}; remove that line") from None
        lines[step] = lines.get(step, b"") + line + b"\n"
    return lines
