import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgpp import (
    L2,
    AnnealedPrior,
    CubicSparsity,
    LinearRamp,
    MixtureGaussianPrior,
    Pruner,
    SparsityError,
    StepError,
    prunable_weights,
)
from mgpp.methods import METHODS
from mgpp.pruning.state import check_continues_at


def make(sizes=((4, 5), (30,)), **options):
    weights = {f"w{i}": torch.nn.Parameter(torch.randn(size)) for i, size in enumerate(sizes)}
    defaults = {"sparsity": CubicSparsity(0.2, 0.9, begin_step=3, end_step=20), "n_train": 10, "interval": 4}
    return weights, Pruner(weights, **defaults | options)


def run(pruner, steps, optimizer=None, first=0, zeros=None):
    """A training whose loss pulls all weights towards 1, so that zeroed ones regrow."""
    weights = list(pruner.weights.values())
    optimizer = optimizer or torch.optim.Adam(weights, lr=0.05)
    for step in range(first, steps):
        optimizer.zero_grad()
        sum(((weight - 1) ** 2).sum() for weight in weights).backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
        if zeros is not None:
            zeros.append(pruner.zeros())
    return optimizer


def reference_run(weights, steps):
    """The algorithm of the paper once more, over one flat vector and without a class: gradual pruning with L2."""
    flat = torch.nn.Parameter(torch.cat([weight.detach().flatten() for weight in weights.values()]))
    optimizer, zeroed = torch.optim.Adam([flat], lr=0.05), None
    for t in range(steps):
        optimizer.zero_grad()
        ((flat - 1) ** 2).sum().backward()
        if t <= 20:
            flat.grad += 0.3 * flat.detach()
        optimizer.step()
        event = t == 3 or (3 < t < 20 and (t - 3) % 4 == 0) or t == 20
        with torch.no_grad():
            if event:
                sparsity = 0.9 + (0.2 - 0.9) * (1 - (t - 3) / 17) ** 3
                zeroed = flat.abs().argsort(stable=True)[: round(sparsity * len(flat))]
            if event or t > 20:
                flat[zeroed] = 0
    return flat.detach()


def test_equals_the_reference():
    weights, pruner = make(penalty=L2(0.3))
    expected = reference_run(weights, 30)
    run(pruner, 30)
    torch.testing.assert_close(torch.cat([w.detach().flatten() for w in weights.values()]), expected)
    assert pruner.audit() == round(0.9 * 50)


@settings(max_examples=30)
@given(st.floats(0, 0.99), st.floats(0, 0.99), st.integers(1, 7), st.booleans())
def test_exactly_k_zeros_at_every_event_and_in_the_frozen_phase(a, b, interval, regrowth):
    schedule = CubicSparsity(min(a, b), max(a, b), begin_step=2, end_step=15)
    _, pruner = make(sparsity=schedule, interval=interval, allow_regrowth=regrowth)
    zeros = []
    run(pruner, 25, zeros=zeros)
    for step, found in enumerate(zeros):
        if schedule.prunes_at(step, interval) or step >= 15:
            assert found == round(schedule(step) * 50)
    assert pruner.audit() == round(max(a, b) * 50)


def test_regrowth_between_events_is_a_choice():
    _, free = make()
    zeros = []
    run(free, 6, zeros=zeros)
    assert zeros == [0, 0, 0, 10, 0, 0]  # pruned at 3, regrown at 4
    _, strict = make(allow_regrowth=False)
    zeros = []
    run(strict, 6, zeros=zeros)
    assert zeros == [0, 0, 0, 10, 10, 10]


def test_what_was_removed_for_good_stays_removed():
    _, pruner = make(allow_regrowth=False)
    optimizer = run(pruner, 4)
    gone = {name: ~mask for name, mask in pruner.masks.items()}
    run(pruner, 21, optimizer, first=4)
    assert all((pruner.weights[name][mask] == 0).all() for name, mask in gone.items())
    assert pruner.event.regrown == 0


def test_events_report_regrowth_and_churn():
    _, pruner = make()
    optimizer = run(pruner, 4)
    before = {name: mask.clone() for name, mask in pruner.masks.items()}
    run(pruner, 8, optimizer, first=4)
    changed = sum((mask != before[name]).sum().item() for name, mask in pruner.masks.items())
    assert pruner.event.step == 7
    assert pruner.event.regrown == 1.0  # Adam moves every zeroed weight
    assert pruner.event.churn == changed / 50


