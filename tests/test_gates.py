import math

import pytest
import torch
from torch import nn

from mgpp import CubicSparsity, Curvature, HardConcrete, Movement, Pruner, Sensitivity


class StraightThrough(torch.autograd.Function):
    """The mask of the highest scores; its gradient is handed to the scores as it is."""

    @staticmethod
    def forward(ctx, scores, zeros):
        mask = torch.ones_like(scores).flatten()
        mask[scores.flatten().argsort(stable=True)[:zeros]] = 0
        return mask.view_as(scores)

    @staticmethod
    def backward(ctx, gradient):
        return gradient, None


def problem():
    torch.manual_seed(3)
    x = torch.randn(64, 5)
    return x, (x[:, :2] ** 2).sum(1, keepdim=True), torch.randn(1, 5)


@pytest.mark.parametrize("strength", [0.0, 50.0])
def test_movement_is_the_straight_through_estimator_of_autograd(strength):
    """Twenty steps beside a module that multiplies by the mask in its forward pass and lets autograd do the rest."""
    x, y, start = problem()
    schedule = CubicSparsity(0.2, 0.6, begin_step=4, end_step=15)
    layer = nn.Linear(5, 1, bias=False)
    layer.weight.data = start.clone()
    importance = Movement(learning_rate=0.03, strength=strength)
    pruner = Pruner({"w": layer.weight}, sparsity=schedule, importance=importance, n_train=64, freeze=False)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.02)
    weight, scores = start.clone().requires_grad_(), torch.zeros(1, 5, requires_grad=True)
    theirs = [torch.optim.SGD([weight], lr=0.02), torch.optim.Adam([scores], lr=0.03)]
    zeros = 0
    for step in range(20):
        optimizer.zero_grad()
        (layer(x) - y).square().mean().backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)

        for each in theirs:
            each.zero_grad()
        mask = StraightThrough.apply(scores, zeros)
        loss = (x @ (weight * mask).T - y).square().mean() + strength * scores.sigmoid().mean()
        loss.backward()
        for each in theirs:
            each.step()
        zeros = pruner.target_count(step)
        effective = weight.detach() * StraightThrough.forward(None, scores.detach(), zeros)
        torch.testing.assert_close(importance.ranks()["w"], scores.detach())
        torch.testing.assert_close(layer.weight.detach(), effective)
    assert pruner.audit() == 3


def test_a_weight_under_the_mask_comes_back_as_it_was():
    weight = nn.Parameter(torch.tensor([5.0, 1.0]))
    importance = Movement(learning_rate=1.0)
    pruner = Pruner(
        {"w": weight}, sparsity=CubicSparsity(0.5, 0.5, 0, 9), importance=importance, n_train=1, freeze=False
    )
    seen = []
    for step, gradient in enumerate([[1.0, -1.0], [-9.0, 9.0], [-9.0, 9.0], [-9.0, 9.0]]):
        weight.grad = torch.tensor(gradient)
        pruner.before_step(step)
        seen.append(weight.grad.tolist())
        pruner.after_step(step)  # no optimizer's step: weights stay what they are
        seen.append(weight.tolist())
    assert seen[1] == [0, 1]  # the gradient made the first smaller: it goes
    assert seen[2] == [0, 9]  # and has no part in the loss: no gradient
    assert seen[-1] == [5, 0]  # its score rose: it is back


def test_scores_change_nothing_in_the_warm_up():
    x, y, start = problem()
    plain, masked = start.clone().requires_grad_(), nn.Parameter(start.clone())
    pruner = Pruner({"w": masked}, sparsity=CubicSparsity(0.0, 0.5, 10, 20), importance=Movement(), n_train=64)
    for step in range(8):
        for weight in (plain, masked):
            weight.grad = None
            (x @ weight.T - y).square().mean().backward()
        pruner.before_step(step)
        with torch.no_grad():
            for weight in (plain, masked):
                weight -= 0.01 * weight.grad
        pruner.after_step(step)
    assert torch.equal(plain, masked)


SCORES = [-2.0, -0.5, 0.0, 1.0, 3.0]


def draws(score, count=200_000):
    gates = HardConcrete(initial=score)
    weight = nn.Parameter(torch.ones(count))
    gates.attach({"w": weight})
    assert gates.begin_step(0)
    return gates, weight.detach()


@pytest.mark.parametrize("score", SCORES)
def test_gates_close_and_open_as_often_as_the_closed_form_says(score):
    """P(z = 0), P(z = 1) and the mean, from the distribution function of the stretched binary concrete."""
    gates, z = draws(score)
    beta, low, high = gates.temperature, gates.low, gates.high

    def below(level):
        share = (level - low) / (high - low)
        return 1 / (1 + math.exp(-(beta * math.log(share / (1 - share)) - score)))

    levels = torch.linspace(0, 1, 20_001, dtype=torch.float64)
    mean = 1 - sum(below(float(level)) for level in levels) / len(levels)  # E[z] = 1 - integral of the CDF on [0, 1]
    error = 4 * 0.5 / math.sqrt(len(z))
    assert float((z == 0).float().mean()) == pytest.approx(below(0.0), abs=error)
    assert float((z == 1).float().mean()) == pytest.approx(1 - below(1.0), abs=error)
    assert float(z.mean()) == pytest.approx(mean, abs=error)
    assert float(gates.probability_open(torch.tensor(score))) == pytest.approx(1 - below(0.0), rel=1e-5)


