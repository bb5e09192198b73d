import re

import pytest
import torch
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
    T5Config,
)

from mgpp import prunable_weights, target_table
from mgpp.architectures import kind_of

# The kinds and names of the matrices of nine families, written out: what is found by structure must be the same.
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
PRESETS = {
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

SMALL = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 50}
BERT_LIKE = 2 * (4 * 8 * 8 + 2 * 8 * 16)

MODELS = {
    "bert": (AutoModelForSequenceClassification, BertConfig(**SMALL), BERT_LIKE, 12),
    "roberta": (AutoModelForSequenceClassification, RobertaConfig(**SMALL), BERT_LIKE, 12),
    "electra": (AutoModelForSequenceClassification, ElectraConfig(embedding_size=8, **SMALL), BERT_LIKE, 12),
    "deberta-v2": (AutoModelForSequenceClassification, DebertaV2Config(**SMALL), BERT_LIKE, 12),
    "distilbert": (
        AutoModelForSequenceClassification,
        DistilBertConfig(dim=8, n_layers=2, n_heads=2, hidden_dim=16, vocab_size=50),
        BERT_LIKE,
        12,
    ),
    "gpt2": (AutoModelForCausalLM, GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=50), 2 * 12 * 64, 8),
    "bart": (
        AutoModel,
        BartConfig(
            d_model=8,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=2,
            decoder_attention_heads=2,
            encoder_ffn_dim=16,
            decoder_ffn_dim=16,
            vocab_size=50,
        ),
        3 * 4 * 64 + 2 * 2 * 128,
        16,
    ),
    "t5": (
        AutoModel,
        T5Config(d_model=8, d_kv=4, num_heads=2, d_ff=16, num_layers=1, num_decoder_layers=1, vocab_size=50),
        3 * 4 * 64 + 2 * 2 * 128,
        16,
    ),
    "llama": (
        AutoModelForCausalLM,
        LlamaConfig(**SMALL, num_key_value_heads=2),
        2 * (4 * 64 + 3 * 128),
        14,
    ),
}


def by_table(family, model):
    """The kinds of the matrices that the family's table names, by name; the longest match is the most specific."""
    kinds = {}
    for name, _ in model.named_parameters():
        for kind, pattern in PRESETS[family].items():
            match = re.search(rf"\.\d+\.(?:.*\.)?({pattern})\.weight$", name)
            if match and re.search(rf"(?:^|\.){pattern}\.weight$", name):
                kinds[name] = max(kinds.get(name, (0, "")), (len(match.group(1)), kind))
    return {name: kind for name, (_, kind) in kinds.items()}


@pytest.mark.parametrize("family", PRESETS)
def test_structure_finds_the_matrices_and_kinds_of_the_table_and_nothing_else(family):
    make, config, count, matrices = MODELS[family]
    model = make.from_config(config)
    weights = prunable_weights(model)
    assert {name: kind_of(name) for name in weights} == by_table(family, model)
    assert len(weights) == matrices
    assert sum(weight.numel() for weight in weights.values()) == count


def test_bert_base_has_84934656_targets():
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(BertConfig())
    table = target_table(prunable_weights(model))
    assert table["count"].sum() == 84_934_656
    assert len(table) == 72
    assert table["share"].sum() == pytest.approx(1)
    assert table.groupby("kind")["count"].sum().to_dict() == {
        "attention_output": 7_077_888,
        "intermediate": 28_311_552,
        "key": 7_077_888,
        "output": 28_311_552,
        "query": 7_077_888,
        "value": 7_077_888,
    }


