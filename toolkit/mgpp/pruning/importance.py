"""What is ranked: at a prune event the weights of the lowest importance go.

An `Importance` sees every training step through four hooks, which the `Pruner` calls:

    begin_step(t)     before the forward pass
    observe(t)        after backward: the gradients are those of the loss alone; skip(t) where they have overflowed
    update(t)         after the optimizer's step, before anything is pruned
    finish()          when the mask is frozen: from here on importance is no longer needed
What it must remember stands in `tensors()`, which a checkpoint holds.

Where processes share out the weights, it sees the part that is held here (`mgpp.pruning.sharded.shards`); what it
remembers of a weight has the part's shape, and the weight's name at the end of its key.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mgpp.architectures import kind_of
from mgpp.prior.penalties import check_count, check_number
from mgpp.prior.schedules import CubicSparsity
from mgpp.pruning.sharded.shards import Shards


class Importance:
    """Magnitude |θ|, and what all kinds of importance share (Han et al. 2015; Zhu & Gupta 2017).

    Attributes:
        by_magnitude: True if the weights' own magnitudes are ranked, False if `ranks()` are numbers of any sign.
        keeps_weights: True if a weight lives on under the mask and comes back as it was, see `mgpp.methods.gates`.
        must_freeze: True if the mask has to be frozen at t_f.

    Example:
        >>> importance = Importance()
        >>> importance.attach({"w": torch.tensor([0.5, -0.1])})
        >>> importance.ranks()
        {'w': tensor([ 0.5000, -0.1000])}
    """

    by_magnitude: ClassVar[bool] = True
    keeps_weights: ClassVar[bool] = False
    must_freeze: ClassVar[bool] = False

    def attach(self, weights: Mapping[str, Tensor]) -> None:
        """Take the targets, and make room for what must be remembered of them."""
        self.weights = Shards.of(weights)

    def schedule(self, sparsity: CubicSparsity) -> CubicSparsity:
        """The sparsity schedule; a mask that is given has its own."""
        return sparsity

    def begin_step(self, step: int) -> bool:
        """Before the forward pass; True if the weights were changed, so that the mask must be laid on them again."""
        return False

    def observe(self, step: int) -> None:
        """After backward, before a penalty is added."""

    def skip(self, step: int) -> None:
        """Instead of `observe`, where a gradient is not finite, as when half precision overflows."""

    def update(self, step: int) -> None:
        """After the optimizer's step."""

    def finish(self) -> None:
        """Forget what is not needed once the mask is frozen."""

    def ranks(self) -> Mapping[str, Tensor]:
        """What is ranked, of the weights' names and shapes."""
        return dict(self.weights)

    def tensors(self) -> dict[str, Tensor]:
        """All that must be remembered, by name; `load` restores it."""
        return {}

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `tensors` gave.

        Raises:
            ValueError: if names or shapes differ from this importance's own.
        """
        mine = self.tensors()
        strange = sorted(mine.keys() ^ tensors.keys())
        strange += [key for key in mine if key in tensors and mine[key].shape != tensors[key].shape]
        if strange:
            raise ValueError(
                f"{type(self).__name__}: the state that was saved differs in {strange[:3]}; use its recipe"
            )
        with torch.no_grad():
            for key, value in mine.items():
                value.copy_(tensors[key])


class Sensitivity(Importance):
    """PLATON: smoothed sensitivity times its uncertainty (Zhang et al. 2022, equations 4 to 8).

        I = mean over a window of |θ ∂L/∂θ|        Ī ← β1 Ī + (1 - β1) I
        Ū ← β2 Ū + (1 - β2) |I - Ī|                importance Ī Ū
    Ī and Ū start at 0 and move when a window is full; before the first is, what it holds so far is ranked. In the paper
    the window is a single step; the authors' code averages over the steps between two prune events. It takes θ after
    the optimizer's step, the paper and we before.

    Args:
        beta1: β1 in (0, 1); near 0 it forgets all but the last window.
        beta2: β2 in [0, 1).
        window: steps that are averaged, at least 1.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> w = torch.nn.Parameter(torch.tensor([2.0, -1.0]))
        >>> w.grad, importance = torch.tensor([0.5, 3.0]), Sensitivity(beta1=0.5, beta2=0.0, window=1)
        >>> importance.attach({"w": w})
        >>> importance.observe(0)
        >>> importance.ranks()["w"]
        tensor([0.2500, 2.2500])
    """

    by_magnitude: ClassVar[bool] = False

    def __init__(self, beta1: float = 0.85, beta2: float = 0.95, window: int = 10):
        hint = "it is the share of the past that is kept, such as 0.85"
        self.beta1 = check_number("PLATON", "beta1", beta1, 1e-6, 1 - 1e-9, f"{hint}; at 0 nothing deviates from Ī")
        self.beta2 = check_number("PLATON", "beta2", beta2, 0, 1 - 1e-9, hint)
        self.window = check_count("PLATON", "window", window, 1)

    def attach(self, weights: Mapping[str, Tensor]) -> None:
        """Start with zeros."""
        super().attach(weights)
        self.mean, self.uncertainty, self.sum = (
            {name: _zeros_like(weight) for name, weight in weights.items()} for _ in range(3)
        )
        self.seen = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def observe(self, step: int) -> None:
        """Add |θ ∂L/∂θ| to the window, and close the window when it is full."""
        self.seen += 1
        full = int(self.seen) % self.window == 0
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.sum[name] += (weight.to(self.sum[name].dtype) * weight.grad).abs_()
            if full:
                self._smooth(name)

    def _smooth(self, name: str) -> None:
        sensitivity, mean = self.sum[name].div_(self.window), self.mean[name]
        mean.lerp_(sensitivity, 1 - self.beta1)
        self.uncertainty[name].lerp_(sensitivity.sub_(mean).abs_(), 1 - self.beta2)
        self.sum[name].zero_()

    def finish(self) -> None:
        """Free the three floats a weight."""
        self.mean, self.uncertainty, self.sum = {}, {}, {}

    def ranks(self) -> Mapping[str, Tensor]:
        """Ī Ū, or the open window if none was full yet."""
        if int(self.seen) < self.window:
            return self.sum
        return {name: mean * self.uncertainty[name] for name, mean in self.mean.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Ī, Ū, the open window's sum, and the number of steps seen."""
        kinds = {"mean": self.mean, "uncertainty": self.uncertainty, "sum": self.sum}
        named = {f"{kind}.{name}": tensor for kind, each in kinds.items() for name, tensor in each.items()}
        return {"seen": self.seen, **named}


