"""The pruning threshold: the exact k-th smallest magnitude over many tensors, without gathering them.

A sample, or the threshold expected from earlier ones, brackets the rank. One streaming pass counts what lies up to the
bracket and collects the few candidates inside; the rest is a selection among those. Where the bracket misses, or holds
more candidates than memory is meant for, it is moved or narrowed by what the pass has learnt, so the result is exact
for every input and the extra memory is bounded.

Where processes share out the weights, each scans its own part; the sample is joined, counts add up, and the candidates
are joined, so that all of them find the same threshold, and no weights or magnitudes are ever gathered.
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
    """Tensors under names; a position serves as the name of a tensor that has none."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    return dict(tensors if isinstance(tensors, Mapping) else {str(i): t for i, t in enumerate(tensors)})


def magnitude_threshold(
    tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor, k: int, *, expected: float | None = None
) -> float:
    """The pruning threshold: the k-th smallest magnitude over all tensors together, exactly.

    Equal to `torch.kthvalue` of the concatenated magnitudes. Not the prior threshold τ, which knows no weights.

    Args:
        tensors: named tensors, a sequence of tensors, or one tensor, of any shapes; or DTensors, cut into blocks of
            rows, on all processes at once.
        k: rank, from 1 (the smallest magnitude) to the number of elements.
        expected: a guess, such as the threshold of an earlier prune event. One that is right within half a percent
            saves time; any other costs some. The result does not depend on it.

    Raises:
        ValueError: if k is out of range or a tensor holds NaN; the message names it.
        TypeError: if k is not a whole number.

    Example:
        >>> magnitude_threshold([torch.tensor([3.0, -1.0]), torch.tensor([[2.0], [-4.0]])], k=2)
        2.0
    """
    return find_cut(named(tensors), k, expected=expected).threshold


@dataclass(frozen=True)
class Cut:
    """The k-th smallest magnitude, how many magnitudes are smaller, and how many are equal to it."""

    threshold: float
    below: int
    ties: int


def find_cut(weights: Mapping[str, Tensor], k: int, *, expected: float | None = None, by_magnitude: bool = True) -> Cut:
    """`magnitude_threshold` with its neighbourhood, see there; or of the numbers themselves, with their signs.

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
        raise ValueError(f"magnitude_threshold: k={k} must be from 1 to the number of weights, {total}")
    counts = None
    if expected is not None and 0 < expected < math.inf:
        counts = scan.between(expected * (1 - REACH), expected * (1 + REACH))
    if counts is None or not counts.hold(k):
        counts = scan.between(*_bracket(_sample(shards, by_magnitude), k / total, scan.floor, math.inf))
    return _close_in(scan, counts, k)


def _sample(weights: Shards, by_magnitude: bool) -> np.ndarray:
    """Every so-many-th magnitude, sorted; an odd stride does not fall in step with the rows."""
    total, dtype = weights.total, working_dtype(weights)
    stride = (total // min(max(total >> 8, SMALLEST_SAMPLE), LARGEST_SAMPLE)) | 1
    parts = [part.reshape(-1)[::stride].to("cpu", dtype) for w in weights.values() for (part,) in chunks(w.detach())]
    sample = torch.cat([torch.empty(0, dtype=dtype), *parts])
    sample = sample.abs_() if by_magnitude else sample
    return np.sort(weights.peers.join(sample[~sample.isnan()].numpy()))


def _bracket(sample: np.ndarray, share: float, low: float, high: float) -> tuple[float, float]:
    """Two magnitudes of a sorted sample between which its quantile `share` most likely lies; at its ends low, high."""
    count = len(sample)
    reach = min(4 * math.sqrt(count * share * (1 - share)) + 4, count / 4)  # four standard deviations of the rank
    left, right = math.floor(count * share - reach), math.ceil(count * share + reach)
    return (float(sample[left - 1]) if left >= 1 else low, float(sample[right - 1]) if 1 <= right <= count else high)


@dataclass(frozen=True)
class _Counts:
    """What one pass found around a bracket."""

    low: float
    high: float
    up_to_low: int
    inside: int  # strictly between low and high
    candidates: np.ndarray  # those inside, or an even share of them if they were too many

    def hold(self, k: int) -> bool:
        """Whether the k-th smallest magnitude lies inside of the bracket."""
        return 1 <= k - self.up_to_low <= self.inside

    @property
    def are_complete(self) -> bool:
        """Whether all those inside were collected."""
        return len(self.candidates) == self.inside


@dataclass(frozen=True)
class _Scan:
    """Passes over all weights, each process over its part."""

    weights: Shards
    by_magnitude: bool

    @property
    def floor(self) -> float:
        """What nothing lies below."""
        return 0.0 if self.by_magnitude else -math.inf

    def _sizes(self) -> Magnitudes:
        return Magnitudes(self.weights, None if self.by_magnitude else self.weights)

    def between(self, low: float, high: float) -> _Counts:
        """Count and collect in one pass."""
        sizes, limit = self._sizes(), MOST_CANDIDATES // self.weights.peers.count
        low, high = (float(torch.tensor(end, dtype=sizes.dtype)) for end in (low, high))
        up_to_low = inside = collected = 0
        kept, every, broken = [torch.empty(0, dtype=sizes.dtype)], 1, []
        for name, _, size in sizes:
            outside = sizes.where(torch.le, size, low)
            up_to_low += int(outside.sum())
            found = _inside(size, outside.add_(sizes.where(torch.ge, size, high))).cpu()
            if found.isnan().any():  # NaN is neither low nor high
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
        """What all processes found, of candidates as even a share of each; they fail together, too."""
        names, peers = list(self.weights), self.weights.peers
        first = names.index(broken[0]) if broken else len(names)
        table = peers.table([*own, first])
        if (first := table[:, 3].min()) < len(names):
            raise ValueError(f"{names[first]} holds NaN, which has no magnitude to rank; lower the learning rate")
        up_to_low, inside, _, _ = table.sum(0).tolist()
        return _Counts(low, high, up_to_low, inside, peers.join(kept[:: table[:, 2].max() // own[2]]))

    def at(self, threshold: float) -> Cut:
        """How many magnitudes are smaller than, and equal to, a threshold."""
        below, ties, sizes = 0, 0, self._sizes()
        for _, _, size in sizes:
            below += int(sizes.where(torch.lt, size, threshold).sum())
            ties += int(sizes.where(torch.eq, size, threshold).sum())
        return Cut(threshold, *self.weights.peers.sum([below, ties]).tolist())


def _inside(size: Tensor, outside: Tensor) -> Tensor:
    """The few magnitudes where `outside` is 0, looked for only in the columns that hold one."""
    rows = COLUMNS if len(size) % COLUMNS == 0 else 1
    columns = outside.view(rows, -1).amin(0).bool().logical_not_().nonzero().view(-1)
    few, out = (flat.view(rows, -1).index_select(1, columns) for flat in (size, outside))
    return few[out.bool().logical_not_()]


def _close_in(scan: _Scan, counts: _Counts, k: int) -> Cut:
    """Look again, between bounds that narrow with every pass, until a pass holds the answer."""
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
