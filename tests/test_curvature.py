"""The ranking by curvature: against written-out references, against Adam's own state, and in a training."""

import numpy as np
import pytest
import torch
from torch import nn

from mgpp import CubicSparsity, Curvature, Pruner
from mgpp.lab.recipes.recipe import RecipeError, load_recipe
from mgpp.prior.penalties import L2


def trained(importance, *, steps=12, betas=(0.9, 0.999), penalty=None):
    """A linear map that is trained with Adam and pruned by half, and its optimizer."""
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 4, bias=False), torch.randn(32, 6)
    schedule = CubicSparsity(0.0, 0.5, 4, steps - 2)
    pruner = Pruner({"w": layer.weight}, sparsity=schedule, importance=importance, penalty=penalty, n_train=32)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02, betas=betas)
    for step in range(steps):
        optimizer.zero_grad()
        (layer(x).sum(1) - x[:, 0]).square().mean().backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
        yield step, pruner, optimizer.state[layer.weight]["exp_avg_sq"]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("decay", [0.0, 0.98])
def test_it_is_the_written_out_mean_over_thirty_steps(decay, exponent):
    thetas, gradients = np.random.default_rng(0).normal(size=(2, 30, 7))
    weight = nn.Parameter(torch.zeros(7, dtype=torch.float64))
    importance, mean = Curvature(decay, exponent), np.zeros(7)
    importance.attach({"w": weight})
    for step in range(30):
        weight.data, weight.grad = torch.from_numpy(thetas[step]), torch.from_numpy(gradients[step])
        importance.observe(step)
        mean = decay * mean + (1 - decay) * gradients[step] ** 2
        expected = np.abs(thetas[step]) * mean ** (exponent / 2)
        np.testing.assert_allclose(importance.ranks()["w"], expected, rtol=1e-12)


def test_without_a_penalty_it_follows_adams_second_moment():
    importance = Curvature(decay=0.999)
    for step, _, adams in trained(importance):
        if step < 10:  # at t_f the mean is no longer needed
            torch.testing.assert_close(importance.second_moment["w"], adams)


def test_a_penalty_goes_into_adams_moment_and_not_into_the_curvature():
    importance = Curvature(decay=0.999)
    for step, _, adams in trained(importance, penalty=L2(10.0)):
        if step == 0:
            own = importance.second_moment["w"].clone()
            assert not torch.allclose(own, adams, rtol=0.1)
            bare = Curvature(decay=0.999)
            next(trained(bare))
            assert torch.equal(own, bare.second_moment["w"])


def test_the_lowest_ranks_are_removed():
    importance = Curvature(decay=0.9)
    events = iter(trained(importance))
    for step, pruner, _ in events:
        if step == 9:
            ranks = importance.ranks()["w"].flatten()
            zeros = int((pruner.weights["w"] == 0).sum())
            assert zeros == pruner.target_count(9) > 0
            assert (ranks[pruner.weights["w"].flatten() == 0] == 0).all()  # θ = 0, so the rank is
    assert pruner.audit() == 12


def test_without_curvature_it_is_gradual_magnitude_pruning():
    (*_, (_, by_curvature, _)), (*_, (_, by_magnitude, _)) = trained(Curvature(exponent=0.0)), trained(None)
    assert torch.equal(by_curvature.weights["w"], by_magnitude.weights["w"])


def test_it_goes_on_from_a_state():
    for step, pruner, _ in trained(Curvature()):
        if step == 6:
            importance = Curvature()
            other = Pruner(pruner.weights, sparsity=pruner.sparsity, importance=importance, n_train=32)
            other.load_state_dict(pruner.state_dict())
            assert torch.equal(importance.ranks()["w"], pruner.importance.ranks()["w"])


@pytest.mark.parametrize("setting", ["obd.decay", "mgpp_fisher.decay", "l2_fisher.decay"])
def test_a_decay_out_of_range_is_named(setting):
    with pytest.raises(RecipeError, match="decay"):
        load_recipe("reviews", **{setting: 1.0})
