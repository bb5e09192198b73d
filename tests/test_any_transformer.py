"""Any transformer, by default: prune to exact zeros, log, plot, export, reload with `from_pretrained`, count again."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import transformers
from tiny_transformers import tiny_transformer
from torch import nn

import mgpp
from mgpp import CubicSparsity, Pruner, prunable_weights, target_table
from mgpp.architectures import kind_of
from mgpp.methods.transfer import read_masks
from mgpp.plots.runs import final_cells, plot_sparsity_by_layer

words = re.compile(r"\S+").findall
DECODERS = words("gpt2 gpt_neox gptj opt bloom falcon mpt llama gemma2 gemma3_text phi3 olmo2 smollm3 mamba rwkv")
BERT_LIKE = words(
    "bert roberta electra deberta-v2 deberta distilbert modernbert mpnet albert longformer big_bird ibert"
)
ENCODERS = BERT_LIKE + words("ibert xlnet funnel fnet")
EXPERTS = words("mixtral qwen2_moe qwen3_moe olmoe gpt_oss llama4_text dbrx jetmoe jamba granitemoe")
PAIRS = words("bart t5 pegasus marian prophetnet switch_transformers nllb-moe")
OTHERS = words("vit beit dinov2 swin clip blip whisper wav2vec2 gemma3 llava qwen2_5_vl lxmert")
FAMILIES = DECODERS + ENCODERS + EXPERTS + PAIRS + OTHERS
QUICK = words("bert modernbert gpt2 llama qwen3_moe t5 vit whisper")  # the others are among the slow tests
CHANGES = {
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4},
        "ffn_config": {"ffn_hidden_size": 24, "moe_num_experts": 4},
    },
    "gptj": {"rotary_dim": 4},
}
# What a linear map is called that is not a target: outside the blocks, or a router.
LEFT_OUT = r"pooler|head|router|_gate\.|embed|^\w*proj\w*\.|projection|projector|merger|visn_fc|box_fc"
NO_MAPS = (nn.Embedding, nn.LayerNorm, nn.Conv1d, nn.Conv2d)


def train_(model, pruner, folder, steps=5):
    """A plain loop: a real backward pass where the model takes tokens, random gradients elsewhere."""
    tokens = torch.randint(3, 60, (2, 16))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with mgpp.record(pruner, folder, model=model, total_steps=steps, every=4, histograms_every=4) as log:
        for step in range(steps):
            if model.config.model_type in DECODERS + BERT_LIKE:
                model(input_ids=tokens)[0].square().mean().backward()
            for weight in model.parameters():
                weight.grad = torch.randn_like(weight) if weight.grad is None else weight.grad
            pruner.before_step(step)
            optimizer.step()
            optimizer.zero_grad()
            pruner.after_step(step)
            log.step(step, loss=0.0)
    return mgpp.load_run(folder)


def zeros(model):
    return {name: int((weight == 0).sum()) for name, weight in prunable_weights(model).items()}


@pytest.mark.parametrize(
    "model_type", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def test_any_architecture_is_pruned_logged_drawn_exported_and_reloaded(model_type, tmp_path):
    torch.manual_seed(0)
    model = tiny_transformer(model_type, **CHANGES.get(model_type, {}))
    targets = prunable_weights(model)
    maps = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    left_out = maps & dict(model.named_parameters()).keys() - targets.keys()
    assert [name for name in left_out if not re.search(LEFT_OUT, name)] == []
    owners = {f"{name}.weight": module for name, module in model.named_modules()}
    assert not [name for name in targets if isinstance(owners.get(name), NO_MAPS)]
    assert not [name for name in targets if re.search("router|bias|relative_attention|gate$", name)]
    assert target_table(targets)["share_of_blocks"].sum() == pytest.approx(1)

    pruner = Pruner(targets, sparsity=CubicSparsity(0.0, 0.7, 1, 3), interval=1, n_train=10)
    run = train_(model, pruner, tmp_path / "run")
    expected = zeros(model)
    assert sum(expected.values()) == pruner.audit() == round(0.7 * pruner.total)

    ax = plot_sparsity_by_layer(run, ax=plt.figure().subplots(), annot=False, cbar=False)
    shown = np.ma.compressed(ax.collections[0].get_array())
    cells = final_cells(run.layers)
    np.testing.assert_allclose(sorted(shown), sorted(cells["zeros"] / cells["n"]))
    assert np.average(cells["zeros"] / cells["n"], weights=cells["n"]) == pytest.approx(0.7, abs=0.01)

    packed = mgpp.export(run, tmp_path / "packed", format="packed")
    plain = mgpp.unpack(packed, tmp_path / "plain")
    assert zeros(type(model).from_pretrained(plain)) == expected
    masks = read_masks(plain)
    assert {name: int((~mask).sum()) for name, mask in masks.items()} == expected


@pytest.mark.parametrize("model_type", EXPERTS)
def test_experts_are_most_of_the_targets_of_their_layers(model_type):
    targets = prunable_weights(tiny_transformer(model_type, **CHANGES.get(model_type, {})))
    assert [name for name in targets if "expert" in name or kind_of(name) == "experts"]


def test_a_packed_file_of_experts_is_smaller_than_the_plain_one(tmp_path):
    model = transformers.AutoModel.from_config(
        transformers.GptOssConfig(
            vocab_size=20,
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            num_local_experts=4,
        )
    )
    pruner = Pruner(prunable_weights(model), sparsity=CubicSparsity(0.0, 0.9, 1, 3), interval=1, n_train=10)
    run = train_(model, pruner, tmp_path / "run")
    sizes = [
        (mgpp.export(run, tmp_path / form, format=form) / file).stat().st_size
        for form, file in (("plain", "model.safetensors"), ("packed", "model.packed.safetensors"))
    ]
    assert sizes[1] < 0.3 * sizes[0]
