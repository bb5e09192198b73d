"""Choose the weights to prune: presets for model families, include and exclude patterns, and a table of the result."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from torch import nn

from mgpp.architectures import ALIASES, PRESETS, kind_of, layer_of

Patterns = str | Sequence[str] | None

# Wrappers put these before the names of parameters; users know the model's own names.
_WRAPPER_PREFIXES = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


def prunable_weights(
    model: nn.Module, preset: str | None = None, include: Patterns = None, exclude: Patterns = None
) -> dict[str, nn.Parameter]:
    r"""Return the prunable weights by name, in the model's order; tied weights appear once.

    Without preset and include, `model.config.model_type` chooses the preset. No preset holds embeddings, pooler, heads,
    biases or LayerNorm (Zhang, Sun & Liang 2024, section 4).

    Args:
        model: any module; for presets, a model of the transformers library.
        preset: a key of `PRESETS`, or None.
        include: regular expressions, searched in parameter names, in place of a preset.
        exclude: regular expressions, searched in parameter names; their matches are left out.

    Raises:
        ValueError: if the preset is unknown, a pattern matches nothing, nothing is left, or a wrapper has split the
            matrices.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        >>> [(name, tuple(w.shape)) for name, w in prunable_weights(model, include=r"\.weight$").items()]
        [('0.weight', (2, 3)), ('1.weight', (1, 2))]
    """
    if preset is not None and include is not None:
        raise ValueError(
            f"prunable_weights: preset={preset!r} and include={include!r} can't be combined; give one of them"
        )
    candidates = parameters_by_name(model)
    chosen = _match_preset(model, preset, candidates) if include is None else _match(include, candidates, "include")
    if exclude is not None:
        excluded = _match(exclude, candidates, "exclude")
        chosen = [name for name in chosen if name not in excluded]
    if not chosen:
        raise ValueError(f"prunable_weights: exclude={exclude!r} leaves no weight to prune; narrow it")
    return {name: weight for name, weight in candidates.items() if name in set(chosen)}


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
    clean = {_WRAPPER_PREFIXES.sub("", name): weight for name, weight in parameters.items()}
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


def _match_preset(model: nn.Module, preset: str | None, candidates: Mapping[str, nn.Parameter]) -> list[str]:
    inner = getattr(model, "module", model)
    asked = preset or getattr(getattr(inner, "config", None), "model_type", None)
    key = asked if asked in PRESETS else ALIASES.get(str(asked))
    if key is None:
        known = ", ".join(sorted(PRESETS))
        near = difflib.get_close_matches(str(asked), [*PRESETS, *ALIASES], n=1)
        raise ValueError(
            f"prunable_weights: no preset for {asked!r}{f', did you mean {near[0]!r}?' if near else ';'} "
            f"Presets: {known}; or give include patterns such as r'attention.*weight$'"
        )
    kinds = PRESETS[key].values()
    pattern = re.compile(rf"\.\d+\.(?:.*\.)?(?:{'|'.join(kinds)})\.weight$")
    chosen = [name for name in candidates if pattern.search(name)]
    if not chosen:
        nearest = _nearest_names("layer.0.output.dense.weight", candidates)
        raise ValueError(f"prunable_weights: preset {key!r} matches no parameter; nearest: {nearest}")
    return chosen


def target_table(weights: Mapping[str, nn.Parameter]) -> pd.DataFrame:
    """Return a frame with a row a target: name, layer, kind, shape, count, and share of all targets.

    Example:
        >>> target_table({"a.weight": nn.Parameter(nn.Linear(3, 2).weight)})["count"].tolist()
        [6]
    """
    total = sum(weight.numel() for weight in weights.values())
    rows = [
        {
            "name": name,
            "layer": layer_of(name),
            "kind": kind_of(name),
            "shape": tuple(weight.shape),
            "count": weight.numel(),
            "share": weight.numel() / total,
        }
        for name, weight in weights.items()
    ]
    return pd.DataFrame(rows)
