import copy

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mgpp import CubicSparsity, Pruner, SparsityError, prunable_weights


def build(steps=12):
    """A trained model of 5 x 5 and 5 x 2 weights with 28 zeros, its Pruner, and an average of all its steps."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 2))
    weights = prunable_weights(model, include=r"\d\.weight")
    pruner = Pruner(weights, sparsity=CubicSparsity(0.1, 0.8, 2, 8), n_train=40)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    x = torch.randn(40, 5)
    for step in range(steps):
        optimizer.zero_grad()
        (model(x) - x[:, :2]).square().mean().backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
        average.update_parameters(model)
    return model, pruner, average


def test_an_average_gets_the_zeros_and_keeps_the_rest():
    model, pruner, average = build()
    before = copy.deepcopy(average.module)
    assert sum(int((layer.weight == 0).sum()) for layer in average.module) == 0
    assert pruner.apply_to(average) == pruner.audit() == 28
    for own, old, new in zip(model, before, average.module, strict=True):
        torch.testing.assert_close(new.weight, old.weight * (own.weight != 0), rtol=0, atol=0)
        assert torch.equal(new.bias, old.bias)
    assert pruner.zeros() == 28


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "ema.shadow."])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_state_dicts_with_any_prefix_and_type(prefix, dtype):
    model, pruner, _ = build()
    state = {
        prefix + name: torch.full_like(tensor, torch.nan, dtype=dtype) for name, tensor in model.state_dict().items()
    }
    state["n_averaged"] = torch.tensor(12)
    assert pruner.apply_to(state) == 28
    for name, mask in pruner.masks.items():
        assert torch.equal(state[prefix + name] == 0, ~mask)
    assert state[f"{prefix}0.bias"].isnan().all()


def test_merged_checkpoints_of_two_trainings():
    model, pruner, _ = build()
    other = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    merged = {name: (tensor + other[name]) / 2 for name, tensor in model.state_dict().items()}
    assert pruner.apply_to(merged) == 28


class ScheduleFree(torch.optim.Optimizer):
    """Schedule-free SGD (Defazio et al. 2024): gradients at y, a base sequence z, and their average x to evaluate."""

    def __init__(self, params, lr, beta=0.9):
        super().__init__(list(params), {"lr": lr, "beta": beta})
        self.steps = 0

    @torch.no_grad()
    def step(self):
        self.steps += 1
        for group in self.param_groups:
            for y in group["params"]:
                state = self.state[y]
                z, x = state.setdefault("z", y.clone()), state.setdefault("x", y.clone())
                z -= group["lr"] * y.grad
                x.lerp_(z, 1 / self.steps)
                y.copy_(torch.lerp(z, x, group["beta"]))

    @torch.no_grad()
    def eval(self):
        for group in self.param_groups:
            for y in group["params"]:
                y.copy_(self.state[y]["x"])


def test_a_schedule_free_average_gets_the_zeros():
    weight = nn.Parameter(torch.randn(50))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.0, 0.6, 2, 8), n_train=1)
    optimizer = ScheduleFree([weight], lr=0.1)
    for step in range(12):
        weight.grad = weight.detach() - 1
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
    optimizer.eval()
    with pytest.raises(SparsityError):
        pruner.audit()
    assert pruner.apply_to({"w": weight.data}) == pruner.audit() == 30


def test_what_does_not_fit_is_named_and_left_alone():
    model, pruner, _ = build()
    state = dict(model.state_dict())
    start = {name: tensor.clone() for name, tensor in state.items()}
    with pytest.raises(ValueError, match="1.weight"):
        pruner.apply_to({name: tensor for name, tensor in state.items() if name != "1.weight"})
    with pytest.raises(ValueError, match="1.weight"):
        pruner.apply_to(state | {"1.weight": torch.ones(2, 6)})
    with pytest.raises(ValueError, match="prefix|under"):
        pruner.apply_to({f"{side}.{name}": tensor for side in ("ema", "online") for name, tensor in state.items()})
    assert all(torch.equal(state[name], tensor) for name, tensor in start.items())


def test_before_the_first_prune_event_there_is_no_mask():
    _, pruner, average = build(steps=2)
    with pytest.raises(SparsityError):
        pruner.apply_to(average)
