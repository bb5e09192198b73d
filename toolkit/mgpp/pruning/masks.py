"""Make, pack and apply masks, and remove exactly the lowest k weights.

In memory a mask has one bit a weight: bit i % 8 of byte i // 8 belongs to the weight of flat index i, as in
`numpy.packbits(..., bitorder="little")`. 1 = kept.
"""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from mgpp.prior.chunks import Buffers, chunks
from mgpp.pruning.magnitudes import Magnitudes
from mgpp.pruning.sharded.shards import Shards
from mgpp.pruning.threshold import Cut, find_cut

_GATHER = 0x0102040810204080  # times eight bytes of 0 or 1: their bits, side by side in the highest byte
_SPREAD = 0x0101010101010101  # times a byte: eight copies of it
_EACH = 0x8040201008040201 - (1 << 64)  # another bit of each of the copies; as a signed number
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def pack(kept: Tensor, buffers: Buffers | None = None) -> Tensor:
    """Pack a bool tensor into bits, as uint8.

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
    """Unpack the first `count` bits into a flat bool tensor, in the memory of `buffers` if given.

    Example:
        >>> unpack(torch.tensor([5], dtype=torch.uint8), 3)
        tensor([ True, False,  True])
    """
    buffers = buffers or Buffers()
    wide = buffers.like(bits, "wide", torch.int64).copy_(bits).mul_(_SPREAD).bitwise_and_(_EACH)
    each = wide.view(torch.uint8)[:count]
    return buffers.like(each, "unpacked", torch.bool).copy_(each)


def zero_(weight: Tensor, kept: Tensor, buffers: Buffers) -> None:
    """Set weights to +0 where `kept` is False, also infinities and NaN: multiply their bits, as integers, by 0 or 1."""
    bits = weight.view(_INTEGERS[weight.itemsize])
    bits.mul_(buffers.like(bits, "kept").copy_(kept.view(torch.uint8).view(bits.shape)))


@torch.no_grad()
def apply_(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set to 0 the weights that packed masks do not keep.

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
    """Unpack `count` bits from `start`, a multiple of 8."""
    return unpack(bits[start // 8 : (start + count + 7) // 8], count, buffers)


@dataclass
class Pruned:
    """Hold what `prune_` did on this process.

    Attributes:
        masks: the new packed masks.
        regrown: how many of the weights removed before were nonzero again, or are restored.
        changed: how many weights were kept before and not now, or now and not before.
    """

    masks: dict[str, Tensor]
    regrown: int = 0
    changed: int = 0


def remove_lowest_(
    weights: Shards,
    count: int,
    *,
    ranks: Mapping[str, Tensor] | None = None,
    old: Mapping[str, Tensor] | None = None,
    removed: int = 0,
    expected: float | None = None,
    allow_regrowth: bool = True,
    under_mask: bool = False,
) -> tuple[Cut, Pruned]:
    """Set to 0 exactly the `count` lowest weights; of equal ones the first, see `prune_`.

    Args:
        weights: changed in place.
        count: how many weights of all processes together are 0 afterwards.
        ranks: what is ranked, in the shapes of `weights`. Default: magnitudes.
        old: packed masks of the previous event, if there was one.
        removed: how many weights `old` removes.
        expected: a guess of the threshold, see `find_cut`.
        allow_regrowth: False: what `old` removes stays removed.
        under_mask: weights are kept under the mask.

    Returns:
        The threshold with its neighbourhood, and the new masks with what they changed.

    Raises:
        PeersError: if processes that hold the same weights find different thresholds.

    Example:
        >>> weights = Shards({"w": torch.tensor([3.0, -1.0, 2.0])})
        >>> cut, _ = remove_lowest_(weights, 2)
        >>> cut.threshold, weights["w"]
        (2.0, tensor([3., 0., 0.]))
    """
    lowest = 0.0 if ranks is None else -math.inf
    ranked = None if ranks is None else weights.like(ranks)
    cut = Cut(lowest, 0, 0)
    if count:
        cut = find_cut(ranked or weights, count, expected=expected, by_magnitude=ranks is None)
        weights.copies.check_same("pruning threshold, weights below it, weights at it", *astuple(cut))
    # without regrowth, removed weights at a higher threshold are zeros that the ties don't count
    stays = 0 if allow_regrowth or cut.threshold > lowest else removed
    ties = count - cut.below - stays
    return cut, prune_(
        weights, cut, ties, old or {}, allow_regrowth=allow_regrowth, ranks=ranked, under_mask=under_mask
    )


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
    """Set to 0 the weights below the threshold and the first `ties` of those at it, in one pass.

    Ties are broken by the order of the tensors and the flat index. That order is the same in every run and for any
    number of processes.

    Args:
        weights: by name, or `Shards` of them; changed in place.
        cut: from `find_cut`.
        ties: how many of the weights at the threshold are removed.
        old: packed masks of the previous event, or an empty mapping.
        allow_regrowth: False: what `old` removes stays removed, beside the ties.
        ranks: what `find_cut` ranked, if not the magnitudes.
        under_mask: weights are kept under the mask. Then a weight counts as regrown if this event restores it, not if
            it is nonzero.

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
    """Return how many ties remain for this process's part of each tensor.

    A single process counts them on its way: the result is empty. With several processes, the parts of a tensor come in
    the order of the processes, after all tensors before it.
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
    """Set the first `limit` ties to False, and return how many there were."""
    chosen = ties.nonzero().view(-1)[:limit]
    kept[chosen] = False
    return len(chosen)
