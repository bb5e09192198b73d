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
from mgpp.architectures import PRESETS, kind_of

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


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_finds_its_matrices_and_nothing_else(preset):
    make, config, count, matrices = MODELS[preset]
    weights = prunable_weights(make.from_config(config))
    assert len(weights) == matrices
    assert sum(weight.numel() for weight in weights.values()) == count
    assert all(kind_of(name) != "other" for name in weights)
    assert not [
        n for n in weights if "embed" in n or "pooler" in n or "classifier" in n or "Norm" in n or "lm_head" in n
    ]


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
    wrapped.config = tiny_bert.config
    assert list(prunable_weights(wrapped, preset="bert")) == list(prunable_weights(tiny_bert))


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
        ({"preset": "brt"}, "brt.*bert"),
        ({"preset": "bert", "include": "x"}, "preset.*include"),
        ({"preset": "gpt2"}, "gpt2"),
    ],
)
def test_mistakes_are_named(tiny_bert, arguments, words):
    with pytest.raises(ValueError, match=words):
        prunable_weights(tiny_bert, **arguments)


def test_a_model_without_config_needs_patterns():
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
