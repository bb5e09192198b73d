"""Choose the weights to prune: by structure, or with include and exclude patterns; and a table of the result."""

import difflib
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from torch import nn

from mgpp.architectures import kind_of, layer_of, stack_of
from mgpp.pruning.blocks import block_weights

Patterns = str | Sequence[str] | None

# Wrappers put these before the names of parameters; users know the model's own names.
WRAPPER_PREFIXES = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class Targets(dict[str, nn.Parameter]):
    """Weights to prune by name, which know the weights of all linear maps inside the blocks of their model.

    Attributes:
        in_blocks: number of weights by name; empty for a model without blocks.
    """

    in_blocks: Mapping[str, int]


def prunable_weights(
    model: nn.Module, *, include: Patterns = None, exclude: Patterns = None, preset: str | None = None
) -> Targets:
    r"""Return the prunable weights by name, in the model's order; tied weights appear once.

    By default these are the weights of all linear maps inside the model's repeated blocks, experts among them. They are
    found by structure, so that the names don't matter; see `mgpp.pruning.blocks`. Embeddings, heads, poolers, norms,
    biases, routers and tables of relative positions are not among them (Zhang, Sun & Liang 2024, section 4).

    Args:
        model: any module; its blocks are the elements of a `ModuleList`, or of one class in a `Sequential`.
        include: regular expressions, searched in parameter names, in place of the default.
        exclude: regular expressions, searched in parameter names; their matches are left out.
        preset: has no effect, with a warning; recipes of earlier versions name one.

    Raises:
        ValueError: if there are no blocks, a pattern matches nothing, nothing is left, a wrapper has split the
            matrices, or weights inside the blocks are frozen while others are trained, as under an adapter.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        >>> [(name, tuple(w.shape)) for name, w in prunable_weights(model, include=r"\.weight$").items()]
        [('0.weight', (2, 3)), ('1.weight', (1, 2))]
    """
    if preset is not None:
        warnings.warn(f"preset={preset!r} has no effect: targets are found by structure", stacklevel=2)
    candidates = parameters_by_name(model)
    found = {id(weight) for weight in block_weights(model)}
    in_blocks = [name for name, weight in candidates.items() if id(weight) in found]
    if include is None and not in_blocks:
        raise ValueError(
            f"prunable_weights: {type(model).__name__} has no repeated blocks with linear maps (elements of a "
            r"ModuleList); choose weights by name, for instance include=r'\.weight$'"
        )
    chosen = in_blocks if include is None else _match(include, candidates, "include")
    excluded = [] if exclude is None else _match(exclude, candidates, "exclude")
    names = set(chosen).difference(excluded)
    targets = Targets({name: weight for name, weight in candidates.items() if name in names})
    targets.in_blocks = {name: candidates[name].numel() for name in in_blocks}
    if not targets:
        raise ValueError(f"prunable_weights: exclude={exclude!r} leaves no weight to prune; narrow it")
    if include is None:
        _check_trained(targets, candidates)
    if vectors := [name for name, weight in targets.items() if weight.ndim < 2]:
        warnings.warn(
            f"include={include!r} chooses vectors, such as {vectors[0]}; biases and norms are hardly ever pruned, "
            f"exclude={vectors[0].rpartition('.')[2] + '$'!r} leaves out such ones",
            stacklevel=2,
        )
    return targets


def _check_trained(targets: Mapping[str, nn.Parameter], candidates: Mapping[str, nn.Parameter]) -> None:
    """Raise ValueError for frozen weights beside trained ones; a model of which nothing is trained may be looked at."""
    frozen = [name for name, weight in targets.items() if not weight.requires_grad]
    if frozen and any(weight.requires_grad for weight in candidates.values()):
        raise ValueError(
            f"prunable_weights: {len(frozen)} of {len(targets)} targets are frozen (requires_grad=False), such as "
            f"{frozen[0]}: they would be pruned without being trained. If they are the base of an adapter (LoRA), "
            "merge it first; otherwise unfreeze them, or leave them out with include= or exclude="
        )


