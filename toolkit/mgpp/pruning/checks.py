"""Check the weights that a Pruner gets."""

import warnings
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def check_weights(weights: Mapping[str, nn.Parameter]) -> None:
    """Raise ValueError unless these are trainable parameters by name, each once.

    Example:
        >>> check_weights({"w": nn.Parameter(torch.ones(2))})
    """
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError("Pruner: weights must be a dict of parameters by name; see prunable_weights(model)")
    if len({id(weight) for weight in weights.values()}) < len(weights):
        raise ValueError("Pruner: weights holds one parameter under two names; keep one, as prunable_weights does")
    for name, weight in weights.items():
        if not weight.requires_grad:
            raise ValueError(f"Pruner: {name} has requires_grad=False; unfreeze it, or exclude it from the targets")


def check_same(tensors: Mapping[str, Tensor], targets: Mapping[str, Tensor], caller: str) -> None:
    """Raise ValueError unless tensors and targets have the same names and shapes.

    Example:
        >>> check_same({"w": torch.ones(2)}, {"w": torch.zeros(2)}, "Pruner.bind")
    """
    for name in sorted(tensors.keys() | targets.keys()):
        shapes = [tuple(each[name].shape) if name in each else "missing" for each in (tensors, targets)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{caller}: {name} is {shapes[0]}, but the target is {shapes[1]}; use the same model")


def warn_of_half_precision(weights: Mapping[str, Tensor], stacklevel: int = 3) -> None:
    """Warn once if weights are bfloat16 or float16.

    Example:
        >>> warn_of_half_precision({"w": torch.ones(2)})
    """
    for name, weight in weights.items():
        if weight.dtype in (torch.bfloat16, torch.float16):
            share = torch.finfo(weight.dtype).eps / 2
            warnings.warn(
                f"{name} is {str(weight.dtype).removeprefix('torch.')}: an update smaller than about {share:.1g} of a "
                "weight is rounded away, so many weights never move. Load the model with dtype=torch.float32 and train "
                "with autocast (bf16=True)",
                stacklevel=stacklevel,
            )
            return