def test_ties_go_in_the_order_of_the_weights():
    weights = {name: torch.nn.Parameter(torch.ones(3)) for name in "ab"}
    pruner = Pruner(weights, sparsity=CubicSparsity(0.5, 0.5, begin_step=0, end_step=1), n_train=1)
    pruner.after_step(0)
    assert weights["a"].tolist() == [0, 0, 0]
    assert weights["b"].tolist() == [1, 1, 1]


def test_the_prior_acts_until_the_end_of_pruning_with_its_annealed_value():
    prior = MixtureGaussianPrior(1e-4, 1e-4, 0.05)
    annealed = AnnealedPrior(prior, lam=LinearRamp(0.1, 1e-4, begin_step=3, end_step=20))
    weights, pruner = make(penalty=annealed)
    for step in (0, 10, 20, 21):
        for weight in weights.values():
            weight.grad = torch.zeros_like(weight)
        pruner.before_step(step)
        expected = annealed.at(step).penalty_grad(weights["w1"].detach().double()) / 10 if step <= 20 else 0
        torch.testing.assert_close(weights["w1"].grad.double(), expected + torch.zeros(30).double())


def test_weights_that_the_loss_does_not_reach_feel_the_penalty():
    weights, pruner = make(penalty=L2(0.5))
    pruner.before_step(0)
    torch.testing.assert_close(weights["w0"].grad, 0.5 * weights["w0"].detach())


@pytest.mark.parametrize("stop", [2, 5, 20, 23])
def test_state_dict_goes_on_exactly(stop):
    torch.manual_seed(1)
    weights, pruner = make()
    optimizer = run(pruner, stop)
    state = {key: value.clone() for key, value in pruner.state_dict().items()}
    copies = {name: torch.nn.Parameter(weight.detach().clone()) for name, weight in weights.items()}
    resumed = Pruner(copies, sparsity=pruner.sparsity, n_train=10, interval=4)
    resumed.load_state_dict(state)
    assert resumed.event == pruner.event
    twin = torch.optim.Adam(copies.values(), lr=0.05)
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    run(pruner, 30, optimizer, first=stop)
    run(resumed, 30, twin, first=stop)
    assert all(torch.equal(copies[name], weights[name]) for name in weights)


def test_a_state_of_another_model_is_refused():
    _, pruner = make()
    run(pruner, 5)
    _, other = make(sizes=((4, 6), (30,)))
    with pytest.raises(ValueError, match="w0"):
        other.load_state_dict(pruner.state_dict())
    with pytest.raises(ValueError, match="w0"):
        other.load_state_dict({"mask.x": torch.ones(2)})
    assert not other.masks


def test_audit_raises_unless_the_promise_is_kept():
    weights, pruner = make()
    with pytest.raises(SparsityError, match="step"):
        pruner.audit()
    run(pruner, 10)
    with pytest.raises(SparsityError, match="step 7"):
        pruner.audit()
    run(pruner, 30, first=10)
    with torch.no_grad():
        weights["w0"].fill_(1.0)
    with pytest.raises(SparsityError, match="45"):
        pruner.audit()


@pytest.mark.parametrize(
    ("options", "words"),
    [({"n_train": 0}, "n_train=0"), ({"interval": 1.5}, "interval=1.5"), ({"interval": True}, "interval=True")],
)
def test_bad_numbers_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        make(**options)


def test_frozen_or_missing_weights_are_refused():
    sparsity = CubicSparsity(0, 0.5, 0, 1)
    with pytest.raises(ValueError, match="weights"):
        Pruner({}, sparsity=sparsity, n_train=1)
    with pytest.raises(ValueError, match="requires_grad"):
        Pruner({"w": torch.nn.Parameter(torch.ones(2), requires_grad=False)}, sparsity=sparsity, n_train=1)


def test_without_penalty_no_gradient_is_made():
    weights, pruner = make()
    pruner.before_step(0)
    assert weights["w0"].grad is None


def test_zeros_of_its_own_are_no_broken_promise_of_a_dense_model():
    weight = torch.nn.Parameter(torch.tensor([0.0, 1.0]))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0, 0, 0, 1), n_train=1)
    pruner.after_step(0)
    pruner.after_step(1)
    assert pruner.audit() == 1