def test_tied_weights_count_once():
    model = nn.ModuleDict({"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    assert list(prunable_weights(model, include="weight$")) == ["a.weight"]


def test_wrappers_do_not_change_names(tiny_bert):
    wrapped = nn.ModuleDict({"module": tiny_bert})
    assert list(prunable_weights(wrapped)) == list(prunable_weights(tiny_bert))


def test_include_and_exclude(tiny_bert):
    weights = prunable_weights(tiny_bert, include=[r"query\.weight$", r"key\.weight$"], exclude=r"layer\.0\.")
    assert [kind_of(name) for name in weights] == ["query", "key"]
    assert all("layer.1." in name for name in weights)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"include": "qury.weight"}, "include.*query"),
        ({"include": "query", "exclude": "nothing-like-it"}, "exclude='nothing-like-it'"),
        ({"include": "query", "exclude": "query"}, "exclude"),
        ({"include": "*.weight"}, "include"),
        ({"include": []}, "include"),
    ],
)
def test_mistakes_are_named(tiny_bert, arguments, words):
    with pytest.raises(ValueError, match=words):
        prunable_weights(tiny_bert, **arguments)


def test_a_model_without_blocks_needs_patterns():
    with pytest.raises(ValueError, match="include"):
        prunable_weights(nn.Linear(2, 2))


def test_cross_attention_is_pruned_whole():
    config = BertConfig(is_decoder=True, add_cross_attention=True, **SMALL)
    weights = prunable_weights(AutoModel.from_config(config))
    kinds = [kind_of(name) for name in weights if "crossattention" in name]
    assert sorted(kinds) == sorted(2 * ["query", "key", "value", "attention_output"])


def test_a_module_called_module_is_no_wrapper():
    model = nn.ModuleDict({"0": nn.Linear(2, 2), "1": nn.ModuleDict({"module": nn.Linear(2, 2)})})
    model["0"].module = nn.Linear(2, 2)
    assert len(prunable_weights(model, include="weight$")) == 3


def test_a_preset_of_an_earlier_recipe_changes_nothing(tiny_bert):
    with pytest.warns(UserWarning, match="preset"):
        weights = prunable_weights(tiny_bert, preset="bert")
    assert list(weights) == list(prunable_weights(tiny_bert))


def test_vectors_are_chosen_with_a_warning(tiny_bert):
    with pytest.warns(UserWarning, match="include"):
        weights = prunable_weights(tiny_bert, include="attention")
    assert any(weight.ndim == 1 for weight in weights.values())


def test_the_table_says_how_much_of_the_blocks_is_chosen(tiny_bert):
    assert target_table(prunable_weights(tiny_bert))["share_of_blocks"].sum() == pytest.approx(1)
    some = target_table(prunable_weights(tiny_bert, include=r"(query|word_embeddings)\.weight$"))
    parts = {name: weight.numel() for name, weight in prunable_weights(tiny_bert).items()}
    queries = sum(count for name, count in parts.items() if "query" in name)
    assert some["share_of_blocks"].sum() == pytest.approx(queries / sum(parts.values()))
    assert some.loc[some["layer"] == -1, "share_of_blocks"].isna().all()


# structure


class Block(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.norm, self.qkv, self.out = nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Experts(nn.Module):
    def __init__(self, count=4, width=8):
        super().__init__()
        self.up, self.down = (nn.Parameter(torch.randn(count, *size)) for size in ((width, 16), (16, width)))
        self.up_bias = nn.Parameter(torch.zeros(count, 16))


class Mixture(nn.Module):
    """A layer of experts with a gate and a shared expert, as large as there are experts."""

    def __init__(self, experts, gate):
        super().__init__()
        self.experts, self.gate, self.shared_gate = experts, gate, nn.Linear(8, 1)
        self.shared = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 8))


def names_of(model):
    return [name.removesuffix(".weight") for name in prunable_weights(model)]


BLOCK = ["qkv", "out", "feed.0", "feed.2"]


def test_own_blocks_in_a_list_or_a_sequence_are_found_without_embedding_and_head():
    model = nn.ModuleDict({"embed": nn.Embedding(9, 8), "blocks": nn.ModuleList([Block()]), "head": nn.Linear(8, 9)})
    assert names_of(model) == [f"blocks.0.{name}" for name in BLOCK]
    row = nn.Sequential(nn.Embedding(9, 8), Block(), Block(), nn.Linear(8, 9))
    assert names_of(row) == [f"{index}.{name}" for index in (1, 2) for name in BLOCK]