def _zeros_like(weight: Tensor) -> Tensor:
    """Zeros in float32 at least: products of small numbers vanish in half precision."""
    return torch.zeros_like(weight, dtype=torch.promote_types(weight.dtype, torch.float32), requires_grad=False)


class GivenMask(Importance):
    """A mask that is given, for sparse transfer: the weights that are zero in a pruned model stay zero.

    Args:
        masks: by the names that the weights had in the pruned model, True = kept; a name matches a target that equals
            it or ends in it, or that it ends in, at a dot. None: what is zero in the targets now.

    Raises:
        ValueError: on `attach`, if a mask matches no target, or has another shape, or a target has no mask, or nothing
            is zero.

    Example:
        >>> importance = GivenMask()
        >>> importance.attach({"w": torch.tensor([0.5, 0.0])})
        >>> importance.schedule(CubicSparsity(0.0, 0.9, 5, 9))
        CubicSparsity(initial_sparsity=0.5, final_sparsity=0.5, begin_step=0, end_step=1)
    """

    by_magnitude: ClassVar[bool] = False

    def __init__(self, masks: Mapping[str, Tensor] | None = None):
        self.given = masks

    @torch.no_grad()
    def attach(self, weights: Mapping[str, Tensor]) -> None:
        """Find the mask of every target, and lay it on."""
        super().attach(weights)
        own = {name: weight.detach() != 0 for name, weight in weights.items()}
        self.masks = own if self.given is None else _matched(self.given, self.weights)
        self.zeros = int(self.weights.peers.sum([sum(int((~mask).sum()) for mask in self.masks.values())])[0])
        if not self.zeros:
            raise ValueError(
                "transfer: no weight is zero, so there is no mask to keep; take a pruned model, such as "
                "checkpoints/final of a run, and see that its names match"
            )
        for name, weight in self.weights.items():
            weight.mul_(self.masks[name])

    def schedule(self, sparsity: CubicSparsity) -> CubicSparsity:
        """The mask's own sparsity, from the first step on."""
        share = self.zeros / self.weights.total
        return CubicSparsity(share, share, 0, 1)

    def ranks(self) -> Mapping[str, Tensor]:
        """1 for what stays, 0 for what goes."""
        return {name: mask.float() for name, mask in self.masks.items()}

    def finish(self) -> None:
        """The Pruner has the mask now."""
        self.masks = {}


def _matched(masks: Mapping[str, Tensor], weights: Shards) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for given, mask in masks.items():
        hits = [name for name in weights if f".{name}".endswith(f".{given}") or f".{given}".endswith(f".{name}")]
        if not hits and bool(mask.all()):
            continue  # a matrix that was not pruned then and is no target now
        if not hits:
            raise ValueError(
                f"transfer: the mask {given} matches no target; targets are {', '.join(list(weights)[:3])}…"
            )
        if mask.shape != weights.whole[hits[0]].shape:
            shapes = f"{tuple(mask.shape)}, its weight {tuple(weights.whole[hits[0]].shape)}"
            raise ValueError(f"transfer: the mask {given} has shape {shapes}; take a model of the same sizes")
        found[hits[0]] = weights.part(hits[0], mask).to(weights[hits[0]].device)
    missing = [name for name in weights if name not in found]
    if missing:
        raise ValueError(f"transfer: the target {missing[0]} has no mask; prune the same targets, or exclude it")
    return {name: found[name] for name in weights}


def read_masks(folder: str | Path) -> dict[str, Tensor]:
    """The masks of a pruned model: what is not zero in its matrices.

    Of the matrices whose names a preset knows there are all, since one may have lost nothing. Others count only where
    none of these holds a zero, and if they do: an embedding's row for padding is zero without having been pruned.

    Args:
        folder: with the model's safetensors files, in one or several parts.

    Raises:
        ValueError: if there is no such file, or it is damaged, or no matrix in it holds a zero.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise ValueError(f"transfer.mask={str(folder)!r} holds no safetensors file; give the folder of a pruned model")
    try:
        matrices = {name: tensor for file in files for name, tensor in load_file(file).items() if tensor.ndim == 2}
    except (SafetensorError, OSError) as error:
        raise ValueError(f"transfer.mask={str(folder)!r} can't be read: {error}") from None
    masks = {name: matrix != 0 for name, matrix in matrices.items()}
    pruned = {name: mask for name, mask in masks.items() if not bool(mask.all())}
    if not pruned:
        raise ValueError(f"transfer.mask={str(folder)!r}: no matrix holds a zero; give the folder of a pruned model")
    known = {name: mask for name, mask in masks.items() if kind_of(name) != "other"}
    return known if known.keys() & pruned.keys() else pruned