def test_gradients_of_gates_are_those_of_autograd():
    torch.manual_seed(5)
    score = torch.tensor(SCORES * 20, dtype=torch.float64)
    gates = HardConcrete(learning_rate=1.0, strength=3.0)
    weight = nn.Parameter(torch.randn(100, dtype=torch.float64))
    gates.attach({"w": weight})
    gates.scores["w"] = score.clone().requires_grad_()
    gates.begin_step(0)
    seed = gates._seed_of(0, 0)
    u = torch.empty_like(score).uniform_(1e-6, 1 - 1e-6, generator=torch.Generator().manual_seed(seed))
    theta, s = gates.kept["w"].clone().requires_grad_(), score.clone().requires_grad_()
    stretched = ((u.logit() + s) / gates.temperature).sigmoid() * (gates.high - gates.low) + gates.low
    effective = theta * stretched.clamp(0, 1)
    torch.testing.assert_close(weight.detach(), effective.detach())
    upstream = torch.randn(100, dtype=torch.float64)
    ((effective * upstream).sum() + 3.0 * gates.probability_open(s).mean()).backward()
    weight.grad = upstream.clone()
    gates.observe(0)
    torch.testing.assert_close(weight.grad, theta.grad)
    torch.testing.assert_close(gates.scores["w"].grad.double(), s.grad, rtol=1e-6, atol=1e-8)


def test_gates_of_evaluation_lie_from_0_to_1_and_open_at_the_start():
    gates = HardConcrete()
    values = gates.gate(torch.tensor([-9.0, 0.0, gates.initial]))
    assert values.tolist() == [0.0, 0.5, 1.0]


def test_draws_depend_on_seed_and_step_alone():
    def draw(seed, step):
        torch.manual_seed(seed)
        gates = HardConcrete(initial=0.0)
        weight = nn.Parameter(torch.ones(50))
        gates.attach({"w": weight})
        torch.rand(3)  # what else was drawn does not matter
        gates.begin_step(step)
        return weight.tolist()

    assert draw(1, 4) == draw(1, 4)
    assert draw(1, 4) != draw(1, 5) != draw(2, 5)


def test_forgotten_draws_are_an_error():
    weight = nn.Parameter(torch.ones(4))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.0, 0.5, 0, 2), importance=HardConcrete(), n_train=1)
    weight.grad = torch.ones(4)
    with pytest.raises(RuntimeError, match="begin_step"):
        pruner.before_step(0)
    pruner.begin_step(0)
    pruner.before_step(0)
    pruner.after_step(0)


def test_gates_must_be_folded():
    with pytest.raises(ValueError, match="freeze"):
        Pruner(
            {"w": nn.Parameter(torch.ones(4))},
            sparsity=CubicSparsity(0.0, 0.5, 0, 2),
            importance=HardConcrete(),
            n_train=1,
            freeze=False,
        )


@pytest.mark.parametrize("kind", [Movement, HardConcrete])
@pytest.mark.parametrize("settings", [{"learning_rate": 0}, {"strength": -1}, {"strength": float("nan")}])
def test_numbers_out_of_range_are_named(kind, settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        kind(**settings)


def test_what_is_kept_comes_back_from_closed_gates():
    """A strong penalty closes all gates; the schedule keeps half, and exactly half is zero when they are folded."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.rand(64) + 0.5)
    gates = HardConcrete(learning_rate=0.5, strength=1e6)
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.0, 0.5, 5, 25), importance=gates, n_train=1)
    for step in range(26):
        pruner.begin_step(step)
        weight.grad = torch.zeros(64)
        pruner.before_step(step)
        pruner.after_step(step)
        if step == 24:
            assert pruner.zeros() == 64
    assert pruner.audit() == 32
    assert (weight[weight != 0] < 0.016).all()


@pytest.mark.parametrize("importance", [Movement(), HardConcrete(), Sensitivity(window=1), Curvature()])
def test_gradients_that_overflow_teach_nothing(importance):
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(8))
    start = weight.detach().clone()
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.5, 0.5, 1, 3), importance=importance, n_train=1)
    for step in range(4):
        pruner.begin_step(step)
        weight.grad = torch.randn(8)
        if step == 0:
            weight.grad[3] = torch.inf
        pruner.before_step(step)
        if step == 0:
            assert torch.equal(weight, start)  # the optimizer finds θ, whose step the loss scaling skips
        pruner.after_step(step)
    assert pruner.audit() == 4
    assert weight.isfinite().all()


def test_weights_that_change_before_the_first_step_are_taken_as_they_are_then():
    weight = nn.Parameter(torch.ones(4))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.0, 0.5, 2, 4), importance=Movement(), n_train=1)
    with torch.no_grad():
        weight.fill_(7)
    weight.grad = torch.ones(4)
    pruner.before_step(0)
    pruner.after_step(0)
    assert weight.tolist() == [7, 7, 7, 7]


def test_regrown_is_what_a_later_event_lets_back():
    weight = nn.Parameter(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    schedule = CubicSparsity(0.5, 0.5, 0, 9)
    pruner = Pruner({"w": weight}, sparsity=schedule, importance=Movement(), n_train=1, freeze=False)
    seen = []
    for gradient in ([1.0, 1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [-900.0, 1.0, 900.0, -1.0]):
        weight.grad = torch.tensor(gradient)
        pruner.before_step(len(seen))
        pruner.after_step(len(seen))
        seen.append(pruner.event.regrown)
    assert seen[:2] == [0, 0]
    assert pruner.masks["w"].tolist() == [weight_is != 0 for weight_is in weight.tolist()]