def test_plain_torch_encoders_are_pruned_with_their_fused_projections():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    names = names_of(model)
    assert [name for name in names if "in_proj" in name] == [
        "encoder.layers.0.self_attn.in_proj_weight",
        "decoder.layers.0.self_attn.in_proj_weight",
        "decoder.layers.0.multihead_attn.in_proj_weight",
    ]
    assert len(names) == 3 * 2 + 2 * 2
    assert kind_of(names[0]) == "query_key_value"


def test_lists_of_heads_are_no_blocks():
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.layers = nn.Linear(8, 8), nn.ModuleList([nn.Linear(8, 8)])

    plain = nn.ModuleList([nn.Linear(8, 8), nn.Linear(8, 8)])
    boxes = nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))])
    heads = {"plain": plain, "boxes": boxes, "own": nn.ModuleList([Head()])}
    with pytest.raises(ValueError, match="include"):
        prunable_weights(nn.ModuleDict(heads))
    assert names_of(nn.ModuleDict({**heads, "blocks": nn.ModuleList([Block()])})) == [f"blocks.0.{x}" for x in BLOCK]


@pytest.mark.parametrize(
    ("experts", "names"),
    [
        (Experts(), ["experts.up", "experts.down"]),
        (
            nn.ModuleList([nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8)) for _ in range(4)]),
            [f"experts.{i}.{j}" for i in range(4) for j in (0, 1)],
        ),
    ],
)
@pytest.mark.parametrize("gate", [nn.Linear(8, 4), nn.Sequential(nn.Linear(8, 4), nn.Softmax(-1))])
def test_experts_are_pruned_and_routers_are_not(experts, gate, names):
    model = nn.ModuleList([Mixture(experts, gate)])
    assert names_of(model) == [f"0.{name}" for name in [*names, "shared.0", "shared.1"]]


def test_tables_and_convolutions_in_blocks_are_left_out():
    block = Block()
    block.position_bias = nn.Parameter(torch.randn(2, 5, 5))
    block.token = nn.Parameter(torch.randn(1, 5, 8))
    block.conv = nn.Conv1d(8, 8, 3)
    block.places = nn.Embedding(5, 8)
    assert names_of(nn.ModuleList([block])) == [f"0.{name}" for name in BLOCK]


def test_frozen_weights_under_an_adapter_are_named(tiny_bert):
    class Adapted(nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base_layer, self.lora_A = base.requires_grad_(False), nn.Linear(base.in_features, 2, bias=False)

    attention = tiny_bert.bert.encoder.layer[0].attention.self
    attention.query = Adapted(attention.query)
    with pytest.raises(ValueError, match=r"query\.base_layer\.weight"):
        prunable_weights(tiny_bert)
    assert len(prunable_weights(tiny_bert, exclude=r"base_layer|lora")) == 11
    assert len(prunable_weights(tiny_bert.requires_grad_(False))) == 13


def test_a_weight_that_is_computed_is_named(tiny_bert):
    key = tiny_bert.bert.encoder.layer[0].attention.self.key
    nn.utils.parametrizations.orthogonal(key)
    with pytest.raises(ValueError, match=r"self\.key\.weight"):
        prunable_weights(tiny_bert)


def test_whole_models_in_a_list_are_no_blocks(tiny_bert):
    names = names_of(tiny_bert)
    assert names_of(nn.ModuleList([tiny_bert])) == [f"0.{name}" for name in names]
    tower = nn.Sequential(tiny_bert, nn.Linear(8, 8))
    assert names_of(nn.ModuleList([tower])) == [f"0.0.{name}" for name in names]


def test_compiled_models_have_the_same_targets(tiny_bert):
    assert names_of(torch.compile(tiny_bert)) == names_of(tiny_bert)
