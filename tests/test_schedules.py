import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgpp import AnnealedPrior, CubicSparsity, LinearRamp, MixtureGaussianPrior


@st.composite
def schedules(draw):
    low, high = sorted((draw(st.floats(0, 0.99)), draw(st.floats(0, 0.99))))
    begin = draw(st.integers(0, 500))
    return CubicSparsity(low, high, begin, begin + draw(st.integers(1, 500)))


@given(schedules())
def test_sparsity_is_monotone_and_reaches_its_ends(schedule):
    values = [schedule(step) for step in range(schedule.end_step + 3)]
    assert all(a <= b + 1e-15 for a, b in itertools.pairwise(values))
    assert values[schedule.begin_step] == pytest.approx(schedule.initial_sparsity)
    assert values[schedule.end_step] == schedule.final_sparsity == values[-1]


def test_sparsity_by_hand():
    schedule = CubicSparsity(0.3, 0.9, begin_step=100, end_step=200)
    assert schedule(150) == pytest.approx(0.9 - 0.6 * 0.5**3)
    assert [schedule.phase(t) for t in (0, 99, 100, 199, 200)] == ["warmup", "warmup", "pruning", "pruning", "frozen"]


def test_prune_events_by_hand():
    schedule = CubicSparsity(0.0, 0.9, begin_step=3, end_step=10)
    assert [t for t in range(14) if schedule.prunes_at(t, interval=4)] == [3, 7, 10]


def test_no_sparsity_at_all_is_allowed():
    assert CubicSparsity(0.0, 0.0, 0, 1)(1) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 1.0, 0, 10), "final_sparsity=1.0"),
        ((0.0, -0.1, 0, 10), "final_sparsity=-0.1"),
        ((0.5, 0.4, 0, 10), "initial_sparsity=0.5"),
        ((0.0, 0.9, 10, 10), "end_step=10"),
        ((0.0, 0.9, -1, 10), "begin_step=-1"),
        ((0.0, 0.9, 0.5, 10), "begin_step=0.5"),
    ],
)
def test_bad_schedules_are_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        CubicSparsity(*arguments)


def test_whole_numbers_of_numpy_are_whole_numbers():
    schedule = CubicSparsity(np.float32(0.25), 0.5, np.int64(0), np.int64(2))
    assert schedule == CubicSparsity(0.25, 0.5, 0, 2)
    assert type(schedule.begin_step) is int
    assert type(schedule(1)) is float


@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 50))
def test_ramp_stays_between_its_ends(start, stop, step):
    value = LinearRamp(start, stop, begin_step=10, end_step=30)(step)
    assert min(start, stop) - 1e-12 <= value <= max(start, stop) + 1e-12


def test_annealed_prior_changes_only_what_has_a_ramp():
    prior = MixtureGaussianPrior(1e-4, 1e-10, 0.05)
    annealed = AnnealedPrior(prior, lam=LinearRamp(0.1, 1e-4, begin_step=10, end_step=20))
    assert annealed.at(0).lam == 0.1
    assert annealed.at(15).lam == pytest.approx((0.1 + 1e-4) / 2)
    assert annealed.at(20) == prior


def test_annealing_to_lambda_zero_is_no_log_of_zero():
    prior = MixtureGaussianPrior(0.1, 1e-10, 0.05)
    annealed = AnnealedPrior(prior, lam=LinearRamp(0.1, 0.0, begin_step=0, end_step=2))
    assert annealed.at(2).penalty_grad(1.0) == pytest.approx(1e10)


def test_a_ramp_out_of_range_is_refused_at_once():
    prior = MixtureGaussianPrior(0.1, 1e-10, 0.05)
    with pytest.raises(ValueError, match="lam=1.5"):
        AnnealedPrior(prior, lam=LinearRamp(0.1, 1.5, begin_step=0, end_step=2))


def test_what_is_no_ramp_is_refused():
    with pytest.raises(ValueError, match="LinearRamp"):
        AnnealedPrior(MixtureGaussianPrior(0.1, 1e-10, 0.05), lam=0.1)
    with pytest.raises(ValueError, match="start"):
        LinearRamp("0.1", 0.0, 0, 1)
