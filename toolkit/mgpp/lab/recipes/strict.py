"""Strict building of settings: nested data into frozen dataclasses, refusing unknown keys and ill-typed values."""

import difflib
import math
import numbers
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

T = typing.TypeVar("T")
LARGEST = 2**63  # beyond it neither torch nor pandas have whole numbers


class RecipeError(ValueError):
    """A recipe is wrong; the message names the key, the value and the way out."""


def shown(value: Any, limit: int = 80) -> str:
    """A value in a message: its representation, cut off where it is long.

    Example:
        >>> shown("a" * 100, limit=10)
        "'aaaaaaaaa…"
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes, or nested too deep
        text = f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= limit else f"{text[:limit]}…"


def deep_copy(data: Any) -> Any:
    """Nested mappings as fresh dictionaries."""
    return {key: deep_copy(value) for key, value in data.items()} if isinstance(data, Mapping) else data


def hints_of(kind: Any) -> dict[str, Any]:
    """The types of a settings class's keys; fields marked as derived are none."""
    hints = typing.get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind) if not each.metadata.get("derived")}


def dotted_keys(kind: Any, prefix: str = "") -> list[str]:
    """All dotted keys of a settings class."""
    keys = []
    for name, hint in hints_of(kind).items():
        keys += dotted_keys(hint, f"{prefix}{name}.") if is_dataclass(hint) else [f"{prefix}{name}"]
    return keys


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the nearest of the known words, or all of them.

    Example:
        >>> did_you_mean("sede", ["seed", "epochs"])
        "; did you mean 'seed'?"
    """
    known, word = list(known), word[:80]
    inside = [name for name in known if name.rpartition(".")[2] == word]
    near = inside or difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"


def build(kind: type[T], data: Any, key: str = "", known: list[str] | None = None) -> T:
    """Make a frozen dataclass, with dataclasses inside it, from nested data.

    Args:
        kind: the dataclass.
        data: its values by key.
        key: where it stands in a larger whole, for messages.
        known: all dotted keys of that whole.

    Raises:
        RecipeError: if a key is unknown, with the nearest one, or a value has the wrong type.
    """
    return _convert(kind, data, key, known or dotted_keys(kind))


def _build(kind: Any, data: Mapping[Any, Any], prefix: str, known: list[str]) -> Any:
    hints = hints_of(kind)
    values = {}
    for key, value in data.items():
        name = f"{prefix}{key if isinstance(key, str) else shown(key)}"[:80]
        if key not in hints:
            sections = dict.fromkeys(known_key.rpartition(".")[0] for known_key in known if "." in known_key)
            likely = sections if isinstance(value, Mapping) else known
            raise RecipeError(f"{name}={shown(value)}: there is no such key{did_you_mean(name, likely)}")
        values[key] = _convert(hints[key], value, name, known)
    return kind(**values)


def _convert(hint: Any, value: Any, key: str, known: list[str]) -> Any:
    if is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{key}={shown(value)} must hold keys: {', '.join(dotted_keys(hint))}")
        return _build(hint, value, f"{key}." if key else "", known)
    is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    options = typing.get_args(hint) if is_union else (hint,)
    for option in options:
        converted = _as_type(option, value)
        if converted is not _MISFIT:
            return converted
    wanted = " or ".join(_describe(option) for option in options)
    too_large = int in options and isinstance(value, numbers.Integral) and abs(int(value)) >= LARGEST
    found = "one from 2**63 on" if too_large else type(value).__name__
    raise RecipeError(f"{key}={shown(value)} must be {wanted}, not {found}")


_MISFIT = object()


def _as_type(option: Any, value: Any) -> Any:
    """`value` as the type `option`, or _MISFIT. YAML reads 1e-5 as text, so text that is a number counts as one."""
    if option is types.NoneType:
        return None if value is None else _MISFIT
    if typing.get_origin(option) is Literal:
        return value if value in typing.get_args(option) else _MISFIT
    if option is float and isinstance(value, numbers.Real | str) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return _MISFIT
        return _MISFIT if math.isnan(number) else number
    if option is int:
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool) and abs(int(value)) < LARGEST
        return int(value) if fits else _MISFIT
    if typing.get_origin(option) is list:
        items = [value] if isinstance(value, str) else value
        return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else _MISFIT
    plain = typing.get_origin(option) or option
    return value if isinstance(value, plain) else _MISFIT


def _describe(option: Any) -> str:
    if option is types.NoneType:
        return "null"
    if typing.get_origin(option) is Literal:
        return "one of " + ", ".join(typing.get_args(option))
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", dict: "keys and values"}
    return names.get(typing.get_origin(option) or option, str(option).replace("typing.", ""))
