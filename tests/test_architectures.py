"""Names of matrices, their kinds and layers."""

import pytest

from mgpp.architectures import ALIASES, PRESETS, kind_of, layer_of


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


def test_aliases_lead_to_presets():
    assert set(ALIASES.values()) <= set(PRESETS)
    assert not set(ALIASES) & set(PRESETS)
