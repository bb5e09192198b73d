"""Masks of one bit a weight, and the one pass over the weights that makes, measures and applies them.

In memory a mask is packed: bit i % 8 of byte i // 8 belongs to the weight of flat index i, as in
`numpy.packbits(..., bitorder="little")`. 1 = kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mgpp.prior.chunks import Buffers, chunks
from mgpp.pruning.magnitudes import Magnitudes
from mgpp.pruning.sharded.shards import Shards
from mgpp.pruning.threshold import Cut

_GATHER = 0x0102040810204080  # times eight bytes of 0 or 1: their bits, side by side in the highest byte
_SPREAD = 0x0101010101010101  # times a byte: eight copies of it
_EACH = 0x8040201008040201 - (1 << 64)  # another bit of each of the copies; as a signed number
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def pack(kept: Tensor, buffers: Buffers | None = None) -> Tensor:
    """Bits of a bool tensor, as uint8.

    Example:
        >>> pack(torch.tensor([True, False, True]))
        tensor([5], dtype=torch.uint8)
    """
    flat = kept.reshape(-1)
    if len(flat) % 8:
        flat = torch.nn.functional.pad(flat, (0, -len(flat) % 8))
    eights = flat.view(torch.int64)
    wide = torch.mul(eights, _GATHER, out=(buffers or Buffers()).like(eights, "wide"))
    return wide.bitwise_right_shift_(56).to(torch.uint8)


def unpack(bits: Tensor, count: int, buffers: Buffers | None = None) -> Tensor:
    """The first `count` of the bits, as a flat bool tensor, in the buffers' memory if there are any.

    Example:
        >>> unpack(torch.tensor([5], dtype=torch.uint8), 3)
        tensor([ True, False,  True])
    """
    buffers = buffers or Buffers()
    wide = buffers.like(bits, "wide", torch.int64).copy_(bits).mul_(_SPREAD).bitwise_and_(_EACH)
    each = wide.view(torch.uint8)[:count]
    return buffers.like(each, "unpacked", torch.bool).copy_(each)


def zero_(weight: Tensor, kept: Tensor, buffers: Buffers) -> None:
    """Set weights to +0 where `kept` is False, infinities and NaN too: their bits, as integers, times 0 or 1."""
    bits = weight.view(_INTEGERS[weight.itemsize])
    bits.mul_(buffers.like(bits, "kept").copy_(kept.view(torch.uint8).view(bits.shape)))


@torch.no_grad()
def apply_(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the weights to 0 that packed masks do not keep.

    Example:
        >>> w = torch.tensor([1.0, 2.0, 3.0])
        >>> apply_({"w": w}, {"w": pack(torch.tensor([True, False, True]))})
        >>> w
        tensor([1., 0., 3.])
    """
    buffers = Buffers()
    for name, bits in masks.items():
        start = 0
        for (part,) in chunks(weights[name].detach()):
            zero_(part, _section(bits, start, part.numel(), buffers), buffers)
            start += part.numel()


