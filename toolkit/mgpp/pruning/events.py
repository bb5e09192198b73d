"""Prune events: what one does to weights that are ranked together, and what is remembered of it."""

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass

from torch import Tensor

from mgpp.pruning.masks import Pruned, prune_
from mgpp.pruning.sharded.shards import Shards
from mgpp.pruning.threshold import Cut, find_cut


@dataclass(frozen=True)
class PruneEvent:
    """What the last prune event did.

    Attributes:
        step: training step of the event.
        threshold: the pruning threshold, the k-th smallest magnitude or rank; the largest of the matrices' thresholds
            where each has its own.
        regrown: share of the weights zeroed at the event before that were nonzero again when this one came; where
            weights live on under the mask, that this event lets back.
        churn: mask churn, the share of all weights whose fate differs from the event before. Where events are more
            frequent than logged rows, as at the end under a mask that is not frozen, a row tells of one event alone.
    """

    step: int
    threshold: float
    regrown: float
    churn: float


def remove_lowest_(
    weights: Shards,
    count: int,
    ranks: Mapping[str, Tensor] | None,
    old: Mapping[str, Tensor],
    removed: int,
    *,
    expected: float | None = None,
    allow_regrowth: bool = True,
    under_mask: bool = False,
) -> tuple[Cut, Pruned]:
    """Set to 0 the `count` weights that rank lowest, exactly; of equals the first go, see `prune_`.

    Args:
        weights: changed in place.
        count: how many of all processes' weights are to be 0 afterwards.
        ranks: what is ranked, in the shapes of the parts; None: magnitudes.
        old: packed masks of the event before, or none.
        removed: how many weights those remove.
        expected: about where the threshold lies, see `find_cut`.
        allow_regrowth: False: what the old masks removed stays removed.
        under_mask: weights live on under the mask.

    Returns:
        Where the ranks were cut, and the new masks with what they changed.

    Raises:
        PeersError: if processes that hold the same weights would remove others.

    Example:
        >>> import torch
        >>> weights = Shards({"w": torch.tensor([3.0, -1.0, 2.0])})
        >>> cut, _ = remove_lowest_(weights, 2, None, {}, 0)
        >>> cut.threshold, weights["w"]
        (2.0, tensor([3., 0., 0.]))
    """
    lowest = 0.0 if ranks is None else -math.inf
    judged = weights if ranks is None else weights.like(ranks)
    cut = Cut(lowest, 0, 0)
    if count:
        cut = find_cut(judged, count, expected=expected, by_magnitude=ranks is None)
        weights.copies.check_same("the pruning threshold, and what lies below and at it,", *astuple(cut))
    # zeros that ties do not stand for
    stays = 0 if allow_regrowth or cut.threshold > lowest else removed
    return cut, prune_(
        weights,
        cut,
        count - cut.below - stays,
        old,
        allow_regrowth=allow_regrowth,
        ranks=None if ranks is None else judged,
        under_mask=under_mask,
    )
