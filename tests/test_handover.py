import pytest
import torch
from accelerate import Accelerator
from accelerate.state import GradientState
from torch import nn

from mgpp import L2, CubicSparsity, Pruner, Sensitivity, StepError

FUSED = [False, pytest.param(True, id="fused")]


def parts(lr=0.1, optimizer=torch.optim.SGD, **options):
    """A weight with the loss of half its squared norm, its optimizer, and a Pruner with an L2 penalty of 1."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0, 0, 8, 9), penalty=L2(1.0), n_train=1, **options)
    return weight, optimizer([weight], lr=lr), pruner


def backward(weight, scale=1.0):
    weight.grad = None
    (0.5 * scale * weight.square().sum()).backward()


@pytest.mark.parametrize("fused", FUSED)
def test_a_penalty_on_scaled_gradients_is_refused(fused):
    weight, _, pruner = parts()
    optimizer = torch.optim.Adam([weight], lr=0.1, fused=fused)
    scaler, start = torch.amp.GradScaler("cpu", init_scale=1024.0), weight.detach().clone()
    scaler.scale(0.5 * weight.square().sum()).backward()
    pruner.before_step(0)
    with pytest.raises(StepError, match="unscale_"):
        scaler.step(optimizer)
    assert torch.equal(weight, start)


@pytest.mark.parametrize("fused", FUSED)
def test_a_penalty_on_unscaled_gradients_is_exact(fused):
    weight, _, pruner = parts()
    optimizer = torch.optim.SGD([weight], lr=0.1, fused=fused)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    scaler.scale(0.5 * weight.square().sum()).backward()
    scaler.unscale_(optimizer)
    pruner.before_step(0)
    scaler.step(optimizer)
    pruner.after_step(0)
    torch.testing.assert_close(weight.detach(), torch.tensor([0.8, -1.6, 2.4]))


def clip(weight, optimizer):
    nn.utils.clip_grad_norm_([weight], 0.1)
    optimizer.step()


def zero_before(weight, optimizer):
    optimizer.zero_grad()
    optimizer.step()


def zero_in_place(weight, optimizer):
    optimizer.zero_grad(set_to_none=False)
    optimizer.step()


def closure(weight, optimizer):
    def loss():
        backward(weight)
        return weight.square().sum()

    optimizer.step(loss)


@pytest.mark.parametrize("what", [clip, zero_before, zero_in_place])
@pytest.mark.parametrize("importance", [None, Sensitivity(window=1)], ids=["magnitude", "sensitivity"])
def test_gradients_that_change_before_the_optimizer_are_refused(what, importance):
    weight, optimizer, pruner = parts(importance=importance)
    backward(weight)
    pruner.before_step(0)
    with pytest.raises(StepError, match="w was changed"):
        what(weight, optimizer)


def test_without_a_penalty_gradients_may_change():
    weight = nn.Parameter(torch.ones(2))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0, 0.5, 0, 2), n_train=1)
    for step in range(3):
        backward(weight)
        pruner.before_step(step)
        clip(weight, torch.optim.SGD([weight], lr=0.1))
        pruner.after_step(step)
    assert pruner.audit() == 1


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.Adagrad])
def test_a_closure_may_call_before_step(optimizer):
    """The penalty doubles the gradient of half the squared norm; the closure of Lightning and others does the same."""
    (weight, one, pruner), (twin, two, _) = parts(optimizer=optimizer), parts(optimizer=optimizer)
    for step in range(3):

        def loss(step=step):
            backward(weight)
            pruner.before_step(step)
            return weight.square().sum()

        one.step(loss) if optimizer is not torch.optim.SGD else (loss(), one.step())
        pruner.after_step(step)
        backward(twin, scale=2.0)
        two.step()
        torch.testing.assert_close(weight, twin)


@pytest.mark.parametrize("inside", [True, False])
def test_an_optimizer_that_computes_the_gradient_several_times_is_refused(inside):
    weight, _, pruner = parts()
    optimizer = torch.optim.LBFGS([weight], lr=0.1, max_iter=4)

    def loss():
        backward(weight)
        if inside:
            pruner.before_step(0)
        return weight.square().sum()

    backward(weight)
    if not inside:
        pruner.before_step(0)
        weight.grad.zero_()
    with pytest.raises(StepError):
        optimizer.step(loss)


def test_several_optimizers_step_in_turn():
    weights = {name: nn.Parameter(torch.ones(3)) for name in "ab"}
    other = nn.Parameter(torch.ones(3))
    pruner = Pruner(weights, sparsity=CubicSparsity(0, 0, 8, 9), penalty=L2(1.0), n_train=1)
    optimizers = [torch.optim.SGD([weights["a"]], lr=0.1), torch.optim.SGD([weights["b"], other], lr=0.1)]
    for step in range(2):
        for weight in (*weights.values(), other):
            backward(weight)
        pruner.before_step(step)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        pruner.after_step(step)
    torch.testing.assert_close(weights["a"].detach(), torch.full((3,), 0.64))
    torch.testing.assert_close(weights["b"].detach(), torch.full((3,), 0.64))
    torch.testing.assert_close(other.detach(), torch.full((3,), 0.81))


def test_nothing_is_watched_after_the_step():
    weight, optimizer, pruner = parts()
    backward(weight)
    pruner.before_step(0)
    optimizer.step()
    pruner.after_step(0)
    clip(weight, optimizer)  # another use of the model
    backward(weight)
    pruner.before_step(1)
    del pruner
    clip(weight, optimizer)  # nor when the Pruner is gone


@pytest.fixture
def accelerator():
    yield Accelerator(cpu=True, gradient_accumulation_steps=4)
    GradientState()._set_sync_gradients(True)


def accumulate(accelerator, always):
    """Three updates of four batches each, with the pruner's calls in every batch or in every update."""
    weight, optimizer, pruner = parts()
    optimizer, step, model = accelerator.prepare_optimizer(optimizer), 0, nn.Module()
    for _ in range(12):
        with accelerator.accumulate(model):
            accelerator.backward(0.5 * weight.square().sum())
            calls = always or accelerator.sync_gradients
            if calls:
                pruner.before_step(step)
            optimizer.step()
            optimizer.zero_grad()
            if calls:
                pruner.after_step(step)
                step += 1
    return weight


def test_accumulation_with_accelerate_adds_the_penalty_once_an_update(accelerator):
    torch.testing.assert_close(accumulate(accelerator, False).detach(), 0.8**3 * torch.tensor([1.0, -2.0, 3.0]))


def test_a_penalty_in_every_accumulated_batch_is_refused(accelerator):
    with pytest.raises(StepError, match="sync_gradients"):
        accumulate(accelerator, True)
