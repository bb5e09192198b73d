"""Know the names of prunable matrices: by model family, kind and layer. No models, no torch."""

import re
from functools import cache

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
ALIASES = {
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


@cache  # asked again at every logged step
def kind_of(name: str) -> str:
    """Return the kind of a weight by its name: query, key, value, attention_output, intermediate, output, or other.

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
    """Return the index of the block that a weight belongs to, -1 without one.

    Example:
        >>> layer_of("bert.encoder.layer.3.attention.output.dense.weight")
        3
    """
    match = re.search(r"\.(\d+)\.", f".{name}")
    return int(match.group(1)) if match else -1
