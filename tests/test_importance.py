import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from mgpp import CubicSparsity, GivenMask, Importance, Pruner, Sensitivity, prunable_weights
from mgpp.methods.transfer import read_masks


def test_magnitudes_are_the_weights_themselves():
    weight = torch.tensor([1.0, -2.0])
    importance = Importance()
    importance.attach({"w": weight})
    assert importance.ranks()["w"] is weight
    assert importance.tensors() == {}


def platon_by_hand(thetas, gradients, beta1, beta2, window):
    """The scores after each step, written out in numpy."""
    mean, deviation, scores = np.zeros_like(thetas[0]), np.zeros_like(thetas[0]), []
    for step in range(len(thetas)):
        if (step + 1) % window == 0:
            recent = range(step + 1 - window, step + 1)
            sensitivity = np.mean([np.abs(thetas[t] * gradients[t]) for t in recent], axis=0)
            mean = beta1 * mean + (1 - beta1) * sensitivity
            deviation = beta2 * deviation + (1 - beta2) * np.abs(sensitivity - mean)
        scores.append(mean * deviation)
    return scores


@pytest.mark.parametrize("window", [1, 10])
@pytest.mark.parametrize(("beta1", "beta2"), [(0.85, 0.95), (0.3, 0.0)])
def test_platon_is_the_written_out_loop_over_thirty_steps(window, beta1, beta2):
    draw = np.random.default_rng(0)
    thetas, gradients = draw.normal(size=(2, 30, 7))
    expected = platon_by_hand(thetas, gradients, beta1, beta2, window)
    weight = nn.Parameter(torch.zeros(7, dtype=torch.float64))
    importance = Sensitivity(beta1, beta2, window)
    importance.attach({"w": weight})
    for step in range(30):
        weight.data = torch.from_numpy(thetas[step])
        weight.grad = torch.from_numpy(gradients[step])
        importance.observe(step)
        if step + 1 < window:  # nothing smoothed yet: the open window
            expected[step] = sum(np.abs(thetas[t] * gradients[t]) for t in range(step + 1))
        np.testing.assert_allclose(importance.ranks()["w"], expected[step], rtol=1e-12, atol=1e-30)


def test_platon_in_a_training_prunes_by_its_scores():
    torch.manual_seed(1)
    layer, x = nn.Linear(6, 4, bias=False), torch.randn(32, 6)
    importance = Sensitivity(0.5, 0.5, window=1)
    pruner = Pruner(
        {"w": layer.weight}, sparsity=CubicSparsity(0.0, 0.5, 2, 6), importance=importance, n_train=32, freeze=False
    )
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
    for step in range(9):
        optimizer.zero_grad()
        (layer(x).sum(1) - x[:, 0]).square().mean().backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
    lowest = importance.ranks()["w"].flatten().argsort()[:12]
    assert (layer.weight.flatten()[lowest] == 0).all()
    assert pruner.audit() == 12


def test_a_weight_that_the_loss_did_not_reach_is_not_sensitive():
    weight = nn.Parameter(torch.ones(2))
    importance = Sensitivity(window=1)
    importance.attach({"w": weight})
    importance.observe(0)
    assert importance.ranks()["w"].tolist() == [0, 0]


@pytest.mark.parametrize(
    "settings", [{"beta1": 1.0}, {"beta1": 0.0}, {"beta2": -0.1}, {"window": 0}, {"window": 1.5}, {"beta1": None}]
)
def test_numbers_out_of_range_are_named(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Sensitivity(**settings)


@given(st.data())
def test_a_given_mask_is_kept_and_nothing_else_is_zeroed(data):
    size = data.draw(st.integers(2, 40))
    some = st.lists(st.booleans(), min_size=size, max_size=size).filter(lambda kept: any(kept) and not all(kept))
    kept = torch.tensor(data.draw(some))
    weight = nn.Parameter(torch.arange(1.0, size + 1))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.0, 0.9, 1, 2), importance=GivenMask({"w": kept}), n_train=1)
    for step in range(3):
        with torch.no_grad():
            weight += 1
        pruner.after_step(step)
        assert torch.equal(weight != 0, kept)
    assert pruner.audit() == int((~kept).sum())


def weights(*names):
    return {name: nn.Parameter(torch.ones(2, 2)) for name in names}


