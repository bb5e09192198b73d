"""Follow single weights through the optimizer's step: the gradient of the loss, the penalty's pull, Adam's moments."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mgpp.pruning.pruner import Pruner
from mgpp.pruning.sharded.shards import Shards, part_of

MOMENTS = {"first_moment": "exp_avg", "second_moment": "exp_avg_sq"}  # as Adam's state names them


def values_at(weights: Mapping[str, Tensor], followed: Mapping[str, Tensor], tensors: Mapping[str, Any]) -> np.ndarray:
    """Return what tensors of the weights' shapes hold at the followed flat indices, as float32; NaN where one is None.

    With several processes all of them call it; each adds what it holds.

    Args:
        weights: the targets, or `Shards` of them.
        followed: flat indices by the weights' names, from `mgpp.pruning.observer.follow`.
        tensors: by the weights' names, in the shapes that this process holds.
    """
    shards = Shards.of(weights)
    found = [_values_of(shards, name, index, tensors.get(name)) for name, index in followed.items()]
    return shards.peers.sum(np.concatenate(found)).astype(np.float32)


def _values_of(shards: Shards, name: str, index: Tensor, tensor: Tensor | None) -> np.ndarray:
    """Return the values at flat indices; 0 where another process holds them."""
    first, count = shards.first(name), shards[name].numel()
    here = (index >= first) & (index < first + count)
    values = torch.zeros(len(index))
    values[here] = torch.nan
    if tensor is not None:
        flat = tensor.detach().flatten()
        values[here] = flat[(index[here] - first).to(flat.device)].float().cpu()
    return values.numpy()


class Dynamics:
    """Measure the followed weights in the middle of a training step.

        before_penalty()       after backward and clipping: the weight and the gradient of the loss
        after_penalty()        the pull: what the penalty has added to the gradient
        rows(step, optimizer)  after the optimizer's step, before a prune event: its length, and Adam's moments

    Args:
        pruner: of the training.
        followed: flat indices by name.
    """

    def __init__(self, pruner: Pruner, followed: Mapping[str, Tensor]):
        self.pruner, self.followed = pruner, followed
        self._seen: dict[str, np.ndarray] = {}

    def _weights(self) -> np.ndarray:
        return values_at(self.pruner.shards, self.followed, self.pruner.shards)

    def _gradients(self) -> np.ndarray:
        shards = self.pruner.shards
        with shards.gradients():
            return values_at(shards, self.followed, {name: part.grad for name, part in shards.items()})

    def before_penalty(self) -> None:
        """Read the weights and the gradient of the loss."""
        self._seen = {"value": self._weights(), "loss_gradient": self._gradients()}

    def after_penalty(self) -> None:
        """Read what the penalty has added."""
        self._seen["pull"] = self._gradients() - np.nan_to_num(self._seen["loss_gradient"])

    def rows(self, step: int, optimizer: Any) -> pd.DataFrame:
        """Return one row a followed weight; moments are NaN for an optimizer that is not Adam.

        Args:
            step: the logged step.
            optimizer: that has just made its step.
        """
        rows = {
            "step": np.int32(step),
            "name": np.repeat(list(self.followed), [len(index) for index in self.followed.values()]),
            "index": torch.cat(list(self.followed.values())).numpy(),
            **self._seen,
        }
        rows |= {column: self._moments(optimizer, key) for column, key in MOMENTS.items()}
        return pd.DataFrame(rows | {"step_length": self._weights() - self._seen["value"]})

    def _moments(self, optimizer: Any, key: str) -> np.ndarray:
        state = {name: optimizer.state.get(weight, {}).get(key) for name, weight in self.pruner.weights.items()}
        parts = {name: None if moment is None else part_of(moment) for name, moment in state.items()}
        return values_at(self.pruner.shards, self.followed, parts)
