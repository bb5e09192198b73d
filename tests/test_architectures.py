"""Names of matrices, their kinds and layers."""

import pytest

from mgpp.architectures import kind_of, layer_of, stack_of, stacks_of


@pytest.mark.parametrize(
    ("name", "kind", "layer"),
    [
        ("encoder.layer.3.attention.self.query.weight", "query", 3),
        ("bert.encoder.layer.11.attention.output.dense.weight", "attention_output", 11),
        ("bert.encoder.layer.0.output.dense.weight", "output", 0),
        ("bert.pooler.dense.weight", "other", -1),
        ("bert.encoder.layer.0.output.LayerNorm.weight", "other", 0),
        ("model.decoder.layers.5.fc1.weight", "intermediate", 5),
        ("weight", "other", -1),
    ],
)
def test_kind_and_layer_follow_from_the_name(name, kind, layer):
    assert (kind_of(name), layer_of(name)) == (kind, layer)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("layers.0.attn.Wqkv.weight", "query_key_value"),
        ("h.0.self_attention.query_key_value.weight", "query_key_value"),
        ("encoder.layers.0.self_attn.in_proj_weight", "query_key_value"),
        ("layer.0.rel_attn.q", "query"),
        ("model.layers.0.mlp.experts.gate_up_proj", "experts"),
        ("model.layers.0.mlp.gate_proj.weight", "intermediate"),
        ("model.layers.0.mlp.down_proj.weight", "output"),
        ("encoder.layer.0.attention.attn.o.weight", "attention_output"),
        ("classifier.out_proj.weight", "other"),
        ("blocks.0.mixer.in_proj.weight", "other"),
    ],
)
def test_kinds_of_other_families(name, kind):
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("name", "layer"),
    [("0.auto_model.encoder.layer.3.output.dense.weight", 3), ("block.2.layer.0.SelfAttention.q.weight", 2)],
)
def test_the_block_counts_among_several_numbers(name, layer):
    assert layer_of(name) == layer


def test_stacks_are_told_apart_only_if_there_are_several():
    names = ["model.encoder.layers.0.fc1.weight", "model.decoder.layers.0.fc1.weight"]
    cross = "model.decoder.layers.0.encoder_attn.q_proj.weight"
    assert list(stacks_of([*names, cross]).values()) == ["encoder", "decoder", "cross-attention"]
    assert set(stacks_of(names[:1]).values()) == {""}
    assert [stack_of(f"{tower}.encoder.layers.0.mlp.fc1.weight") for tower in ("text_model", "vision_model")] == [
        "text",
        "vision",
    ]


def test_lists_of_one_name_in_several_towers_do_not_share_a_stack():
    names = [f"{tower}.encoder.layers.0.fc1.weight" for tower in ("speech_a", "speech_b")]
    assert len(set(stacks_of(names).values())) == 2