@given(st.lists(st.integers(1, 30), min_size=2, max_size=5), st.floats(0.05, 0.95), st.integers(0, 2**31))
def test_each_matrix_loses_its_share_and_all_lose_exactly_k(sizes, share, seed):
    draw = torch.Generator().manual_seed(seed)
    weights = {str(i): torch.nn.Parameter(torch.randn(size, generator=draw)) for i, size in enumerate(sizes)}
    pruner = Pruner(weights, sparsity=CubicSparsity(0.0, share, 0, 3), n_train=1, scope="matrix")
    for step in range(5):
        pruner.after_step(step)
        assert pruner.zeros() == pruner.target_count(step)
    parts = [(int((weight == 0).sum()), weight.numel()) for weight in weights.values()]
    # Webster's method: moving one zero from a matrix to another would not make the shares more even
    assert all(
        (2 * lost - 1) * other_size <= (2 * other + 1) * size for lost, size in parts for other, other_size in parts
    )


def test_with_one_matrix_the_scopes_agree():
    results = []
    for scope in ("global", "matrix"):
        weight = torch.nn.Parameter(torch.randn(50, generator=torch.Generator().manual_seed(0)))
        pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.1, 0.7, 0, 4), n_train=1, scope=scope)
        for step in range(6):
            pruner.after_step(step)
        results.append((weight.tolist(), pruner.event))
    assert results[0] == results[1]


def test_an_unknown_scope_is_refused():
    with pytest.raises(ValueError, match="scope"):
        Pruner(
            {"w": torch.nn.Parameter(torch.ones(2))}, sparsity=CubicSparsity(0.0, 0.5, 0, 1), n_train=1, scope="layer"
        )


def test_a_mask_that_is_not_frozen_is_judged_anew_after_every_step():
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0.0, 0.5, 0, 2), n_train=1, freeze=False)
    for step in range(3):
        pruner.after_step(step)
    with torch.no_grad():
        weight.copy_(torch.tensor([9.0, 2.0, 3.0, 8.0]))
    pruner.after_step(3)
    assert weight.tolist() == [9, 0, 0, 8]
    assert pruner.phase(3) == "pruning"
    assert pruner.audit() == 2


class Compound:
    """A tiny training of any method that can be stopped and gone on with."""

    def __init__(self, name, regrowth=True):
        torch.manual_seed(2)
        self.x = torch.randn(40, 6)
        self.model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.02)
        method, schedule = METHODS[name](), CubicSparsity(0.2, 0.75, 3, 14)
        schedule = method.schedule(schedule)
        weights = prunable_weights(self.model, include="weight")
        if name == "transfer":
            with torch.no_grad():
                for weight in weights.values():
                    weight[weight.abs() < 0.2] = 0
        self.pruner = Pruner(
            weights,
            sparsity=schedule,
            penalty=method.penalty(schedule),
            importance=method.importance(),
            n_train=40,
            interval=4,
            scope=method.scope,
            freeze=method.freeze,
            allow_regrowth=regrowth,
        )

    def run(self, steps):
        for step in steps:
            self.optimizer.zero_grad()
            self.pruner.begin_step(step)
            (self.model(self.x) - self.x[:, :1]).square().mean().backward()
            self.pruner.before_step(step)
            self.optimizer.step()
            self.pruner.after_step(step)
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def state(self):
        return copy.deepcopy([part.state_dict() for part in (self.model, self.optimizer, self.pruner)])

    def load(self, states):
        for part, state in zip((self.model, self.optimizer, self.pruner), states, strict=True):
            part.load_state_dict(state)


@pytest.mark.parametrize("regrowth", [True, False])
@pytest.mark.parametrize("name", METHODS)
def test_every_method_ends_exactly_as_sparse_as_promised_and_resumes_to_the_same_bits(name, regrowth):
    whole = Compound(name, regrowth)
    expected = whole.run(range(20))
    promised = whole.pruner.target_count(19)
    assert whole.pruner.audit() == promised == whole.pruner.zeros()
    assert (promised == 0) == (name == "dense")
    for stop in (2, 5, 13, 15, 18):
        first = Compound(name, regrowth)
        first.run(range(stop))
        second = Compound(name, regrowth)
        torch.manual_seed(99)
        second.load(first.state())
        assert torch.equal(second.run(range(stop, 20)), expected), stop


