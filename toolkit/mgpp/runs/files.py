"""The files of a run: their names, and how each is read and written whole."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

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


def save_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write run.json whole, or leave the one there is."""
    hidden = folder / ".run.json.tmp"
    hidden.write_text(json.dumps(plain(info), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(hidden, folder / "run.json")


def plain(value: Any) -> Any:
    """Nested data as JSON holds it: numbers of Python, paths as text, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    raise RunError(f"{value!r} is a {type(value).__name__}, which a run can't hold; use numbers, text, lists, mappings")


def steps_of(path: Path) -> tuple[int, int]:
    """The first and the last step of a part file, which its name holds."""
    first, last = path.stem.split("-")
    return int(first), int(last)


def part_files(folder: Path) -> list[Path]:
    """The part files of a frame in the order of steps, without those that a joined part already covers."""
    paths = sorted(folder.glob("[0-9]*[0-9]-[0-9]*[0-9].parquet"))
    spans = {path: steps_of(path) for path in paths}
    return [
        path
        for path, (first, last) in spans.items()
        if not any(a <= first and last <= b and (a, b) != (first, last) for a, b in spans.values())
    ]


def read_parts(paths: list[Path]) -> pd.DataFrame:
    """The rows of part files, one after another.

    Raises:
        RunError: if a file is damaged; FileNotFoundError if it is gone.
    """
    frames = []
    for path in paths:
        try:
            frames.append(pd.read_parquet(path))
        except FileNotFoundError:
            raise
        except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise RunError(f"{path} is not readable: {error}; remove it to read the others") from None
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; a last line that was cut off is left out with a warning.

    Raises:
        RunError: if another line is no row.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or "step" not in row:
                raise ValueError("no step")
            rows.append(row)
        except ValueError:
            if number < len(lines):
                raise RunError(f"{path}, line {number} is not a row of metrics: {line[:60]!r}") from None
            warnings.warn(f"{path}: the last row was cut off and is left out", stacklevel=4)
    return rows
