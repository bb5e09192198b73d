"""Group the targets that are ranked together, and split the number of weights to remove among the groups."""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Literal, get_args

from torch import Tensor

Scope = Literal["global", "matrix"]
SCOPES = get_args(Scope)


def groups(weights: Mapping[str, Tensor], scope: str) -> list[list[str]]:
    """Return the names of the targets that are ranked together: all of them, or each one alone.

    Raises:
        ValueError: if `scope` is unknown.

    Example:
        >>> import torch
        >>> groups({"a": torch.ones(2), "b": torch.ones(3)}, "matrix")
        [['a'], ['b']]
    """
    if scope not in SCOPES:
        raise ValueError(f"Pruner: scope={scope!r} must be one of {', '.join(SCOPES)}")
    return [list(weights)] if scope == "global" else [[name] for name in weights]


def split_evenly(count: int, sizes: Sequence[int]) -> list[int]:
    """Split `count` into integers in proportion to `sizes`, so that no part shrinks when the count grows.

    This is Webster's method of apportionment: the next unit goes where size / (2 part + 1) is largest. Rounding each
    share alone would miss the count, and the method of largest remainders would shrink parts.

    Example:
        >>> split_evenly(5, [10, 10, 1])
        [3, 2, 0]
    """
    total = sum(sizes)
    parts = [-((total - 2 * size * count) // (2 * total)) for size in sizes]  # rounded, halves down
    while sum(parts) < count:
        gains = [(Fraction(size, 2 * part + 1), -i) for i, (size, part) in enumerate(zip(sizes, parts, strict=True))]
        parts[-max(gains)[1]] += 1
    while sum(parts) > count:
        gains = [(Fraction(size, 2 * part - 1), -i) for i, (size, part) in enumerate(zip(sizes, parts, strict=True))]
        parts[-min(gain for gain in gains if gain[0] > 0)[1]] -= 1
    return parts
