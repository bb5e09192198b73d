"""What run.json, a row of metrics and a frame must look like, so that what reads them can rely on it."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

DEEPEST = 20
LARGEST = 2**63

TEXT, WHOLE, NUMBER, KEYS, ROWS = "text", "a whole number", "a number or null", "keys and values", "a list"
# What stands at a dotted key, where there is something; * is any key.
INFO = {
    "status": TEXT,
    "error": TEXT,
    "recipe": KEYS,
    "recipe.name": TEXT,
    "recipe.method": TEXT,
    "recipe.seed": WHOLE,
    "recipe.sparsity.final": NUMBER,
    "final": KEYS,
    "final.*": NUMBER,
    "metric": KEYS,
    "metric.name": TEXT,
    "steps": KEYS,
    "steps.*": WHOLE,
    "examples": KEYS,
    "examples.*": WHOLE,
    "sha256": KEYS,
    "versions": KEYS,
    "targets": KEYS,
    "targets.table": ROWS,
    "wall_seconds": NUMBER,
    "resumed_at": ROWS,
    "replaced": ROWS,
}
COLUMNS = {
    **dict.fromkeys(("step", "layer", "n", "index", "count"), "a whole number"),
    **dict.fromkeys(("sparsity", "abs_mean", "abs_std", "spike_fraction", "left", "right", "value"), "a number"),
    **dict.fromkeys(("kind", "name"), "text"),
    "kept": "true or false",
}


def fault_of_info(info: Mapping[str, Any]) -> str | None:
    """What is wrong with a run.json, in words; None if nothing is.

    Example:
        >>> fault_of_info({"status": "finished", "final": {"accuracy": "high"}})
        "final.accuracy='high' must be a number or null"
    """
    if _is_deeper(info, DEEPEST):
        return f"it is nested more than {DEEPEST} deep"
    if fault := _fault_of_texts(info):
        return fault
    for path, kind in INFO.items():
        for key, value in _at(info, path.split(".")):
            if not _is(value, kind):
                return f"{key}={_short(value)} must be {kind}"
    return None


def fault_of_row(row: Any, numbers: Iterable[str]) -> str | None:
    """What is wrong with a row of metrics, in words; None if nothing is.

    Args:
        row: anything that JSON can hold.
        numbers: the keys that must hold a number or null; `phase` among them may be text.

    Example:
        >>> fault_of_row({"step": 0, "loss": [1]}, ["loss"])
        'loss=[1] must be a number or null'
    """
    if not isinstance(row, Mapping) or "step" not in row:
        return "it has no step"
    if fault := _fault_of_texts(row):
        return fault
    if not _is(row["step"], WHOLE) or row["step"] < 0:
        return f"step={_short(row['step'])} must be a whole number from 0"
    for key in numbers:
        kind = TEXT if key == "phase" else NUMBER
        if not _is(row.get(key), kind) and row.get(key) is not None:
            return f"{key}={_short(row[key])} must be {kind}"
    return None


def fault_of_frame(rows: pd.DataFrame) -> str | None:
    """What is wrong with the rows of a part file, in words; None if nothing is.

    Example:
        >>> fault_of_frame(pd.DataFrame({"step": [0, 1], "sparsity": ["a", "b"]}))
        "its column 'sparsity' must be a number"
    """
    if "step" not in rows.columns or not rows.columns.is_unique:
        return "it has no column 'step', or one twice"
    tests = {
        "a whole number": pd.api.types.is_integer_dtype,
        "a number": pd.api.types.is_numeric_dtype,
        "text": pd.api.types.is_string_dtype,
        "true or false": pd.api.types.is_bool_dtype,
    }
    for name in rows.columns:
        kind = COLUMNS.get(name)
        if kind is not None and len(rows) and not tests[kind](rows[name]):
            return f"its column {name!r} must be {kind}"
    return None


def _is_deeper(value: Any, limit: int) -> bool:
    """Whether nested data is deeper than `limit`, without recursion."""
    level = [value]
    for _ in range(limit):
        level = [item for each in level for item in _inside(each)]
    return bool(level)


def _fault_of_texts(data: Any) -> str | None:
    """Whether a text in nested data holds half of a surrogate pair: JSON can write it, but no file can hold it."""
    waiting = [data]
    while waiting:
        each = waiting.pop()
        if isinstance(each, Mapping):
            waiting += [*each, *each.values()]
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, str) and not each.isascii() and any("\ud800" <= letter <= "\udfff" for letter in each):
            return f"{_short(each)} holds half a character, which no text may"
    return None


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _at(data: Any, path: Sequence[str], before: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values at a path; nothing where there is none."""
    if not path:
        yield before.removesuffix("."), data
    elif isinstance(data, Mapping):
        for key in data if path[0] == "*" else [path[0]] if path[0] in data else []:
            yield from _at(data[key], path[1:], f"{before}{key}.")


def _is(value: Any, kind: str) -> bool:
    if kind == TEXT:
        return isinstance(value, str)
    if kind == KEYS:
        return isinstance(value, Mapping)
    if kind == ROWS:
        return isinstance(value, list)
    if kind == NUMBER and (value is None or (isinstance(value, float) and not math.isinf(value))):
        return True
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}…"