@pytest.mark.parametrize("name", METHODS)
def test_any_state_can_be_loaded_at_any_time(name):
    early, late = Compound(name), Compound(name)
    early.run(range(5))
    states = early.state()
    expected = early.run(range(5, 20))
    late.run(range(20))
    late.pruner.load_state_dict(late.pruner.state_dict())
    late.load(states)
    assert torch.equal(late.run(range(5, 20)), expected)


def test_a_state_that_does_not_fit_changes_nothing():
    first, second = Compound("platon"), Compound("movement")
    for each in (first, second):
        each.run(range(8))
    event, masks = first.pruner.event, first.pruner.masks
    with pytest.raises(ValueError, match="importance|Movement|HardConcrete|Sensitivity"):
        first.pruner.load_state_dict(second.pruner.state_dict())
    assert first.pruner.event == event
    assert all(torch.equal(first.pruner.masks[key], mask) for key, mask in masks.items())


def test_a_weight_under_two_names_is_refused():
    weight = torch.nn.Parameter(torch.ones(4))
    with pytest.raises(ValueError, match="weights"):
        Pruner({"a": weight, "b": weight}, sparsity=CubicSparsity(0.0, 0.5, 0, 1), n_train=1)


def l2_run(with_penalty, steps=60):
    """Weights whose loss pulls towards 1, under an L2 penalty of 1 if `before_step` is called."""
    torch.manual_seed(0)
    weights, pruner = make(penalty=L2(1.0), sparsity=CubicSparsity(0, 0, 3, 59))
    optimizer = torch.optim.SGD(weights.values(), lr=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        sum(0.5 * ((weight - 1) ** 2).sum() for weight in weights.values()).backward()
        if with_penalty:
            pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
    return torch.cat([weight.detach().flatten() for weight in weights.values()]).norm()


def test_a_step_without_its_penalty_is_refused():
    """With its penalty every weight ends at 1/2, without it would at 1: another method."""
    with pytest.raises(StepError, match="before_step"):
        l2_run(with_penalty=False)
    assert l2_run(with_penalty=True).item() == pytest.approx(0.5 * 50**0.5, rel=1e-3)


@pytest.mark.parametrize("name", METHODS)
def test_before_step_may_be_left_out_only_where_it_does_nothing(name):
    has_work = name not in ("gmp", "gmp-star", "dense", "transfer")
    pruner = Compound(name).pruner
    if has_work:
        with pytest.raises(StepError, match="before_step"):
            pruner.after_step(0)
    else:
        pruner.after_step(0)


@pytest.mark.parametrize(
    "calls",
    ["b0 b0", "b0 a1", "b0 a0 a0", "b0 a0 b0", "b1 a0", "b3 a3 b2", "b0 a0 a1", "b4 b3"],
)
def test_calls_in_another_order_are_refused(calls):
    weights, pruner = make(penalty=L2(0.1))
    *right, wrong = calls.split()

    def call(kind, step):
        for weight in weights.values():
            weight.grad = torch.zeros_like(weight)
        {"b": pruner.before_step, "a": pruner.after_step}[kind](int(step))

    for each in right:
        call(*each)
    with pytest.raises(StepError):
        call(*wrong)


@pytest.mark.parametrize("missing", [{3}, {7, 8, 9}, {19, 20}, {20, 21}, set(range(3, 21)), {5}], ids=str)
@pytest.mark.parametrize("name", ["gmp", "l2", "mgpp", "platon", "platon-frozen", "movement", "l0"])
def test_a_missed_prune_event_is_made_up_for(name, missing):
    """A loop that leaves out `after_step` where the optimizer's step is skipped, as after an overflow in fp16."""
    case = Compound(name)
    pruner, schedule = case.pruner, case.pruner.sparsity
    for step in range(28):
        case.optimizer.zero_grad()
        pruner.begin_step(step)
        (case.model(case.x) - case.x[:, :1]).square().mean().backward()
        pruner.before_step(step)
        if step not in missing:
            case.optimizer.step()
            pruner.after_step(step)
            newest = step if step >= schedule.end_step and not pruner.freeze else schedule.newest_event(step, 4)
            assert (pruner.event.step if pruner.event else None) == newest
            if newest in missing and step - 1 in missing:
                assert pruner.zeros() == pruner.target_count(newest)
    assert pruner.audit() == pruner.target_count(27)


def test_steps_that_jump_over_an_event_prune_at_the_next_step():
    _, pruner = make()
    for step, event in ((0, None), (9, 7), (10, 7), (30, 20)):
        pruner.after_step(step)
        assert (pruner.event and pruner.event.step) == event
    assert pruner.audit() == 45


@pytest.mark.parametrize("name", METHODS)
def test_a_second_training_is_refused_or_starts_anew(name):
    """After `reset` weights of 1 train like those of a new Pruner; kept ones come back from under the mask."""
    case = Compound(name)
    case.run(range(8))
    for seen in (8, 20):
        with pytest.raises(StepError, match="reset"):
            case.run(range(3))
        case.pruner.reset()
        assert case.pruner.is_fresh
        assert case.pruner.event is None
        fresh = Compound(name)
        fresh.model.load_state_dict(case.model.state_dict())
        fresh.optimizer.load_state_dict(copy.deepcopy(case.optimizer.state_dict()))
        fresh.pruner = Pruner(
            dict(fresh.pruner.weights),
            sparsity=case.pruner.sparsity,
            penalty=case.pruner.penalty,
            importance=METHODS[name]().importance(),
            n_train=40,
            interval=4,
            scope=METHODS[name].scope,
            freeze=METHODS[name].freeze,
        )
        assert torch.equal(case.run(range(seen)), fresh.run(range(seen)))
    assert case.pruner.audit() == case.pruner.target_count(19)


def test_in_a_second_training_the_warm_up_holds_no_mask():
    _, pruner = make(sparsity=CubicSparsity(0.2, 0.8, begin_step=5, end_step=20))
    zeros = []
    optimizer = run(pruner, 30)
    pruner.reset()
    run(pruner, 30, optimizer, zeros=zeros)
    assert zeros[:5] == [0] * 5
    assert pruner.audit() == 40


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("final_sparsity", {"sparsity": CubicSparsity(0.2, 0.8, begin_step=3, end_step=20)}),
        ("initial_sparsity", {"sparsity": CubicSparsity(0.1, 0.9, begin_step=3, end_step=20)}),
        ("begin_step", {"sparsity": CubicSparsity(0.2, 0.9, begin_step=2, end_step=20)}),
        ("end_step", {"sparsity": CubicSparsity(0.2, 0.9, begin_step=3, end_step=21)}),
        ("n_train", {"n_train": 11}),
        ("interval", {"interval": 5}),
    ],
)
def test_a_state_of_another_schedule_is_refused(field, change):
    _, pruner = make()
    run(pruner, 10)
    _, other = make(**change)
    with pytest.raises(ValueError, match=field):
        other.load_state_dict(pruner.state_dict())
    assert other.is_fresh


