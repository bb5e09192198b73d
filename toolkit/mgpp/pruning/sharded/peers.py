"""Communicate between the processes that hold a model: sums of numbers, short lists, tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor


class PeersError(RuntimeError):
    """Processes that should hold the same model hold different ones."""


class Peers:
    """The processes over which a model's weights are sharded; without a group, this one alone, which sends nothing.

    Every process must call the same methods in the same order: each call but those of a process alone is a collective.

    Args:
        group: a process group of `torch.distributed`.

    Attributes:
        count: how many they are.
        index: which one this is, from 0.

    Example:
        >>> alone = Peers()
        >>> alone.count, alone.sum([3, 4]).tolist(), alone.join(np.array([0.5])).tolist()
        (1, [3, 4], [0.5])
    """

    def __init__(self, group: Any = None):
        self._group = group
        self.count, self.index = (1, 0) if group is None else (dist.get_world_size(group), dist.get_rank(group))

    @classmethod
    def everyone(cls) -> "Peers":
        """Return all processes of the training.

        Example:
            >>> Peers.everyone().count
            1
        """
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return cls(dist.group.WORLD if together else None)

    @property
    def are_many(self) -> bool:
        """Whether there is more than one process."""
        return self.count > 1

    def table(self, numbers: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Return the numbers of every process, as many each, one row a process."""
        own = torch.from_numpy(np.asarray(numbers))
        return np.stack([part.cpu().numpy() for part in self.gather(own)])

    def sum(self, numbers: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Return the sums over the processes, number by number, in int64 or float64."""
        own = np.asarray(numbers)
        if not self.are_many:
            return own
        sums = self._send(torch.from_numpy(own.astype(np.float64 if own.dtype.kind == "f" else np.int64)))
        dist.all_reduce(sums, group=self._group)
        return sums.cpu().numpy()

    def join(self, values: np.ndarray) -> np.ndarray:
        """Concatenate the lists of all processes, which may have different lengths."""
        if not self.are_many:
            return values
        lengths = self.table([len(values)])[:, 0]
        padded = np.zeros(lengths.max(), values.dtype)
        padded[: len(values)] = values
        rows = self.table(padded)
        return np.concatenate([row[:length] for row, length in zip(rows, lengths, strict=True)])

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, which have the same shape."""
        if not self.are_many:
            return [tensor]
        own = self._send(tensor)
        parts = [torch.empty_like(own) for _ in range(self.count)]
        dist.all_gather(parts, own, group=self._group)
        return parts

    def check_same(self, what: str, *numbers: float) -> None:
        """Raise PeersError in all processes unless all have the same numbers."""
        rows = self.table(np.array(numbers, np.float64))
        if not (rows == rows[0]).all():
            other = rows[(rows != rows[0]).any(1)][0]
            raise PeersError(
                f"the processes hold different models: {what} is {rows[0].tolist()} on the first and {other.tolist()} "
                "on another; something changed the weights of one of them alone"
            )

    def _send(self, tensor: Tensor) -> Tensor:
        """A copy where the group's backend can read it."""
        on_cpu = "cpu:" in dist.get_backend_config(self._group)
        device = torch.device("cpu") if on_cpu else torch.accelerator.current_accelerator()
        return tensor.detach().to(device, copy=True).contiguous()
