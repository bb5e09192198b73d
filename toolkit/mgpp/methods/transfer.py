"""Define sparse transfer: the mask of a model that was pruned before."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mgpp.methods.base import Method
from mgpp.palette import DARK_GREY
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.importance import Importance

if TYPE_CHECKING:
    from torch import Tensor


class GivenMask(Importance):
    """A given mask: weights that are zero in a pruned model stay zero.

    Args:
        masks: True = kept, by the weights' names in the pruned model. A name matches a target if one of the two ends in
            the other, at a dot. None: the zeros of the targets now.

    Raises:
        ValueError: on `attach`, if a mask matches no target or has another shape, a target has no mask, or nothing is
            zero.

    Example:
        >>> import torch
        >>> importance = GivenMask()
        >>> importance.attach({"w": torch.tensor([0.5, 0.0])})
        >>> importance.schedule(CubicSparsity(0.0, 0.9, 5, 9))
        CubicSparsity(initial_sparsity=0.5, final_sparsity=0.5, begin_step=0, end_step=1)
    """

    by_magnitude = False

    def __init__(self, masks: "Mapping[str, Tensor] | None" = None):
        self.given = masks

    def attach(self, weights: "Mapping[str, Tensor]") -> None:
        """Find the mask of every target, and apply it."""
        super().attach(weights)
        own = {name: weight.detach() != 0 for name, weight in weights.items()}
        self.masks = own if self.given is None else self._matched(self.given)
        self.zeros_given = int(self.weights.peers.sum([sum(int((~mask).sum()) for mask in self.masks.values())])[0])
        if not self.zeros_given:
            raise ValueError("transfer: no weight is zero; give a pruned model, such as checkpoints/final of a run")
        for name, weight in self.weights.items():
            weight.detach().mul_(self.masks[name])

    def _matched(self, masks: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
        """Return this process's part of the given masks, by target."""
        found, weights = {}, self.weights
        for given, mask in masks.items():
            hits = [name for name in weights if f".{name}".endswith(f".{given}") or f".{given}".endswith(f".{name}")]
            if not hits and bool(mask.all()):
                continue  # a matrix that was not pruned then and is no target now
            if not hits or mask.shape != weights.whole[hits[0]].shape:
                shapes = {name: tuple(weights.whole[name].shape) for name in (hits or list(weights))[:3]}
                raise ValueError(f"transfer: the mask {given} {tuple(mask.shape)} fits no target, such as {shapes}")
            found[hits[0]] = weights.part(hits[0], mask).to(weights[hits[0]].device)
        missing = [name for name in weights if name not in found]
        if missing:
            raise ValueError(f"transfer: the target {missing[0]} has no mask; prune the same targets, or exclude it")
        return {name: found[name] for name in weights}

    def schedule(self, sparsity: CubicSparsity) -> CubicSparsity:
        """Return a schedule with the mask's own sparsity from the first step on."""
        share = self.zeros_given / self.weights.total
        return CubicSparsity(share, share, 0, 1)

    def ranks(self) -> "Mapping[str, Tensor]":
        """Return 1 for kept weights, 0 for removed ones."""
        return {name: mask.float() for name, mask in self.masks.items()}

    def finish(self) -> None:
        """Free the masks; the Pruner has them now."""
        self.masks = {}


def read_masks(folder: str | Path) -> "dict[str, Tensor]":
    """Read the masks of a pruned model: True where its matrices are not zero.

    Masks of all linear maps inside the blocks are returned, since one of them may have lost nothing. Other matrices
    count only if none of these holds a zero, and only those that do: the row for padding of an embedding is zero
    without having been pruned. Names and shapes are those that `from_pretrained` gives the parameters, which may
    differ from those in the files.

    Args:
        folder: with the model's safetensors files, one or several. Without a config.json that names a model of
            transformers, the names in the files count, and a number between dots tells that a matrix is in a block.

    Raises:
        ValueError: if there is no such file, a file is damaged, or no matrix holds a zero.
    """
    from safetensors import SafetensorError

    try:
        weights, in_blocks = _weights_of(Path(folder))
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"transfer.mask={str(folder)!r} can't be read: {error}") from None
    masks = {name: weight != 0 for name, weight in weights.items() if weight.ndim > 1}
    pruned = {name: mask for name, mask in masks.items() if not bool(mask.all())}
    if not pruned:
        raise ValueError(f"transfer.mask={str(folder)!r}: no matrix in *.safetensors has a zero; give a pruned model")
    known = {name: mask for name, mask in masks.items() if name in in_blocks}
    return known if known.keys() & pruned.keys() else pruned


def _weights_of(folder: Path) -> "tuple[Mapping[str, Tensor], set[str]]":
    """Return the weights in a folder by name, and the names of those that are linear maps inside blocks."""
    from safetensors.torch import load_file

    from mgpp.pruning.blocks import block_weights
    from mgpp.pruning.saved import is_saved, load_saved

    if is_saved(folder):
        model = load_saved(folder)
        inside = {id(weight) for weight in block_weights(model)}
        return dict(model.named_parameters()), {n for n, weight in model.named_parameters() if id(weight) in inside}
    files = sorted(folder.glob("*.safetensors"))
    weights = {name: tensor for file in files for name, tensor in load_file(file).items()}
    return weights, {name for name in weights if re.search(r"\.\d+\.", name)}


@dataclass(frozen=True)
class Transfer(Method):
    """Sparse transfer: a pruned model is fine-tuned on another task, and its zeros stay zero.

    Source: upstream pruning as in Zafrir et al. (2021) and in Zhang, Sun & Liang (2024), section 5. `mask` is the
    folder of the pruned model, whose weights are matched by name. null: the zeros of the model that is trained. A mask
    that matches no target is an error.

    Cost: one bit a weight.
    """

    label = "transfer"
    color, line, marker = DARK_GREY, (0, (8, 1.5, 2, 1.5)), ">"
    section = "transfer"
    prunes = False
    mask: str | None = None

    def __post_init__(self) -> None:
        """Check nothing: the folder is read when training begins."""

    def importance(self) -> GivenMask:
        """Return the given mask."""
        return GivenMask(None if self.mask is None else read_masks(self.mask))