def _section(bits: Tensor, start: int, count: int, buffers: Buffers) -> Tensor:
    """`count` unpacked bits from `start`, a multiple of 8."""
    return unpack(bits[start // 8 : (start + count + 7) // 8], count, buffers)


@dataclass
class Pruned:
    """What `prune_` did here: packed masks, how many removed weights had grown again, how many fates changed."""

    masks: dict[str, Tensor]
    regrown: int = 0
    changed: int = 0


@torch.no_grad()
def prune_(
    weights: Mapping[str, Tensor],
    cut: Cut,
    ties: int,
    old: Mapping[str, Tensor],
    *,
    allow_regrowth: bool = True,
    ranks: Mapping[str, Tensor] | None = None,
    under_mask: bool = False,
) -> Pruned:
    """Set to 0 what lies below the cut and the first `ties` of what lies at it, in one pass.

    Of weights that tie, the first in the order of the tensors and their flat index go. That order is the same in every
    run, and among however many processes the weights are shared out.

    Args:
        weights: by name, or `Shards` of them, changed in place.
        cut: from `find_cut`.
        ties: how many of the weights at the threshold go.
        old: packed masks of the event before, or none.
        allow_regrowth: False: what the old masks removed stays removed, apart from the ties counted.
        ranks: what the cut was found in, where that is not the weights' magnitudes.
        under_mask: weights live on under the mask, so that it is no regrowth if one is not zero, but if it comes back.

    Example:
        >>> weights = {"w": torch.tensor([3.0, -1.0, 1.0, 1.0])}
        >>> pruned = prune_(weights, Cut(threshold=1.0, below=0, ties=3), 2, {})
        >>> weights["w"], unpack(pruned.masks["w"], 4)
        (tensor([3., 0., 0., 1.]), tensor([ True, False, False,  True]))
    """
    result = Pruned({name: w.new_empty((w.numel() + 7) // 8, dtype=torch.uint8) for name, w in weights.items()})
    sizes, buffers = Magnitudes(weights, ranks), Buffers()
    goes = torch.le if ties == cut.ties > 0 else torch.lt
    ties = 0 if goes is torch.le else ties
    left = _ties_left(Shards.of(weights), sizes, cut, ties, {} if allow_regrowth else old) if ties else {}
    starts = dict.fromkeys(weights, 0)
    for name, part, size in sizes:
        ties = left.pop(name, ties)
        kept = buffers.like(size, "stays", torch.bool).copy_(sizes.where(goes, size, cut.threshold)).logical_not_()
        if old:
            gone = _section(old[name], starts[name], len(size), buffers).logical_not_()
            grown = buffers.like(size, "grown", torch.bool).copy_(part.reshape(-1)).bitwise_and_(gone)
            result.regrown += 0 if under_mask else int(grown.count_nonzero())
            if not allow_regrowth:
                kept.masked_fill_(gone, False)
        if ties:
            level = buffers.like(size, "level", torch.bool).copy_(sizes.where(torch.eq, size, cut.threshold))
            ties -= _remove_first_(kept, level.bitwise_and_(kept), ties)
        if old:
            result.regrown += int(grown.copy_(gone).bitwise_and_(kept).count_nonzero()) if under_mask else 0
            result.changed += len(size) - int(gone.bitwise_xor_(kept).count_nonzero())
        zero_(part, kept, buffers)
        bits = pack(kept, buffers)
        result.masks[name][starts[name] // 8 :][: len(bits)] = bits
        starts[name] += len(size)
    return result


def _ties_left(weights: Shards, sizes: Magnitudes, cut: Cut, ties: int, gone: Mapping[str, Tensor]) -> dict[str, int]:
    """How many ties are left to remove when the part of a tensor that is held here has its turn.

    A process alone counts them as it goes along. Among several, a part's turn comes after all tensors before, and
    after the same tensor's parts on the processes before.
    """
    if not weights.peers.are_many:
        return {}
    own, starts = dict.fromkeys(weights, 0), dict.fromkeys(weights, 0)
    for name, _, size in sizes:
        level = sizes.where(torch.eq, size, cut.threshold)
        if gone:
            level.mul_(_section(gone[name], starts[name], len(size), Buffers()))
        own[name] += int(level.sum())
        starts[name] += len(size)
    turns = weights.peers.table(list(own.values())).T  # (tensors, processes)
    before = turns.cumsum().reshape(turns.shape) - turns
    return {name: max(0, ties - int(before[i, weights.peers.index])) for i, name in enumerate(own)}


def _remove_first_(kept: Tensor, ties: Tensor, limit: int) -> int:
    """Set the first `limit` of the ties to False; return how many that were."""
    chosen = ties.nonzero().view(-1)[:limit]
    kept[chosen] = False
    return len(chosen)
