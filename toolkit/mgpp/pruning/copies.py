"""Find the targets in other weights of the same model, such as averages, and set their zeros."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mgpp.pruning.sharded.shards import Shards, is_dtensor, part_of
from mgpp.pruning.targets import WRAPPER_PREFIXES, parameters_by_name


@torch.no_grad()
def zero_in_copy_(model: nn.Module | Mapping[str, Tensor], shards: Shards, masks: Mapping[str, Tensor]) -> int:
    """Set to 0 what masks (True = kept) do not keep, and return how many of the targets are zero.

    Args:
        model: a model or a state dict, changed in place.
        shards: the targets.
        masks: of this process's parts of the targets.

    Raises:
        ValueError: if a target is missing or has another shape; nothing is changed then.
    """
    found = find_copies(model, shards.whole)
    zeros = []
    for name, tensor in found.items():
        kept = masks[name] if is_dtensor(tensor) else shards.gather(name, masks[name])
        part = part_of(tensor).detach()
        part.masked_fill_(~kept.to(part.device), 0)
        zeros.append(int((part == 0).sum()))
    sharded = any(is_dtensor(tensor) for tensor in found.values())
    return int(shards.peers.sum([sum(zeros)])[0]) if sharded else sum(zeros)


def find_copies(model: nn.Module | Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that have the targets' names, with or without one prefix before all of them.

    Raises:
        ValueError: if a target is missing, has another shape, or is there under several prefixes.

    Example:
        >>> found = find_copies({"module.a.w": torch.ones(2), "n_averaged": torch.ones(())}, {"a.w": torch.ones(2)})
        >>> found["a.w"]
        tensor([1., 1.])
    """
    named = parameters_by_name(model) if isinstance(model, nn.Module) else model
    tensors: dict[str, Tensor] = {WRAPPER_PREFIXES.sub("", name): tensor for name, tensor in named.items()}
    first = next(iter(targets))
    prefixes = [name.removesuffix(first) for name in tensors if f".{name}".endswith(f".{first}")]
    whole = [prefix for prefix in prefixes if all(prefix + name in tensors for name in targets)]
    if not whole:
        prefix = min(prefixes, key=len, default="")
        missing = next(name for name in targets if prefix + name not in tensors)
        raise ValueError(f"apply_to: the target {missing} is missing; give a model or state dict with the same names")
    if len(whole) > 1 and "" not in whole:
        raise ValueError(f"apply_to: the target {first} is there under {sorted(whole)}; give one of these parts alone")
    prefix = "" if "" in whole else whole[0]
    found = {name: tensors[prefix + name] for name in targets}
    for name, tensor in found.items():
        if tensor.shape != targets[name].shape:
            raise ValueError(f"apply_to: {name} is {tuple(tensor.shape)}, but the target {tuple(targets[name].shape)}")
    return found
