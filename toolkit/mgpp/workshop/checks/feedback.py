"""What all checkers share: calling a student's function, finding the mistake that explains it, saying so kindly.

A mistake is recognised by its result: each checker knows what the usual wrong turns would give. Messages hold no
numbers and no formulas of the answer; a test holds that.
"""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Answer = Callable[..., Any]

STUB = "{name} is still a stub. Fill its holes, delete the line that raises NotImplementedError, run its cell again."
HOLE = "{name} still has a hole: a line with three dots. Its hint says what belongs there."
NOTHING = "{name} gives back None. Is there a return at its end?"
STOPPED = "{name} stopped with {kind}: {error}"
SINGLE = (
    "In {name} something that takes a single number, such as math.exp, met many. numpy's np.exp, np.log and np.sqrt "
    "take all weights at once."
)
SHAPE = "{name} gives back another number of values than it should. Does it treat every weight, layer or bin once?"
NOT_NUMBERS = "{name} gives back something that is not made of numbers. Is a unit, a text or a list in a list there?"
NOT_FINITE = "{name} gives NaN or infinity for some inputs. Which line divides by zero, or takes a root of a negative?"


class NotYet(AssertionError):  # noqa: N818, students read this name
    """An answer that is not right yet. Notebooks show its message alone, without a traceback.

    Example:
        >>> NotYet("the sign is wrong")._render_traceback_()
        ['✗ Not yet: the sign is wrong']
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows instead of a traceback."""
        return [f"✗ Not yet: {self}"]


def praise(text: str) -> None:
    """Print that an answer is right, and what it now allows."""
    print(f"✓ {text}")


def call(answer: Answer, *args: Any, **named: Any) -> Any:
    """What a student's function gives.

    Raises:
        NotYet: if it is a stub, has an open hole, stops with an error or gives nothing.

    Example:
        >>> call(lambda w: 2 * w, 3)
        6
    """
    name = getattr(answer, "__name__", "your answer")
    if not callable(answer):
        raise NotYet(f"{name} is not a function. Hand the function itself to its checker, without calling it.")
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = answer(*args, **named)
    except NotImplementedError:
        raise NotYet(STUB.format(name=name)) from None
    except Exception as error:
        if _has_hole(answer):
            raise NotYet(HOLE.format(name=name)) from None
        if _wants_one_number(error):
            raise NotYet(SINGLE.format(name=name)) from None
        raise NotYet(STOPPED.format(name=name, kind=type(error).__name__, error=error)) from None
    if _has_hole(answer):
        raise NotYet(HOLE.format(name=name))
    return result


def _has_hole(answer: Answer) -> bool:
    """Whether three dots stand somewhere in the function as a value."""
    code = getattr(answer, "__code__", None)
    return code is not None and any(constant is Ellipsis for constant in code.co_consts)


def _wants_one_number(error: Exception) -> bool:
    """Whether numpy or torch refused to make a single number of many."""
    return isinstance(error, TypeError | ValueError | RuntimeError) and "converted to Python scalar" in str(error)


def numbers(answer: Answer, result: Any) -> np.ndarray:
    """A student's result as float64: of a float, a sequence, a frame's column, a numpy array or a torch tensor."""
    name = getattr(answer, "__name__", "your answer")
    if result is None:
        raise NotYet(NOTHING.format(name=name))
    try:
        return np.asarray(result.detach() if hasattr(result, "detach") else result, dtype=np.float64)
    except (TypeError, ValueError):
        raise NotYet(NOT_NUMBERS.format(name=name)) from None


def same(found: Any, other: Any) -> bool:
    """Whether two results are equal up to rounding, relative to the largest value.

    Example:
        >>> same([1.0, 2.0], np.array([1.0, 2.0 + 1e-9])), same([1.0], [1.0, 1.0])
        (True, False)
    """
    found, other = np.asarray(found, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if found.shape != other.shape:
        return False
    finite = np.abs(other[np.isfinite(other)])
    return np.allclose(found, other, rtol=1e-5, atol=1e-9 * finite.max(initial=0.0))


def expect(answer: Answer, result: Any, right: Any, mistakes: Iterable[tuple[Any, str]], otherwise: str) -> None:
    """Nothing, if a student's result is right.

    Args:
        answer: the student's function, for its name.
        result: what it gave.
        right: what it should give.
        mistakes: pairs of what a student with that mistake gets, and the message; the first that fits is told.
        otherwise: the hint where no known mistake fits; how the result differs is said before it.

    Raises:
        NotYet: if the result is not right.
    """
    found, right = numbers(answer, result), np.asarray(right, dtype=np.float64)
    if same(found, right):
        return
    for wrong, message in mistakes:
        if same(found, wrong):
            raise NotYet(message)
    name = getattr(answer, "__name__", "your answer")
    if found.shape != right.shape:
        raise NotYet(SHAPE.format(name=name))
    if not np.isfinite(found).all():
        raise NotYet(NOT_FINITE.format(name=name))
    raise NotYet(f"{_how_it_differs(found, right)} {otherwise}")


def _is_scaled(found: np.ndarray, right: np.ndarray) -> bool:
    """Whether some values are the right ones times a positive number."""
    if np.count_nonzero(right) < min(right.size, 3) or right.size < 3:  # few values prove no rule
        return False
    factor = np.abs(found).max() / np.abs(right).max()
    return factor > 0 and same(found, factor * right)


def _how_it_differs(found: np.ndarray, right: np.ndarray) -> str:
    """In words, without numbers: too large or too small, everywhere or in places."""
    if _is_scaled(found, right):
        size = "large" if np.abs(found).max() > np.abs(right).max() else "small"
        return f"Your values are too {size} by the same factor everywhere; their course is right."
    if (found * right >= 0).all():
        found, right = np.abs(found), np.abs(right)  # too large means too far from zero, on either side
    off = ~np.isclose(found, right, rtol=1e-5, atol=1e-9 * np.abs(right).max(initial=0.0))
    above, below = (found > right) & off, (found < right) & off
    where = "" if found.ndim == 0 else " everywhere" if off.all() else " in places"
    if above.any() and below.any():
        return f"Your values are too large{where} and too small elsewhere."
    return f"Your {'value is' if found.ndim == 0 else 'values are'} too {'large' if above.any() else 'small'}{where}."
