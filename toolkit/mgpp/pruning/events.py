"""Prune events: remove exactly the lowest k weights, keep the mask, and note what changed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mgpp.pruning.importance import Importance
from mgpp.pruning.masks import apply_, pack, remove_lowest_, unpack
from mgpp.pruning.scope import Scope, groups, split_evenly
from mgpp.pruning.sharded.shards import Shards


@dataclass(frozen=True)
class PruneEvent:
    """Describe the last prune event.

    Attributes:
        step: training step of the event.
        threshold: the pruning threshold: the k-th smallest magnitude, or rank. With scope "matrix" the largest of the
            matrices' thresholds.
        regrown: share of the weights zeroed at the previous event that were nonzero again at this one. If weights are
            kept under the mask: the share that this event restores.
        churn: mask churn, the share of all weights that were kept at one of the two events and not at the other.
    """

    step: int
    threshold: float
    regrown: float
    churn: float


class PruneEvents:
    """Remove the lowest weights, event after event, and hold the mask in between.

    Args:
        shards: the targets, changed in place.
        importance: what is ranked.
        scope: see `Pruner`.
        allow_regrowth: see `Pruner`.

    Attributes:
        last: the last prune event, None before the first.
        bits: packed masks by name, empty before the first prune event.

    Example:
        >>> weights = Shards({"w": torch.tensor([3.0, -1.0, 2.0])})
        >>> events = PruneEvents(weights, Importance(), "global", allow_regrowth=True)
        >>> events.prune_(step=0, count=2)
        >>> events.last.threshold, events.masks["w"]
        (2.0, tensor([ True, False, False]))
    """

    def __init__(self, shards: Shards, importance: Importance, scope: Scope, *, allow_regrowth: bool):
        self.shards, self.importance, self.allow_regrowth = shards, importance, allow_regrowth
        self._groups = groups(shards, scope)
        self.forget()

    def forget(self) -> None:
        """Begin without a mask."""
        self.last: PruneEvent | None = None
        self.bits: dict[str, Tensor] = {}
        self._recent: list[tuple[int, float]] = []  # count and threshold of the last two events

    def restore(self, masks: Mapping[str, Tensor], last: PruneEvent | None, count: int) -> None:
        """Go on from bool masks in the shapes of `shards` and the last prune event, which removed `count` weights."""
        self.bits = {
            name: pack(mask.to(self.shards[name].device, torch.bool, copy=True)) for name, mask in masks.items()
        }
        self.last, self._recent = last, [(count, last.threshold)] if last else []

    @property
    def masks(self) -> dict[str, Tensor]:
        """The masks as bool tensors (True = kept) in the shapes of `shards`, unpacked at every call."""
        shapes = {name: self.shards[name].shape for name in self.bits}
        return {name: unpack(bits, shapes[name].numel()).view(shapes[name]) for name, bits in self.bits.items()}

    def apply_(self) -> None:
        """Set to 0 what the mask does not keep."""
        apply_(self.shards, self.bits)

    def apply_to_gradients_(self) -> None:
        """Set to 0 the gradients of the weights that the mask does not keep."""
        gradients = {name: part.grad for name, part in self.shards.items() if part.grad is not None}
        apply_(gradients, {name: bits for name, bits in self.bits.items() if name in gradients})

    def prune_(self, step: int, count: int) -> None:
        """Set the `count` lowest weights to 0, group by group, and replace the mask."""
        removed = self._recent[-1][0] if self._recent else 0
        ranks = None if self.importance.by_magnitude else self._ranks()
        threshold, changed, regrown = -math.inf, 0, 0
        bits: dict[str, Tensor] = {}
        for names, goes, gone in zip(self._groups, self._split(count), self._split(removed), strict=True):
            cut, pruned = remove_lowest_(
                self.shards.only(names),
                goes,
                ranks=None if ranks is None else {name: ranks[name] for name in names},
                old={name: self.bits[name] for name in names if self.bits},
                removed=gone,
                expected=self._expected_threshold(goes),
                allow_regrowth=self.allow_regrowth,
                under_mask=self.importance.keeps_weights,
            )
            threshold, bits = max(threshold, cut.threshold), bits | pruned.masks
            changed, regrown = changed + pruned.changed, regrown + pruned.regrown
        self.bits, self._recent = bits, [*self._recent, (count, threshold)][-2:]
        regrown, changed = self.shards.peers.sum([regrown, changed]).tolist()
        self.last = PruneEvent(step, threshold, regrown / removed if removed else 0.0, changed / self.shards.total)

    def _ranks(self) -> dict[str, Tensor]:
        """Return what the importance ranks; without regrowth, removed weights rank lowest of all."""
        ranks = dict(self.importance.ranks())
        if self.allow_regrowth:
            return ranks
        return {name: ranks[name].masked_fill(~mask, -math.inf) for name, mask in self.masks.items()} or ranks

    def _split(self, count: int) -> list[int]:
        """Return how many of `count` weights each group of targets loses."""
        sizes = self.shards.sizes
        return split_evenly(count, [sum(sizes[name] for name in names) for names in self._groups])

    def _expected_threshold(self, count: int) -> float | None:
        """Extrapolate the thresholds of the last two events; the result is nearly always within 0.5%."""
        if len(self._recent) < 2 or len(self._groups) > 1 or not self.importance.by_magnitude:
            return None
        (k0, t0), (k1, t1) = self._recent
        return t1 + (t1 - t0) * (count - k1) / (k1 - k0) if k1 > k0 else t1
