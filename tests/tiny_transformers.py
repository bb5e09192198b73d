"""Tiny random models of any architecture of transformers, by making the numbers of its default configuration small."""

import re

import torch
from transformers import MODEL_MAPPING, AutoConfig, PreTrainedModel

# Fields of a configuration, and the largest value that they keep.
SMALL = {
    r"^(?!.*(feat|conv)).*layers?$|^depth$": 2,
    r"token_id$": 1,
    r"vocab_size$|^n_tokens$": 64,
    r"^(hidden_size|d_model|n_embd|dim|embed_dim|emb_dim|word_embed_proj_dim|embedding_size|hidden_dim)$": 16,
    r"(intermediate_size|ffn_dim|d_ff|d_inner|n_inner|inner_dim|ffn_hidden_size)$": 24,
    r"(num_attention_heads|num_key_value_heads|encoder_attention_heads|decoder_attention_heads|n_heads?|num_heads)$": 2,
    r"^(head_dim|d_kv|attention_head_size|d_head)$": 8,
    r"(num_experts|num_local_experts|n_routed_experts|moe_num_experts)$": 4,
    r"(max_position_embeddings|n_positions|max_source_positions|max_target_positions)$": 64,
    r"^image_size$": 32,
}


def small_settings(settings: dict) -> dict:
    """The fields that are made small, with those of parts such as a text and a vision model."""
    small = {}
    for key, value in settings.items():
        if isinstance(value, dict) and key.endswith("_config"):
            kept = {name: each for name, each in value.items() if not name.endswith("layer_types")}
            small[key] = kept | small_settings(value)
        elif type(value) is int:
            limits = [limit for pattern, limit in SMALL.items() if re.search(pattern, key)]
            if limits and value > limits[0]:
                small[key] = limits[0]
    return small


def tiny_transformer(model_type: str, **changes) -> PreTrainedModel:
    """A random model of an architecture, with all weights that start at zero set to small numbers."""
    default = AutoConfig.for_model(model_type)
    config = type(default)(**small_settings(default.to_dict()) | changes)
    model_class = MODEL_MAPPING[type(config)]
    model = (model_class[0] if isinstance(model_class, tuple) else model_class)(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight.data, std=0.1)
    return model.train()
