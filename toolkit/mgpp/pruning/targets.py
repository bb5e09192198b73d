"""Which weights are prunable: presets for model families, include and exclude patterns, and a table of what matched."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import pandas as pd
from torch import nn

Patterns = str | Sequence[str] | None

# Each family maps a kind of matrix to the end of its module's name. The block's index stands before it, so that
# the matrices of the encoder match and those of pooler and head, which may end alike, do not.
_BERT = {
    "query": r"(?:cross)?attention\.self\.query",
    "key": r"(?:cross)?attention\.self\.key",
    "value": r"(?:cross)?attention\.self\.value",
    "attention_output": r"(?:cross)?attention\.output\.dense",
    "intermediate": r"intermediate\.dense",
    "output": r"output\.dense",
}
_DEBERTA = _BERT | {
    "query": r"attention\.self\.query_proj",
    "key": r"attention\.self\.key_proj",
    "value": r"attention\.self\.value_proj",
}
_BART = {
    "query": r"(?:self_attn|encoder_attn)\.q_proj",
    "key": r"(?:self_attn|encoder_attn)\.k_proj",
    "value": r"(?:self_attn|encoder_attn)\.v_proj",
    "attention_output": r"(?:self_attn|encoder_attn)\.out_proj",
    "intermediate": r"fc1",
    "output": r"fc2",
}
PRESETS: dict[str, dict[str, str]] = {
    "bert": _BERT,
    "roberta": _BERT,
    "electra": _BERT,
    "deberta-v2": _DEBERTA,
    "distilbert": {
        "query": r"attention\.q_lin",
        "key": r"attention\.k_lin",
        "value": r"attention\.v_lin",
        "attention_output": r"attention\.out_lin",
        "intermediate": r"ffn\.lin1",
        "output": r"ffn\.lin2",
    },
    "gpt2": {
        "query_key_value": r"attn\.c_attn",
        "query": r"crossattention\.q_attn",
        "attention_output": r"(?:attn|crossattention)\.c_proj",
        "intermediate": r"mlp\.c_fc",
        "output": r"mlp\.c_proj",
    },
    "bart": _BART,
    "t5": {
        "query": r"(?:SelfAttention|EncDecAttention)\.q",
        "key": r"(?:SelfAttention|EncDecAttention)\.k",
        "value": r"(?:SelfAttention|EncDecAttention)\.v",
        "attention_output": r"(?:SelfAttention|EncDecAttention)\.o",
        "intermediate": r"DenseReluDense\.wi(?:_[01])?",
        "output": r"DenseReluDense\.wo",
    },
    "llama": {
        "query": r"self_attn\.q_proj",
        "key": r"self_attn\.k_proj",
        "value": r"self_attn\.v_proj",
        "attention_output": r"self_attn\.o_proj",
        "intermediate": r"mlp\.(?:gate|up)_proj",
        "output": r"mlp\.down_proj",
    },
}
# config.model_type of the transformers library -> preset, where the two differ
_ALIASES = {
    "deberta-v3": "deberta-v2",
    "camembert": "roberta",
    "xlm-roberta": "roberta",
    "mbart": "bart",
    "mt5": "t5",
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "gemma": "llama",
}

# Wrappers put these before the names of parameters; the model's own names are what users know.
_WRAPPER_PREFIXES = re.compile(r"(?:^|(?<=\.))(?:module|_orig_mod|_fsdp_wrapped_module)\.")


def prunable_weights(
    model: nn.Module, preset: str | None = None, include: Patterns = None, exclude: Patterns = None
) -> dict[str, nn.Parameter]:
    r"""The weights that pruning may remove, by name, in the model's order; tied weights appear once.

    With neither preset nor include, the preset is chosen by `model.config.model_type`. Embeddings, pooler, heads,
    biases and LayerNorm belong to no preset (Zhang, Sun & Liang 2024, section 4).

    Args:
        model: any module; for presets one of the transformers library.
        preset: a key of `PRESETS`, or None.
        include: regular expressions searched in parameter names, instead of a preset.
        exclude: regular expressions searched in parameter names; what they match is left out.

    Raises:
        ValueError: if the preset is unknown, or a pattern, or all of them together, match nothing.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
        >>> [(name, tuple(w.shape)) for name, w in prunable_weights(model, include=r"\.weight$").items()]
        [('0.weight', (2, 3)), ('1.weight', (1, 2))]
    """
    if preset is not None and include is not None:
        raise ValueError(f"prunable_weights: preset={preset!r} and include={include!r} exclude each other; give one")
    parameters = dict(model.named_parameters())
    candidates = {_WRAPPER_PREFIXES.sub("", name): weight for name, weight in parameters.items()}
    if len(candidates) < len(parameters):  # not a wrapper's names after all
        candidates = parameters
    chosen = _match_preset(model, preset, candidates) if include is None else _match(include, candidates, "include")
    if exclude is not None:
        excluded = _match(exclude, candidates, "exclude")
        chosen = [name for name in chosen if name not in excluded]
    if not chosen:
        raise ValueError(f"prunable_weights: exclude={exclude!r} leaves no weight to prune; narrow it")
    return {name: weight for name, weight in candidates.items() if name in set(chosen)}


def _match(patterns: Patterns, candidates: Mapping[str, nn.Parameter], field: str) -> list[str]:
    """Names that any of the patterns matches; a pattern that matches nothing is a mistake."""
    matched: list[str] = []
    patterns = [patterns] if isinstance(patterns, str | re.Pattern) else list(patterns or ())
    if not patterns:
        raise ValueError(f"prunable_weights: {field} is an empty list; give patterns, or None")
    for pattern in patterns:
        try:
            found = [name for name in candidates if re.search(pattern, name)]
        except re.error as error:
            raise ValueError(
                f"prunable_weights: {field}={pattern!r} is no regular expression ({error}); write .* for anything"
            ) from None
        if not found:
            near = _nearest_names(str(pattern), candidates)
            raise ValueError(
                f"prunable_weights: {field}={pattern!r} matches no parameter (tied ones go by their first name); "
                f"nearest: {near}"
            )
        matched += found
    return matched


def _nearest_names(pattern: str, names: Iterable[str], count: int = 3) -> str:
    """The names that hold something most like the pattern, compared with as many dotted parts as it has."""
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
    key = asked if asked in PRESETS else _ALIASES.get(str(asked))
    if key is None:
        known = ", ".join(sorted(PRESETS))
        near = difflib.get_close_matches(str(asked), [*PRESETS, *_ALIASES], n=1)
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


@cache  # asked again at every logged step
def kind_of(name: str) -> str:
    """The kind of a weight by its name: query, key, value, attention_output, intermediate, output, or other.

    Example:
        >>> kind_of("bert.encoder.layer.3.attention.output.dense.weight")
        'attention_output'
    """
    hits = [
        (len(match.group()), kind)
        for kinds in PRESETS.values()
        for kind, pattern in kinds.items()
        if (match := re.search(rf"(?:^|\.){pattern}\.weight$", name))
    ]
    return max(hits)[1] if hits else "other"  # the longest match is the most specific


@cache
def layer_of(name: str) -> int:
    """The index of the block a weight belongs to, -1 if it has none.

    Example:
        >>> layer_of("bert.encoder.layer.3.attention.output.dense.weight")
        3
    """
    match = re.search(r"\.(\d+)\.", f".{name}")
    return int(match.group(1)) if match else -1


def target_table(weights: Mapping[str, nn.Parameter]) -> pd.DataFrame:
    """One row a target: name, layer, kind, shape, count, and its share of all targets.

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
