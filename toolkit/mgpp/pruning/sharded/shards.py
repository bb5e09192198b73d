"""Hold the part of every weight that this process has: all of it, or some of its rows in sharded training."""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mgpp.pruning.sharded.peers import Peers


class Shards(Mapping[str, Tensor]):
    """The part of every weight that this process holds, as plain tensors by name that share the weights' memory.

    A weight that is whole is its own part. Of a DTensor, as `fully_shard` (FSDP2) makes them, it is the local shard:
    a block of rows. Blocks follow each other in the order of the processes, so flat indices do, too.

    Args:
        weights: by name; all of them whole, or all sharded alike.

    Attributes:
        whole: the weights that were given.
        peers: the processes that hold the other parts.
        copies: processes that hold the same part, and must do the same.

    Raises:
        ValueError: if a weight is sharded in a way that is not supported; the message says which and what to do.

    Example:
        >>> w = torch.ones(3, 2)
        >>> shards = Shards({"w": w})
        >>> shards["w"] is w, shards.total, shards.peers.count
        (True, 6, 1)
    """

    def __init__(self, weights: Mapping[str, Tensor]):
        self.whole = dict(weights)
        self.peers, self.copies = _groups(self.whole)
        with torch.no_grad():
            self._parts = {name: part_of(weight) for name, weight in self.whole.items()}
        self._check_rows()

    @classmethod
    def of(cls, weights: Mapping[str, Tensor]) -> "Shards":
        """Return weights as shards, unless they are shards already."""
        return weights if isinstance(weights, Shards) else cls(weights)

    def __getitem__(self, name: str) -> Tensor:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of elements of every whole weight."""
        return {name: self.whole[name].numel() for name in self._parts}

    @property
    def total(self) -> int:
        """Number of elements of all whole weights together."""
        return sum(self.sizes.values())

    def like(self, tensors: Mapping[str, Tensor]) -> "Shards":
        """Return shards of other tensors that have the shapes of these parts and are sharded alike.

        Example:
            >>> Shards({"w": torch.ones(3)}).like({"w": torch.zeros(3)})["w"]
            tensor([0., 0., 0.])
        """
        other = copy.copy(self)
        other._parts = dict(tensors)
        return other

    def only(self, names: Iterable[str]) -> "Shards":
        """Return the shards with these names."""
        return self.like({name: self._parts[name] for name in names})

    def start(self, name: str) -> int:
        """Return the first row of a weight that this process holds."""
        whole = self.whole[name]
        return min(self.peers.index * _rows_each(whole, self.peers), len(whole)) if self.peers.are_many else 0

    def first(self, name: str) -> int:
        """Return the flat index, in the whole weight, of the first element that this process holds."""
        return self.start(name) * math.prod(self.whole[name].shape[1:])

    def part(self, name: str, full: Tensor) -> Tensor:
        """Return the part of a full tensor that belongs to the rows that this process holds."""
        return full.narrow(0, self.start(name), len(self[name])) if self.peers.are_many else full

    def gather(self, name: str, part: Tensor) -> Tensor:
        """Gather the parts of all processes into the whole tensor, on all of them; it must fit in memory."""
        if not self.peers.are_many:
            return part
        whole = self.whole[name]
        padded = part.new_zeros(_rows_each(whole, self.peers), *whole.shape[1:])
        padded[: len(part)] = part
        return torch.cat(self.peers.gather(padded))[: len(whole)].to(part.device)

    def named_in(self, key: str) -> str | None:
        """Return the weight whose name is the end of a key, after a dot or alone.

        Example:
            >>> Shards({"layer.w": torch.ones(1)}).named_in("score.layer.w")
            'layer.w'
        """
        return max((name for name in self if f".{key}".endswith(f".{name}")), key=len, default=None)

    @contextmanager
    def gradients(self) -> Iterator[None]:
        """Within the block, give every part the `grad` of its weight, in the same memory."""
        shared = [name for name in self._parts if self[name] is not self.whole[name]]
        with torch.no_grad():
            for name in shared:
                grad = self.whole[name].grad
                self[name].grad = None if grad is None else part_of(grad)
        try:
            yield
        finally:
            for name in shared:
                self[name].grad = None

    def make_gradients(self) -> None:
        """Give zero gradients to the weights that the loss did not reach."""
        for name, weight in self.whole.items():
            if name in self._parts and weight.grad is None:
                weight.grad = torch.zeros_like(weight)

    def _check_rows(self) -> None:
        for name in self._parts if self.peers.are_many else ():
            rows = _rows_each(self.whole[name], self.peers)
            if len(self[name]) != max(0, min(rows, len(self.whole[name]) - self.start(name))):
                raise ValueError(f"{name} is not cut into equal blocks of rows; shard the model with fully_shard alone")


def part_of(tensor: Any) -> Tensor:
    """Return the local part of a DTensor, and any other tensor itself.

    Example:
        >>> w = torch.ones(2)
        >>> part_of(w) is w
        True
    """
    return tensor.detach().to_local() if is_dtensor(tensor) else tensor


def is_dtensor(tensor: Any) -> bool:
    """Return whether a tensor is sharded over processes.

    Example:
        >>> is_dtensor(torch.ones(1))
        False
    """
    return hasattr(tensor, "to_local")


def _rows_each(weight: Tensor, peers: Peers) -> int:
    """The rows of a full block, as `torch.chunk` cuts them; the last blocks may be shorter or empty."""
    return -(-len(weight) // peers.count)


def _groups(weights: Mapping[str, Any]) -> tuple[Peers, Peers]:
    """The processes among which weights are shared out, and those that hold copies."""
    first = next(iter(weights), "")
    mesh, placements = _layout(weights.get(first))
    for name, weight in weights.items():
        if _layout(weight) != (mesh, placements):
            raise ValueError(
                f"{name} is not sharded as {first} is; shard all targets alike, with fully_shard on one mesh, or "
                "exclude one of them from pruning"
            )
    peers, copies = Peers(), Peers()
    for dimension, placement in enumerate(placements):
        group = mesh.get_group(dimension)
        if placement.is_shard(0) and type(placement).__name__ == "Shard" and not peers.are_many:
            peers = Peers(group)
        elif placement.is_replicate() and not copies.are_many:
            copies = Peers(group)
        else:
            raise ValueError(
                f"{first} is laid out as {placements}; pruning knows blocks of rows, Shard(0), on one dimension of the "
                "mesh, and copies on one other: use DDP or FSDP2 without tensor parallelism"
            )
    return peers, copies


def _layout(weight: Any) -> tuple[Any, Any]:
    """The mesh of processes over which a weight is laid out, and how; a plain tensor has none."""
    return getattr(weight, "device_mesh", None), getattr(weight, "placements", ())