def test_masks_match_names_with_and_without_prefixes():
    mask = torch.tensor([[True, False], [True, True]])
    for given_name in ("encoder.layer.0.w", "bert.encoder.layer.0.w", "module.bert.encoder.layer.0.w"):
        importance = GivenMask({given_name: mask})
        importance.attach(weights("bert.encoder.layer.0.w"))
        assert torch.equal(importance.masks["bert.encoder.layer.0.w"], mask)


@pytest.mark.parametrize(
    ("masks", "named"),
    [
        ({"b.w": torch.zeros(2, 2) > 0}, "b.w"),
        ({"a.w": torch.zeros(3) > 0}, "a.w"),
        ({}, "a.w"),
        (None, "transfer"),
        ({"a.w": torch.ones(2, 2) > 0}, "transfer"),
    ],
)
def test_masks_that_do_not_fit_are_errors(masks, named):
    with pytest.raises(ValueError, match=named):
        GivenMask(masks).attach(weights("a.w"))


def test_masks_are_read_from_a_pruned_model_and_not_from_its_embeddings(tmp_path):
    name = "bert.encoder.layer.0.output.dense.weight"
    matrix, embeddings = torch.tensor([[1.0, 0.0]]), torch.zeros(1, 2)
    save_file({name: matrix, "bert.embeddings.word_embeddings.weight": embeddings}, tmp_path / "model.safetensors")
    assert {key: mask.tolist() for key, mask in read_masks(tmp_path).items()} == {name: [[True, False]]}
    save_file({"0.weight": matrix, "1.weight": matrix + 1, "0.bias": torch.zeros(2)}, tmp_path / "model.safetensors")
    assert list(read_masks(tmp_path)) == ["0.weight"]


def test_a_matrix_that_lost_nothing_has_a_mask_too(tmp_path):
    lost, whole, other = (f"bert.encoder.layer.{i}.output.dense.weight" for i in range(3))
    matrix = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    save_file({lost: matrix, whole: matrix + 1, other: matrix + 1}, tmp_path / "model.safetensors")
    importance = GivenMask(read_masks(tmp_path))
    importance.attach(weights(lost, whole))  # the third was not pruned, and is no target
    assert {name: int(mask.sum()) for name, mask in importance.masks.items()} == {lost: 3, whole: 4}


def test_a_folder_without_a_pruned_model_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="transfer.mask"):
        read_masks(tmp_path)
    save_file({"0.weight": torch.ones(2, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="transfer.mask"):
        read_masks(tmp_path)


def test_state_of_another_model_is_refused():
    importance = Sensitivity()
    importance.attach(weights("a.w"))
    other = Sensitivity()
    other.attach(weights("b.w"))
    with pytest.raises(ValueError, match="Sensitivity"):
        importance.load(other.tensors())


def test_sensitivities_do_not_vanish_in_half_precision():
    weight = nn.Parameter(torch.full((8,), 0.04, dtype=torch.float16))
    weight.grad = torch.arange(1, 9, dtype=torch.float16) * 1e-4
    importance = Sensitivity(window=1)
    importance.attach({"w": weight})
    importance.observe(0)
    assert importance.ranks()["w"].argsort().tolist() == list(range(8))
    assert (importance.ranks()["w"] > 0).all()


def test_a_given_mask_lies_on_the_weights_at_once():
    weight = nn.Parameter(torch.ones(2))
    GivenMask({"w": torch.tensor([True, False])}).attach({"w": weight})
    assert weight.tolist() == [1, 0]


@pytest.mark.parametrize(
    "config",
    [
        transformers.ViTConfig(
            hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4
        ),
        transformers.MixtralConfig(
            vocab_size=20,
            hidden_size=8,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            num_local_experts=3,
        ),
    ],
    ids=lambda config: config.model_type,
)
def test_masks_go_by_the_names_in_memory_where_those_on_disk_differ(config, tmp_path):
    model = transformers.AutoModel.from_config(config)
    targets = prunable_weights(model)
    whole, *pruned = targets.values()
    for weight in pruned:
        weight.data[weight.data.abs() < weight.data.abs().median()] = 0
    model.save_pretrained(tmp_path)
    assert not targets.keys() <= load_file(tmp_path / "model.safetensors").keys()
    other = prunable_weights(transformers.AutoModel.from_config(config))
    importance = GivenMask(read_masks(tmp_path))
    importance.attach(other)
    assert bool(whole.all())
    assert all(torch.equal(other[name] == 0, weight == 0) for name, weight in targets.items())
