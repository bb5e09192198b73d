"""Define importance: what is ranked at a prune event. The weights of the lowest importance are removed.

An `Importance` sees every training step through four hooks, which the `Pruner` calls:

    begin_step(t)     before the forward pass
    observe(t)        after backward, before the penalty is added; skip(t) instead if a gradient is not finite
    update(t)         after the optimizer's step, before anything is pruned
    finish()          when the mask is frozen and importance is no longer needed
Checkpoints hold what `tensors()` returns, and `load()` restores it.

If processes share the weights, each sees the part that it holds (`mgpp.pruning.sharded.shards`). A tensor about a
weight has the shape of this part, and its key ends in the weight's name. `weights.peers.sum(...)` sums over processes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from mgpp.prior.schedules import CubicSparsity

if TYPE_CHECKING:
    from torch import Tensor


class Importance:
    """Magnitude |θ|, and the base class of all other kinds (Han et al. 2015; Zhu & Gupta 2017).

    Attributes:
        by_magnitude: True: the weights' own magnitudes are ranked. False: `ranks()` are scores of any sign, and the
            lowest are removed.
        keeps_weights: True if removed weights are kept under the mask and may return unchanged.
        must_freeze: True if the mask has to be frozen at t_f.

    Example:
        >>> import torch
        >>> importance = Importance()
        >>> importance.attach({"w": torch.tensor([0.5, -0.1])})
        >>> importance.ranks()
        {'w': tensor([ 0.5000, -0.1000])}
    """

    by_magnitude: ClassVar[bool] = True
    keeps_weights: ClassVar[bool] = False
    must_freeze: ClassVar[bool] = False

    def attach(self, weights: Mapping[str, Tensor]) -> None:
        """Take the targets, `self.weights` from here on, and make room for what is remembered of them."""
        from mgpp.pruning.sharded.shards import Shards

        self.weights = Shards.of(weights)

    def zeros(self) -> dict[str, Tensor]:
        """Return zeros of the weights' shapes, float32 at least: products of small numbers vanish in half precision."""
        import torch

        kinds = {name: torch.promote_types(weight.dtype, torch.float32) for name, weight in self.weights.items()}
        return {
            name: weight.detach().new_zeros(weight.shape, dtype=kinds[name]) for name, weight in self.weights.items()
        }

    def schedule(self, sparsity: CubicSparsity) -> CubicSparsity:
        """Return the sparsity schedule; a given mask has its own."""
        return sparsity

    def begin_step(self, step: int) -> bool:
        """Prepare the forward pass; return True if weights were changed, so that the mask must be applied again."""
        return False

    def observe(self, step: int) -> None:
        """Read the gradients of the loss."""

    def skip(self, step: int) -> None:
        """Pass over a step whose gradients are not finite, as when half precision overflows."""

    def update(self, step: int) -> None:
        """Follow the optimizer's step."""

    def finish(self) -> None:
        """Free what is not needed once the mask is frozen."""

    def ranks(self) -> Mapping[str, Tensor]:
        """Return what is ranked, by the weights' names and of their shapes."""
        return dict(self.weights)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that a stopped training needs to continue, by name."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` returned.

        Raises:
            ValueError: if names or shapes differ from this importance's own.
        """
        mine = self.tensors()
        strange = sorted(mine.keys() ^ tensors.keys())
        strange += [key for key in mine if key in tensors and mine[key].shape != tensors[key].shape]
        if strange:
            raise ValueError(f"{type(self).__name__}: the saved state differs in {strange[:3]}; use its recipe")
        for key, value in mine.items():
            value.detach().copy_(tensors[key])
