"""Find the linear maps inside a model's repeated blocks by structure, whatever they are called.

A block is an element of a `ModuleList` (or one of several elements of one class in a `Sequential`) with a part that
maps vectors to vectors of the same size, as attention and feed-forward do. So lists of prediction heads, convolutions
and projections to another size hold no blocks. Embeddings, poolers and heads stand outside the lists.
"""

import re
from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

_FUSED = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
_NOT_MAPS = re.compile("conv|embed|norm|position|router", re.IGNORECASE)  # in names of classes
_TABLES = re.compile("bias|emb|token|pos|log|scale|norm")  # in names of parameters
_PLAIN = (nn.Module, nn.ModuleList, nn.ModuleDict, nn.Sequential)


def block_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return the weights of all linear maps inside the blocks of a model, each once.

    Linear maps are `nn.Linear`, the `Conv1D` of transformers, the projections of `nn.MultiheadAttention`, and weights
    of three or more dimensions that a module holds itself, such as those of experts. Routers are left out: a router is
    called so, or maps to as many numbers as there are experts beside it, or to one.

    Raises:
        ValueError: if a linear map computes its weight from other parameters.

    Example:
        >>> encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
        >>> [tuple(weight.shape) for weight in block_weights(encoder)]
        [(24, 8), (8, 8), (16, 8), (8, 16)]
    """
    found: dict[int, nn.Parameter] = {}
    for name, block in _blocks(model):
        routers = _routers(block)
        for inner, module in block.named_modules(prefix=name):
            if module not in routers:
                found |= {id(weight): weight for weight in _map_weights(module, inner)}
    return list(found.values())


def _blocks(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the blocks by name, also those inside other blocks."""
    for name, module in model.named_modules():
        elements = dict(module.named_children()) if isinstance(module, nn.ModuleList | nn.Sequential) else {}
        if isinstance(module, nn.Sequential):
            classes = [type(element) for element in elements.values()]
            elements = {key: element for key, element in elements.items() if classes.count(type(element)) > 1}
        for key, element in elements.items():
            if _is_block(element):
                yield f"{name}.{key}" if name else key, element


def _is_block(element: nn.Module) -> bool:
    parts = list(element.modules())
    if isinstance(element, nn.ModuleList | nn.ModuleDict) or any(isinstance(part, PreTrainedModel) for part in parts):
        return False  # the lists inside are looked at for themselves
    return any(map(_maps_back, parts))


def _maps_back(module: nn.Module) -> bool:
    """Tell whether a module's last linear map leads back to the size that an earlier one starts from."""
    if isinstance(module, nn.MultiheadAttention) or _own_maps(module):
        return True
    if isinstance(module, nn.ModuleList | nn.ModuleDict) or any(map(_is_list_of_maps, module.modules())):
        return False
    maps = [part for part in module.modules() if _is_map(part)]
    sizes = [(part.nx, part.nf) if isinstance(part, Conv1D) else (part.in_features, part.out_features) for part in maps]
    return bool(sizes) and sizes[-1][1] in [start for start, _ in sizes[:-1]]


def _is_list_of_maps(module: nn.Module) -> bool:
    """Tell whether a module is a list of nothing but linear maps, which is the form of prediction heads."""
    return isinstance(module, nn.ModuleList) and len(module) > 0 and all(map(_is_map, module))


def _is_map(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear | Conv1D)


def _map_weights(module: nn.Module, name: str) -> list[nn.Parameter]:
    """Return the weights of a module that are linear maps, without those of its children."""
    if _is_map(module):
        weight = module._parameters.get("weight")
        if weight is None:
            raise ValueError(
                f"prunable_weights: {name}.weight is computed from other parameters; undo that first, for instance "
                "with torch.nn.utils.prune.remove or parametrize.remove_parametrizations"
            )
        return [weight] if weight.numel() else []
    if isinstance(module, nn.MultiheadAttention):
        return [weight for key in _FUSED if (weight := module._parameters.get(key)) is not None]
    return _own_maps(module)


def _own_maps(module: nn.Module) -> list[nn.Parameter]:
    """Return the linear maps among the parameters that a module of somebody's own class holds itself."""
    bases = [base for base in type(module).__mro__ if base.__module__.startswith("torch.nn.modules")]
    if _NOT_MAPS.search(type(module).__name__) or not set(bases) <= set(_PLAIN):
        return []
    least = 2 if re.search("Linear$|Expert", type(module).__name__) else 3
    return [
        weight
        for key, weight in module._parameters.items()
        if weight is not None and weight.ndim >= least and min(weight.shape) > 1 and not _TABLES.search(key)
    ]


def _routers(block: nn.Module) -> set[nn.Module]:
    """Return the linear maps of a block that choose among its experts."""
    routers: set[nn.Module] = set()
    for name, module in block.named_modules():
        if "router" in f"{name} {type(module).__name__}".lower():
            routers |= set(module.modules())
        counts = set().union(*map(_expert_counts, module.children()))
        for child in module.children():
            maps = [part for part in child.modules() if _is_map(part)]
            if counts and len(maps) == 1 and getattr(maps[0], "out_features", 0) in {1, *counts}:
                routers |= set(maps)
    return routers


def _expert_counts(module: nn.Module) -> set[int]:
    """Return how many experts a module holds: as a list of modules, or in the first dimension of its weights."""
    if isinstance(module, nn.ModuleList | nn.ModuleDict):
        return {len(module)} if len(module) > 1 and len({type(each) for each in module.children()}) == 1 else set()
    return {weight.shape[0] for weight in _own_maps(module) if weight.ndim > 2}
