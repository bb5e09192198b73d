"""Name the matrices of transformers: their kind, stack and layer, for tables and plots. No models, no torch.

What is pruned does not depend on these names, see `mgpp.pruning.blocks`: an unknown name is called "other".
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from functools import cache

_ATTENTION = r"(?:^|\.)\w*[aA]tt\w*\.(?:\w+\.)?"
# The first pattern that matches the end of a name, without `.weight`, says the kind.
_KINDS = {
    "experts": r"(?:^|\.)experts\..*",
    "query_key_value": _ATTENTION + r"(?:c_attn|query_key_value|qkv|qkv_proj|Wqkv|in_proj|in_proj_weight)",
    "query": _ATTENTION + r"(?:query|query_proj|query_global|q|q_proj|q_lin|q_attn|q_head|to_q|wq|Wq)",
    "key": _ATTENTION + r"(?:key|key_proj|key_global|k|k_proj|k_lin|k_head|to_k|wk|Wk)",
    "value": _ATTENTION + r"(?:value|value_proj|value_global|v|v_proj|v_lin|v_head|to_v|wv|Wv)",
    "attention_output": _ATTENTION + r"(?:dense|out_proj|out_lin|o_proj|o|c_proj|proj|post_proj|to_out|wo|Wo)",
    "intermediate": r"(?:intermediate\.dense|(?:^|\.)(?:fc1|fc_in|lin1|linear1|c_fc|wi|wi_0|wi_1|Wi|dense_h_to_4h"
    r"|gate_proj|up_proj|gate_up_proj|intermediate_dense|ffn))",
    "output": r"(?:output\.dense|mlp\.c_proj|(?:^|\.)(?:fc2|fc_out|lin2|linear2|wo|Wo|dense_4h_to_h|down_proj"
    r"|output_dense|ffn_output))",
}
_STACKS = {
    "cross-attention": r"cross_?att|encoder_attn|EncDecAttention|encoder_decoder_att|multihead_attn",
    "vision": r"vision|visual|image|pixel|video",
    "audio": r"audio|speech|acoustic",
    "text": r"text|language",
    "decoder": r"decoder",
    "encoder": r"encoder",
}


@cache  # asked again at every logged step
def kind_of(name: str) -> str:
    """Return the kind of a weight by its name: query, key, value, attention_output, intermediate, output, or other.

    Fused projections are of the kind query_key_value, everything inside `experts` of the kind experts.

    Example:
        >>> kind_of("bert.encoder.layer.3.attention.output.dense.weight")
        'attention_output'
    """
    plain = re.sub(r"(?:\.linear)?\.weight$", "", name)
    return next((kind for kind, pattern in _KINDS.items() if re.search(f"{pattern}$", plain)), "other")


@cache
def layer_of(name: str) -> int:
    """Return the index of the block that a weight belongs to, -1 without one.

    Example:
        >>> layer_of("bert.encoder.layer.3.attention.output.dense.weight")
        3
    """
    match = _layer(name)
    return int(match.group(1)) if match else -1


def _layer(name: str) -> re.Match[str] | None:
    """Find the index of the block: the first one in a list that is called so, or else the first one."""
    return re.search(r"(?:^|\.|_)(?:layers?|blocks?|h)\.(\d+)\.", name) or re.search(r"(?:^|\.)(\d+)\.", name)


@cache
def stack_of(name: str) -> str:
    """Return the part of the model that a weight belongs to: encoder, decoder, cross-attention, vision, text, or "".

    Example:
        >>> stack_of("decoder.layers.0.fc1.weight"), stack_of("decoder.layers.0.encoder_attn.q_proj.weight")
        ('decoder', 'cross-attention')
    """
    if re.search(_STACKS["cross-attention"], name):
        return "cross-attention"
    path = _path(name)
    return next((stack for stack, pattern in _STACKS.items() if re.search(pattern, path)), "")


def _path(name: str) -> str:
    """Return the name of the list of blocks that a weight belongs to."""
    match = _layer(name)
    return name[: match.start(1) - 1] if match else ""


def stacks_of(names: Iterable[str]) -> dict[str, str]:
    """Return the stacks of a model's weights by name, "" for all if there is only one.

    Lists of blocks that `stack_of` calls alike are told apart by their own names.

    Example:
        >>> names = ["encoder.layer.0.fc1.weight", "encoder.x_layers.0.fc1.weight", "decoder.layer.0.fc1.weight"]
        >>> list(stacks_of(names).values())
        ['encoder.layer', 'encoder.x_layers', 'decoder']
    """
    places = {name: (stack_of(name), _path(name)) for name in names}
    paths = defaultdict(set)
    for stack, path in places.values():
        paths[stack].add(path)
    crossing = {name: " cross-attention" if stack == "cross-attention" else "" for name, (stack, _) in places.items()}
    stacks = {
        name: stack if len(paths[stack]) == 1 else path + crossing[name] for name, (stack, path) in places.items()
    }
    return stacks if len(set(stacks.values())) > 1 else dict.fromkeys(stacks, "")


def kinds_of(names: Iterable[str]) -> dict[str, str]:
    """Return the kinds of a model's weights by name, each with its stack before it if the model has several.

    Example:
        >>> list(kinds_of(["encoder.layers.0.fc1.weight", "decoder.layers.0.fc1.weight"]).values())
        ['encoder intermediate', 'decoder intermediate']
    """
    return {name: f"{stack} {kind_of(name)}".strip() for name, stack in stacks_of(names).items()}