def parameters_by_name(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return all parameters by the model's own names, without the prefixes of wrappers.

    Raises:
        ValueError: if a wrapper has split the parameters (FSDP1, DeepSpeed ZeRO-3).

    Example:
        >>> wrapped = nn.Sequential()
        >>> wrapped.add_module("_orig_mod", nn.Linear(2, 1))  # as torch.compile does
        >>> list(parameters_by_name(wrapped))
        ['weight', 'bias']
    """
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise ValueError(
            "the model is wrapped in FSDP1, which flattens its matrices; use FSDP2: "
            "fsdp_config: {version: 2}, or accelerate launch --fsdp_version 2"
        )
    parameters = dict(model.named_parameters())
    if any(hasattr(weight, "ds_id") for weight in parameters.values()):
        raise ValueError("the model is wrapped in DeepSpeed ZeRO-3, which empties its parameters; use DDP or FSDP2")
    clean = {WRAPPER_PREFIXES.sub("", name): weight for name, weight in parameters.items()}
    return clean if len(clean) == len(parameters) else parameters  # names that clash were not a wrapper's


def _match(patterns: Patterns, candidates: Mapping[str, nn.Parameter], field: str) -> list[str]:
    """Return the names that any pattern matches; raise ValueError for a pattern without a match."""
    matched: list[str] = []
    patterns = [patterns] if isinstance(patterns, str | re.Pattern) else list(patterns or ())
    if not patterns:
        raise ValueError(f"prunable_weights: {field} is an empty list; give patterns, or None")
    for pattern in patterns:
        try:
            found = [name for name in candidates if re.search(pattern, name)]
        except re.error as error:
            raise ValueError(
                f"prunable_weights: {field}={pattern!r} is not a regular expression ({error}); .* matches anything"
            ) from None
        if not found:
            near = _nearest_names(str(pattern), candidates)
            raise ValueError(
                f"prunable_weights: {field}={pattern!r} matches no parameter (tied weights have their first name); "
                f"nearest: {near}"
            )
        matched += found
    return matched


def _nearest_names(pattern: str, names: Iterable[str], count: int = 3) -> str:
    """Return the names most similar to the pattern, compared over as many dotted parts as it has."""
    plain = re.sub(r"[\\^$()?*+]", "", pattern)
    width = plain.count(".") + 1

    def _likeness(name: str) -> float:
        parts = name.split(".")
        runs = [".".join(parts[i : i + width]) for i in range(max(1, len(parts) - width + 1))]
        return max(difflib.SequenceMatcher(None, plain, run).ratio() for run in runs)

    return ", ".join(sorted(names, key=_likeness, reverse=True)[:count])


def target_table(weights: Mapping[str, nn.Parameter]) -> pd.DataFrame:
    """Return a frame with a row a target: name, stack, layer, kind, shape, count, share, share_of_blocks.

    `share` is of all targets. `share_of_blocks` is of all linear maps inside the model's blocks, so its sum says how
    much of them is chosen; NaN where `weights` do not come from `prunable_weights`, and outside the blocks.

    Example:
        >>> table = target_table({"a.weight": nn.Parameter(nn.Linear(3, 2).weight)})
        >>> table["count"].tolist(), table["share"].tolist()
        ([6], [1.0])
    """
    total = sum(weight.numel() for weight in weights.values())
    in_blocks = getattr(weights, "in_blocks", {})
    whole = sum(in_blocks.values())
    rows = [
        {
            "name": name,
            "stack": stack_of(name),
            "layer": layer_of(name),
            "kind": kind_of(name),
            "shape": tuple(weight.shape),
            "count": weight.numel(),
            "share": weight.numel() / total,
            "share_of_blocks": in_blocks[name] / whole if name in in_blocks else math.nan,
        }
        for name, weight in weights.items()
    ]
    return pd.DataFrame(rows)
