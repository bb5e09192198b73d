"""Cut large arrays into chunks that fit in the processor's cache, so that a chain of operations reads memory once."""

import math
from collections.abc import Iterator
from typing import Any

CHUNK = 3 << 18  # weights a chunk: 3 MiB in float32; smaller ones waste time on threads, larger ones exceed the cache
DEVICE_CHUNK = 1 << 22  # on other devices fewer and larger launches pay


def chunks(*arrays: Any) -> Iterator[tuple[Any, ...]]:
    """Iterate over aligned views of arrays of one shape; writing to a view changes its array.

    Contiguous arrays are cut flat. If one is not contiguous, all are cut along their first dimension. Every chunk but
    the last holds a multiple of eight elements, in the order of the flat index.

    Args:
        arrays: numpy arrays or torch tensors of one shape.

    Example:
        >>> import numpy as np
        >>> [piece.shape for (piece,) in chunks(np.zeros((3, 500_000)))]
        [(750000,), (750000,)]
    """
    if arrays[0].ndim == 0 or all(is_contiguous(array) for array in arrays):
        arrays = tuple(array.reshape(-1) for array in arrays)
    length, row = arrays[0].shape[0], math.prod(arrays[0].shape[1:])
    size = CHUNK if str(getattr(arrays[0], "device", "cpu")) == "cpu" else DEVICE_CHUNK
    pieces = math.ceil(length * row / size)
    rows = math.ceil(length / max(1, pieces) / 8) * 8  # chunks of one size: no small one is left over
    for start in range(0, length, max(8, rows)):
        yield tuple(array[start : start + rows] for array in arrays)


class Buffers:
    """Reuse torch temporaries for all chunks: allocating memory costs as much as the arithmetic.

    Example:
        >>> import torch
        >>> buffers = Buffers()
        >>> first = buffers.like(torch.ones(2, 3), "a")
        >>> buffers.like(torch.ones(5), "a").data_ptr() == first.data_ptr()
        True
    """

    def __init__(self) -> None:
        self._held: dict[Any, Any] = {}

    def like(self, part: Any, use: Any, dtype: Any = None) -> Any:
        """Return uninitialized memory in the shape of `part`; parts with the same `use` share it."""
        key, count = (use, part.device, dtype or part.dtype), part.numel()
        if key not in self._held or self._held[key].numel() < count:
            self._held[key] = part.new_empty(count, dtype=dtype)
        return self._held[key][:count].view(part.shape)


def is_contiguous(array: Any) -> bool:
    """Tell whether the elements lie in memory in the order of the flat index."""
    return array.is_contiguous() if hasattr(array, "is_contiguous") else array.flags.c_contiguous
