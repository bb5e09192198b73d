"""The pruning threshold: the exact k-th smallest magnitude over many tensors, and the masks that follow from it."""

import operator
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def named(tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor) -> dict[str, Tensor]:
    """Tensors under names; a position serves as the name of a tensor that has none."""
    if isinstance(tensors, Tensor):
        tensors = [tensors]
    return dict(tensors if isinstance(tensors, Mapping) else {str(i): t for i, t in enumerate(tensors)})


def magnitudes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """|w| of each tensor, in the widest of their types, so that all compare exactly.

    Raises:
        ValueError: if a tensor holds NaN; the message names it.
    """
    dtype = torch.float16 if not tensors else next(iter(tensors.values())).dtype
    for tensor in tensors.values():
        dtype = torch.promote_types(dtype, tensor.dtype)
    values = {name: tensor.detach().abs().to(dtype) for name, tensor in tensors.items()}
    for name, value in values.items():
        if value.isnan().any():
            raise ValueError(f"{name} holds NaN, which has no magnitude to rank; lower the learning rate")
    return values


def magnitude_threshold(tensors: Mapping[str, Tensor] | Iterable[Tensor] | Tensor, k: int) -> float:
    """The pruning threshold: the k-th smallest magnitude over all tensors together, exactly.

    Equal to `torch.kthvalue` of the concatenated magnitudes. Not the prior threshold τ, which knows no weights.

    Args:
        tensors: named tensors, a sequence of tensors, or one tensor, of any shapes.
        k: rank, from 1 (the smallest magnitude) to the number of elements.

    Raises:
        ValueError: if k is out of range or a tensor holds NaN.
        TypeError: if k is not a whole number.

    Example:
        >>> magnitude_threshold([torch.tensor([3.0, -1.0]), torch.tensor([[2.0], [-4.0]])], k=2)
        2.0
    """
    return _threshold(magnitudes(named(tensors)), operator.index(k))


def _threshold(values: dict[str, Tensor], k: int) -> float:
    total = sum(value.numel() for value in values.values())
    if not 1 <= k <= total:
        raise ValueError(f"magnitude_threshold: k={k} must be from 1 to the number of weights, {total}")
    return torch.cat([value.flatten() for value in values.values()]).kthvalue(k).values.item()


def smallest(
    tensors: Mapping[str, Tensor], k: int, *, gone: Mapping[str, Tensor] | None = None
) -> tuple[dict[str, Tensor], float]:
    """Masks that keep all but the k smallest magnitudes, exactly k False over all tensors, and the threshold.

    Of weights that tie at the threshold, the first in the order of the tensors and their flat index go. That order
    is the same on every rank and in every run.

    Args:
        tensors: named tensors; the masks come under the same names, True = kept.
        k: number of weights to remove, from 0; the threshold of k = 0 is 0.
        gone: masks, True = removed before; these rank first, before other zeros.

    Example:
        >>> masks, threshold = smallest({"w": torch.tensor([3.0, -1.0, 1.0, 1.0])}, k=2)
        >>> masks["w"].tolist(), threshold
        ([True, False, False, True], 1.0)
    """
    values = magnitudes(named(tensors))
    if k == 0:
        return {name: torch.ones_like(value, dtype=torch.bool) for name, value in values.items()}, 0.0
    for name, mask in (gone or {}).items():
        values[name].masked_fill_(mask, -1.0)
    threshold = _threshold(values, k)
    masks = {name: value >= threshold for name, value in values.items()}
    ties_to_cut = k - sum(int((~mask).sum()) for mask in masks.values())
    for name, value in values.items():
        ties_to_cut -= _cut_first_ties_(masks[name], value == threshold, ties_to_cut)
    return masks, max(threshold, 0.0)


def _cut_first_ties_(mask: Tensor, ties: Tensor, limit: int) -> int:
    """Set the first `limit` of the ties to False; return how many that were."""
    chosen = ties.nonzero()[:limit]  # (ties, dimensions), in the order of the flat index
    if len(chosen):  # an empty index of a 0-d tensor would mean all of it
        mask[chosen.unbind(1)] = False
    return len(chosen)
