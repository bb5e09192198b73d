"""Find the pruning threshold: the exact k-th smallest magnitude over many tensors, without concatenating them.

A sample, or the threshold expected from earlier events, brackets the threshold. One pass counts the magnitudes up to
the bracket and collects the few candidates inside; the threshold is selected among those. If the bracket misses, or
holds too many candidates, it is moved or narrowed with what the pass has counted, and the pass is repeated. So the
result is exact for every input, and the extra memory is bounded.

If several processes share the weights, each scans its own part. Samples and candidates are joined and counts are added,
so all processes find the same threshold, and no weights are gathered.
"""

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mgpp.prior.chunks import chunks
from mgpp.pruning.magnitudes import Magnitudes, working_dtype
from mgpp.pruning.sharded.shards import Shards

SMALLEST_SAMPLE, LARGEST_SAMPLE = 1 << 14, 1 << 20  # magnitudes; in between it is one of every 256
MOST_CANDIDATES = 1 << 22  # collected in one pass by all processes together; of more, every second is let go
COLUMNS = 8  # weights that are looked at together for a candidate among them
REACH = 0.005  # how far, relatively, the threshold may lie from an expected one


def named(tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor) -> dict[str, Tensor]:
    """Return tensors by name; unnamed tensors are named by their position."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    return dict(tensors if isinstance(tensors, Mapping) else {str(i): t for i, t in enumerate(tensors)})


def magnitude_threshold(
    tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor, k: int, *, expected: float | None = None
) -> float:
    """Return the pruning threshold: exactly the k-th smallest magnitude over all tensors together.

    Equal to `torch.kthvalue` of the concatenated magnitudes. The prior threshold τ is something else: it depends on
    the prior alone.

    Args:
        tensors: named tensors, a sequence of tensors, or one tensor, of any shapes; or DTensors sharded by rows, on all
            processes at once.
        k: rank, from 1 (the smallest magnitude) to the number of elements.
        expected: a guess, for instance the threshold of an earlier prune event. A guess within 0.5% saves time. The
            result does not depend on it.

    Raises:
        ValueError: if k is out of range, or a tensor holds NaN; the message names it.
        TypeError: if k is not an integer.

    Example:
        >>> magnitude_threshold([torch.tensor([3.0, -1.0]), torch.tensor([[2.0], [-4.0]])], k=2)
        2.0
    """
    return find_cut(named(tensors), k, expected=expected).threshold


@dataclass(frozen=True)
class Cut:
    """Hold a threshold, how many magnitudes lie below it, and how many equal it."""

    threshold: float
    below: int
    ties: int


def find_cut(weights: Mapping[str, Tensor], k: int, *, expected: float | None = None, by_magnitude: bool = True) -> Cut:
    """Find the k-th smallest magnitude, or signed value, and count what lies below and at it.

    Example:
        >>> find_cut({"w": torch.tensor([3.0, -1.0, 2.0, -2.0])}, k=2)
        Cut(threshold=2.0, below=1, ties=2)
        >>> find_cut({"w": torch.tensor([3.0, -1.0, 2.0, -2.0])}, k=2, by_magnitude=False)
        Cut(threshold=-1.0, below=1, ties=1)
    """
    shards = Shards.of(weights)
    scan, total = _Scan(shards, by_magnitude), shards.total
    k = operator.index(k)
    if not 1 <= k <= total:
        raise ValueError(f"magnitude_threshold: k={k} must be from 1 to {total}, the number of weights")
    counts = None
    if expected is not None and 0 < expected < math.inf:
        counts = scan.between(expected * (1 - REACH), expected * (1 + REACH))
    if counts is None or not counts.hold(k):
        counts = scan.between(*_bracket(_sample(shards, by_magnitude), k / total, scan.floor, math.inf))
    return _close_in(scan, counts, k)


def _sample(weights: Shards, by_magnitude: bool) -> np.ndarray:
    """Return a sorted sample of the magnitudes; the stride is odd so that it does not align with the rows."""
    total, dtype = weights.total, working_dtype(weights)
    stride = (total // min(max(total >> 8, SMALLEST_SAMPLE), LARGEST_SAMPLE)) | 1
    parts = [part.reshape(-1)[::stride].to("cpu", dtype) for w in weights.values() for (part,) in chunks(w.detach())]
    sample = torch.cat([torch.empty(0, dtype=dtype), *parts])
    sample = sample.abs_() if by_magnitude else sample
    return np.sort(weights.peers.join(sample[~sample.isnan()].numpy()))


def _bracket(sample: np.ndarray, share: float, low: float, high: float) -> tuple[float, float]:
    """Return two values of a sorted sample that most likely enclose its quantile `share`; low and high at its ends."""
    count = len(sample)
    reach = min(4 * math.sqrt(count * share * (1 - share)) + 4, count / 4)  # four standard deviations of the rank
    left, right = math.floor(count * share - reach), math.ceil(count * share + reach)
    return (float(sample[left - 1]) if left >= 1 else low, float(sample[right - 1]) if 1 <= right <= count else high)


@dataclass(frozen=True)
class _Counts:
    """Hold what one pass found around a bracket."""

    low: float
    high: float
    up_to_low: int
    inside: int  # strictly between low and high
    candidates: np.ndarray  # those inside, or an even sample of them if there were too many

    def hold(self, k: int) -> bool:
        """Tell whether the k-th smallest magnitude lies inside the bracket."""
        return 1 <= k - self.up_to_low <= self.inside

    @property
    def are_complete(self) -> bool:
        """Tell whether all magnitudes inside the bracket were collected."""
        return len(self.candidates) == self.inside


@dataclass(frozen=True)
class _Scan:
    """Pass over all weights, each process over its part."""

    weights: Shards
    by_magnitude: bool

    @property
    def floor(self) -> float:
        """Return the lowest possible value."""
        return 0.0 if self.by_magnitude else -math.inf

    def _sizes(self) -> Magnitudes:
        return Magnitudes(self.weights, None if self.by_magnitude else self.weights)

    def between(self, low: float, high: float) -> _Counts:
        """Count the magnitudes up to `low` and collect those between, in one pass."""
        sizes, limit = self._sizes(), MOST_CANDIDATES // self.weights.peers.count
        low, high = (float(torch.tensor(end, dtype=sizes.dtype)) for end in (low, high))
        up_to_low = inside = collected = 0
        kept, every, broken = [torch.empty(0, dtype=sizes.dtype)], 1, []
        for name, _, size in sizes:
            outside = sizes.where(torch.le, size, low)
            up_to_low += int(outside.sum())
            found = _inside(size, outside.add_(sizes.where(torch.ge, size, high))).cpu()
            if found.isnan().any():  # NaN is neither <= low nor >= high
                broken.append(name)
                continue
            inside += len(found)
            kept.append(found[::every])
            collected += len(kept[-1])
            if collected > limit:
                kept, every = [torch.cat(kept)[::2].clone()], 2 * every
                collected = len(kept[0])
        return self._together(low, high, np.array([up_to_low, inside, every]), torch.cat(kept).numpy(), broken)

    def _together(self, low: float, high: float, own: np.ndarray, kept: np.ndarray, broken: list[str]) -> _Counts:
        """Add up what all processes found, with one sampling rate of candidates; raise on all if one has NaN."""
        names, peers = list(self.weights), self.weights.peers
        first = names.index(broken[0]) if broken else len(names)
        table = peers.table([*own, first])
        if (first := table[:, 3].min()) < len(names):
            raise ValueError(f"{names[first]} holds NaN and can't be ranked; lower the learning rate")
        up_to_low, inside, _, _ = table.sum(0).tolist()
        return _Counts(low, high, up_to_low, inside, peers.join(kept[:: table[:, 2].max() // own[2]]))

    def at(self, threshold: float) -> Cut:
        """Count the magnitudes below and at a threshold."""
        below, ties, sizes = 0, 0, self._sizes()
        for _, _, size in sizes:
            below += int(sizes.where(torch.lt, size, threshold).sum())
            ties += int(sizes.where(torch.eq, size, threshold).sum())
        return Cut(threshold, *self.weights.peers.sum([below, ties]).tolist())


def _inside(size: Tensor, outside: Tensor) -> Tensor:
    """Return the few magnitudes where `outside` is 0; only columns that hold one are searched."""
    rows = COLUMNS if len(size) % COLUMNS == 0 else 1
    columns = outside.view(rows, -1).amin(0).bool().logical_not_().nonzero().view(-1)
    few, out = (flat.view(rows, -1).index_select(1, columns) for flat in (size, outside))
    return few[out.bool().logical_not_()]


def _close_in(scan: _Scan, counts: _Counts, k: int) -> Cut:
    """Repeat the pass with narrower bounds until it holds the answer."""
    floor, ceiling = scan.floor, math.inf
    while not (counts.hold(k) and counts.are_complete):
        if counts.hold(k):
            floor, ceiling = counts.low, counts.high
            bracket = _bracket(np.sort(counts.candidates), (k - counts.up_to_low) / counts.inside, floor, ceiling)
        else:
            edge = counts.low if k <= counts.up_to_low else counts.high
            cut = scan.at(edge)
            if cut.below < k <= cut.below + cut.ties:
                return cut
            floor, ceiling = bracket = (floor, edge) if k <= cut.below else (edge, ceiling)
        counts = scan.between(*bracket)
    rank = k - counts.up_to_low
    threshold = np.partition(counts.candidates, rank - 1)[rank - 1]
    below, ties = (
        int(np.count_nonzero(found)) for found in (counts.candidates < threshold, counts.candidates == threshold)
    )
    return Cut(float(threshold), counts.up_to_low + below, ties)