def test_a_state_continues_at_its_own_step_only():
    _, pruner = make()
    run(pruner, 10)
    state = pruner.state_dict()
    _, other = make()
    other.load_state_dict(state)
    check_continues_at(other, 10)
    for step in (0, 7, 9, 11, 12):
        with pytest.raises(ValueError, match="step"):
            check_continues_at(other, step)
    with pytest.raises(StepError):
        other.before_step(9)


def test_older_states_without_step_and_schedule_load_and_are_checked_by_their_events():
    _, pruner = make()
    run(pruner, 10)
    state = {key: value for key, value in pruner.state_dict().items() if key not in ("step", "schedule")}
    _, other = make()
    other.load_state_dict(state)
    check_continues_at(other, 10)
    for step in (3, 7, 12):
        with pytest.raises(ValueError, match="event"):
            check_continues_at(other, step)
    optimizer = torch.optim.Adam(other.weights.values(), lr=0.05)
    run(other, 30, optimizer, first=10)
    assert other.audit() == 45


def moved(dtype, steps=50):
    """The share of 2,000 weights that Adam moved, with steps of a ten-thousandth."""
    draw = torch.Generator().manual_seed(0)
    weight = torch.nn.Parameter((0.05 * torch.randn(2000, generator=draw)).to(dtype))
    start = weight.detach().clone()
    pruner = Pruner({"w": weight}, sparsity=CubicSparsity(0, 0, 0, 1), n_train=1)
    optimizer = torch.optim.Adam([weight], lr=1e-5)
    for step in range(steps):
        weight.grad = torch.randn(2000, generator=draw).to(dtype)
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
    return float((weight != start).float().mean())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_warn_once_that_small_updates_are_lost(dtype):
    with pytest.warns(UserWarning, match="float32") as warned:
        assert moved(dtype) < 0.5
    assert len(warned) == 1
    assert moved(torch.float32) == 1.0
