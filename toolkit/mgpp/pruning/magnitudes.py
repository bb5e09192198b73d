"""Walk over the magnitudes, or given ranks, of many tensors: chunk by chunk, with reused memory."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from mgpp.prior.chunks import Buffers, chunks


def working_dtype(weights: Mapping[str, Tensor]) -> torch.dtype:
    """Return float64 if any tensor is float64, else float32: magnitudes of all dtypes compare exactly in it."""
    return torch.float64 if any(w.dtype == torch.float64 for w in weights.values()) else torch.float32


class Magnitudes:
    """Iterate over the magnitudes of tensors, or over given ranks, and compare them.

    All chunks share one buffer: use a chunk before you take the next. Comparisons give 1.0 or 0.0, since processors
    write floats several times faster than bools.

    Example:
        >>> sizes = Magnitudes({"w": torch.tensor([3.0, -1.0])})
        >>> [(name, sizes.where(torch.gt, size, 2.0)) for name, part, size in sizes]
        [('w', tensor([1., 0.]))]
    """

    def __init__(self, weights: Mapping[str, Tensor], ranks: Mapping[str, Tensor] | None = None):
        self.weights, self.ranks = weights, ranks
        self.dtype = working_dtype(weights if ranks is None else ranks)
        self._buffers = Buffers()

    def __iter__(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield the tensor's name, a chunk of it (a view), and the chunk's magnitudes or ranks, flat."""
        for name, weight in self.weights.items():
            if self.ranks is None:
                for (part,) in chunks(weight.detach()):
                    yield name, part, self.of(part)
            else:
                for part, rank in chunks(weight.detach(), self.ranks[name].detach()):
                    yield name, part, rank.reshape(-1).to(self.dtype)

    def of(self, part: Tensor) -> Tensor:
        """Return the magnitudes of one chunk, flat."""
        flat = part.reshape(-1).to(self.dtype)
        return torch.abs(flat, out=self._buffers.like(flat, "magnitudes"))

    def where(self, relation: Callable[..., Tensor], size: Tensor, value: float) -> Tensor:
        """Return 1.0 where the relation holds, else 0.0."""
        return relation(size, value, out=self._buffers.like(size, relation, torch.float32))
