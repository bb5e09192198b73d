"""The pruning threshold: the exact k-th smallest magnitude over many tensors, and the masks that follow from it.

The threshold is found without gathering the weights: a strided sample brackets it, one streaming pass counts what lies
below the bracket and collects the few candidates inside, and the rest is a selection among those. A bracket that misses
is widened and the pass repeated, so the result is exact for every input.
"""

import math
import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

SAMPLE = 1 << 16  # magnitudes in the sample
CHUNK = 1 << 18  # weights looked at together on a processor: a chunk and its masks stay in the cache


def named(tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor) -> dict[str, Tensor]:
    """Tensors under names; a position serves as the name of a tensor that has none."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    return dict(tensors if isinstance(tensors, Mapping) else {str(i): t for i, t in enumerate(tensors)})


def common_dtype(tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The widest of the tensors' types, in which all their magnitudes compare exactly."""
    types = [tensor.dtype for tensor in tensors.values()]
    widest = types[0] if types else torch.float32
    for dtype in types[1:]:
        widest = torch.promote_types(widest, dtype)
    return widest


def magnitude_threshold(tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor, k: int) -> float:
    """The pruning threshold: the k-th smallest magnitude over all tensors together, exactly.

    Equal to `torch.kthvalue` of the concatenated magnitudes. Not the prior threshold τ, which knows no weights.

    Args:
        tensors: named tensors, a sequence of tensors, or one tensor, of any shapes.
        k: rank, from 1 (the smallest magnitude) to the number of elements.

    Raises:
        ValueError: if k is out of range or a tensor holds NaN; the message names it.
        TypeError: if k is not a whole number.

    Example:
        >>> magnitude_threshold([torch.tensor([3.0, -1.0]), torch.tensor([[2.0], [-4.0]])], k=2)
        2.0
    """
    weights, k = named(tensors), operator.index(k)
    total = sum(weight.numel() for weight in weights.values())
    if not 1 <= k <= total:
        raise ValueError(f"magnitude_threshold: k={k} must be from 1 to the number of weights, {total}")
    sample = _sorted_sample(weights, total)
    margin = 4.0  # standard deviations of the sample's rank
    while True:
        low, high = _bracket(sample, k / total, margin)
        threshold = _scan(weights, low, high).kth(k, total, weights)
        if threshold is not None:
            return threshold
        margin *= 8


def _chunks(weights: Mapping[str, Tensor], dtype: torch.dtype) -> Iterator[Tensor]:
    """Magnitudes, a chunk at a time."""
    for weight in weights.values():
        flat = weight.detach().reshape(-1)
        size = CHUNK if flat.device.type == "cpu" else max(1, flat.numel())
        for part in flat.split(size):
            yield part.abs().to(dtype)


def _sorted_sample(weights: Mapping[str, Tensor], total: int) -> Tensor:
    """Every so-many-th magnitude of each tensor, sorted; an odd stride does not fall in step with the rows."""
    stride, dtype = max(1, total // SAMPLE) | 1, common_dtype(weights)
    parts = [weight.detach().reshape(-1)[::stride].abs().to(dtype).cpu() for weight in weights.values()]
    sample = torch.cat(parts).double()
    return sample[~sample.isnan()].sort().values


def _bracket(sample: Tensor, share: float, margin: float) -> tuple[float, float]:
    """Two magnitudes between which the quantile `share` lies, most likely."""
    count = len(sample)
    reach = margin * math.sqrt(count * share * (1 - share)) + margin
    left, right = math.floor(count * share - reach), math.ceil(count * share + reach)
    return (sample[left].item() if left >= 0 else 0.0, sample[right].item() if right < count else math.inf)


@dataclass(frozen=True)
class _Counts:
    """What one pass found around a bracket; counts of shards add up, and so do their candidates."""

    low: float
    high: float
    below: int
    at_low: int
    candidates: Tensor  # strictly between low and high
    at_high: int
    above: int

    def kth(self, k: int, total: int, weights: Mapping[str, Tensor]) -> float | None:
        """The k-th smallest magnitude, or None if it lies outside of the bracket."""
        inside = len(self.candidates)
        if self.below + self.at_low + inside + self.at_high + self.above < total:
            name = next(name for name, weight in weights.items() if weight.isnan().any())
            raise ValueError(f"{name} holds NaN, which has no magnitude to rank; lower the learning rate")
        rank = k - self.below
        if rank < 1 or rank > self.at_low + inside + self.at_high:
            return None
        if rank <= self.at_low:
            return self.low
        rank -= self.at_low
        return self.candidates.kthvalue(rank).values.item() if rank <= inside else self.high


def _scan(weights: Mapping[str, Tensor], low: float, high: float) -> _Counts:
    """Count and collect in one pass over all weights."""
    below = at_low = at_high = above = 0
    candidates = [torch.empty(0)]
    for size in _chunks(weights, common_dtype(weights)):
        under, over = size < low, size > high
        between = size[~(under | over)]  # NaN, too, is neither under nor over
        below += int(under.sum())
        above += int(over.sum())
        at_low += int((between == low).sum())
        at_high += int((between == high).sum()) if high > low else 0
        candidates.append(between[(between > low) & (between < high)].cpu())
    widest = torch.promote_types(common_dtype(weights), torch.float32)
    return _Counts(low, high, below, at_low, torch.cat([c.to(widest) for c in candidates]), at_high, above)


def smallest(
    tensors: Mapping[str, Tensor], k: int, *, gone: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], float]:
    """Masks that keep all but the k smallest magnitudes, exactly k False over all tensors, and the threshold.

    Of weights that tie at the threshold, the first in the order of the tensors and their flat index go. That order
    is the same on every rank and in every run.

    Args:
        tensors: named tensors; the masks come under the same names, True = kept.
        k: number of weights to remove, from 0; the threshold of k = 0 is 0.
        gone: masks, True = removed before and zero now, at most k of them; these go before other zeros.

    Example:
        >>> masks, threshold = smallest({"w": torch.tensor([3.0, -1.0, 1.0, 1.0])}, k=2)
        >>> masks["w"].tolist(), threshold
        ([True, False, False, True], 1.0)
    """
    if k == 0:
        return {name: torch.ones_like(tensor, dtype=torch.bool) for name, tensor in tensors.items()}, 0.0
    threshold, dtype = magnitude_threshold(tensors, k), common_dtype(tensors)
    masks = {name: tensor.detach().abs().to(dtype) >= threshold for name, tensor in tensors.items()}
    for name, mask in (gone or {}).items():
        masks[name] &= ~mask
    ties_to_cut = k - sum(mask.numel() - int(mask.count_nonzero()) for mask in masks.values())
    for name, tensor in tensors.items():
        if ties_to_cut:
            ties = (tensor.detach().abs().to(dtype) == threshold) & masks[name]
            ties_to_cut -= _cut_first_ties_(masks[name], ties, ties_to_cut)
    return masks, threshold


def _cut_first_ties_(mask: Tensor, ties: Tensor, limit: int) -> int:
    """Set the first `limit` of the ties to False; return how many that were."""
    chosen = ties.nonzero()[:limit]  # (ties, dimensions), in the order of the flat index
    if len(chosen):  # an empty index of a 0-d tensor would mean all of it
        mask[chosen.unbind(1)] = False
    return len(chosen)
