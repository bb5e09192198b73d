"""Give feedback on a student's function: call it, compare its result, give a hint for a known mistake.

A mistake is recognised by its result: each checker lists what the usual wrong formulas give. Hints hold no numbers and
no formulas of the answer; a test checks that.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

Answer = Callable[..., Any]
Mistakes = Iterable[tuple[Any, str]]
Holes = Mapping[str, tuple[Any, Mistakes, str]]  # by variable: its right value, mistakes, the hint if none of them fits

USUAL_SLIPS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda right: -right, "The sign is wrong."),
    (lambda right: 2 * right, "Too much by a factor of two."),
    (lambda right: right / 2, "Too little by a factor of two."),
    (lambda right: 1 - right, "This is one minus the right value: the share that is left, kept or unchanged."),
    (lambda right: 100 * right, "This is percent. A share is asked for."),
]


class NotYet(AssertionError):  # noqa: N818, students read this name
    """An answer that is not right yet. Notebooks show its message alone, without a traceback.

    Example:
        >>> NotYet("the sign is wrong")._render_traceback_()
        ['✗ Not yet: the sign is wrong']
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows instead of a traceback."""
        return [f"✗ Not yet: {self}"]


class Unfinished(NotYet):
    """An exercise that is still a stub or has an open hole."""


def praise(text: str) -> None:
    """Print that an answer is right."""
    print(f"✓ {text}")


def name_of(answer: Any) -> str:
    """Return the name of a student's function."""
    return getattr(answer, "__name__", "your answer")


def call(answer: Answer, *args: Any, **named: Any) -> Any:
    """Return what a student's function returns.

    Raises:
        NotYet: if it is a stub, has an open hole or raises an error.

    Example:
        >>> call(lambda w: 2 * w, 3)
        6
    """
    name = name_of(answer)
    if not callable(answer):
        raise NotYet(f"{name} is not a function. Pass the function itself to its checker, without calling it.")
    has_hole = any(constant is Ellipsis for constant in getattr(answer, "__code__", call.__code__).co_consts)
    hole = f"{name} still has a hole: a line with three dots. Its hint says what belongs there."
    stub = f"{name} is still a stub. Fill its holes, delete the line that raises NotImplementedError, run it again."
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
            result = answer(*args, **named)
    except NotImplementedError:
        raise Unfinished(stub) from None
    except Exception as error:
        raise (Unfinished(hole) if has_hole else NotYet(_explain(name, error))) from None
    if has_hole:
        raise Unfinished(hole)
    return result


def _explain(name: str, error: Exception) -> str:
    if "converted to Python scalar" in str(error):  # numpy and torch say so
        return f"In {name} something such as math.exp takes a single number but got many. Use np.exp, np.log, np.sqrt."
    return f"{name} stopped with {type(error).__name__}: {error}"


def numbers(answer: Answer, result: Any) -> np.ndarray:
    """Return a student's result as float64: of a float, a sequence, a pandas column, a numpy array or a tensor.

    Raises:
        NotYet: if the result is None or holds something that is not a number.
    """
    if result is None:
        raise NotYet(f"{name_of(answer)} returns None. Is there a return at its end?")
    try:
        found = np.asarray(result.detach() if hasattr(result, "detach") else result)
        if any(isinstance(value, str) for value in found.flat):
            raise ValueError("numpy reads numbers from text")
        return found.astype(np.float64)
    except (TypeError, ValueError):
        raise NotYet(f"{name_of(answer)} returns something that is not made of numbers.") from None


def check_holes(answer: Answer, args: tuple[Any, ...], holes: Holes) -> None:
    """Check what stands in each hole by itself, in order, by the variables of a student's function at its end.

    A hole whose variable the student has renamed is passed over.

    Raises:
        NotYet: if a hole holds a wrong value or stops with an error; the message begins with the hole's name.
    """
    names = getattr(getattr(answer, "__code__", None), "co_varnames", ())
    found, error = _variables(answer, args)
    for name, (right, mistakes, otherwise) in holes.items():
        if name in found:
            try:
                expect(answer, found[name], right, mistakes, otherwise)
            except NotYet as hint:
                raise NotYet(f"{name}: {hint}") from None
        elif error and name in names:
            raise NotYet(f"{name}: {error}")
    if error:
        raise error


def _variables(answer: Answer, args: tuple[Any, ...]) -> tuple[dict[str, Any], NotYet | None]:
    """Return the variables of a student's function when it ends, and why it stopped, if it did."""
    found: dict[str, Any] = {}

    def _note(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is getattr(answer, "__code__", None):
            found.update(frame.f_locals)

    before = sys.getprofile()
    sys.setprofile(_note)
    try:
        call(answer, *args)
    except NotYet as error:
        return found, error
    finally:
        sys.setprofile(before)
    return found, None


def same(found: Any, other: Any) -> bool:
    """Return whether two results are equal up to rounding, relative to the largest value.

    Example:
        >>> same([1.0, 2.0], np.array([1.0, 2.0 + 1e-9])), same([1.0], [1.0, 1.0])
        (True, False)
    """
    found, other = np.asarray(found, dtype=np.float64), np.asarray(other, dtype=np.float64)
    largest = np.abs(other[np.isfinite(other)]).max(initial=0.0)
    return found.shape == other.shape and np.allclose(found, other, rtol=1e-5, atol=1e-9 * largest)


def expect(answer: Answer, result: Any, right: Any, mistakes: Mistakes, otherwise: str) -> None:
    """Raise NotYet with a fitting hint unless a student's result is right.

    Args:
        answer: the student's function, for its name.
        result: what it returned.
        right: what it should return.
        mistakes: pairs of what a wrong formula returns, and a hint. The first that fits is told.
        otherwise: the hint if none of them fits. It is told after a usual slip (sign, factor of two, one minus,
            percent) or after how the result differs.

    Raises:
        NotYet: if the result is not right.
    """
    found, right = numbers(answer, result), np.asarray(right, dtype=np.float64)
    if same(found, right):
        return
    for wrong, hint in mistakes:
        if same(found, wrong):
            raise NotYet(hint)
    for slip, hint in USUAL_SLIPS:
        if same(found, slip(right)):
            raise NotYet(f"{hint} {otherwise}")
    name = name_of(answer)
    if found.shape != right.shape:
        raise NotYet(f"{name} returns the wrong number of values. Does it treat every weight, layer or bin once?")
    if not np.isfinite(found).all():
        raise NotYet(f"{name} gives NaN or infinity. Which line divides by zero, or takes a root of a negative number?")
    raise NotYet(f"{_how_it_differs(found, right)} {otherwise}")


def _how_it_differs(found: np.ndarray, right: np.ndarray) -> str:
    """Say without numbers whether values are too large or too small, and whether everywhere or in places."""
    factor = np.abs(found).max() / np.abs(right).max()
    few = right.size < 3 or np.count_nonzero(right) < 3  # too few values to show a common factor
    if not few and factor > 0 and same(found, factor * right):
        return f"Your values are too {'large' if factor > 1 else 'small'} by the same factor everywhere."
    if (found * right >= 0).all():
        found, right = np.abs(found), np.abs(right)  # too large means too far from zero, on either side
    off = ~np.isclose(found, right, rtol=1e-5, atol=1e-9 * np.abs(right).max())
    above, below = (found > right) & off, (found < right) & off
    if above.any() and below.any():
        return "Your values are too large in places and too small elsewhere."
    where = "" if found.ndim == 0 else " everywhere" if off.all() else " in places"
    return f"Your {'value is' if found.ndim == 0 else 'values are'} too {'large' if above.any() else 'small'}{where}."
