from itertools import product

import numpy as np
import pytest

from mgpp.lab.comparison.intervals import bootstrap_interval, standard_error, t_interval

THREE = np.array([-0.0090, -0.0125, -0.0035])


def test_students_interval_by_hand():
    mean, error = -0.025 / 3, standard_error(THREE)
    assert error == pytest.approx(np.sqrt(sum((THREE - mean) ** 2) / 2 / 3))
    assert t_interval(THREE) == pytest.approx((mean - 4.302653 * error, mean + 4.302653 * error), rel=1e-6)


@pytest.mark.parametrize("values", [THREE, THREE[:2], np.array([1.0, 4.0, 2.0, 8.0, 5.0])])
def test_the_bootstrap_is_that_of_all_resamples(values):
    every = [np.mean(resample) for resample in product(values, repeat=len(values))]
    expected = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    spacing = np.diff(np.unique(every)).max()  # quantiles of a sample may fall on the value beside
    np.testing.assert_allclose(bootstrap_interval(values), expected, atol=spacing if len(values) > 3 else 1e-12)


def test_of_three_seeds_the_bootstrap_knows_only_their_range():
    assert bootstrap_interval(THREE) == pytest.approx((THREE.min(), THREE.max()), rel=1e-12)
    low, high = t_interval(THREE)
    assert low < THREE.min()
    assert high > THREE.max()


def test_a_range_of_three_misses_one_time_in_four():
    samples = np.random.default_rng(1).normal(size=(20_000, 3))
    missed = (samples.min(axis=1) > 0) | (samples.max(axis=1) < 0)
    assert missed.mean() == pytest.approx(0.25, abs=0.02)
    intervals = np.array([t_interval(sample) for sample in samples[:200]])
    assert 0.9 < np.mean((intervals[:, 0] < 0) & (intervals[:, 1] > 0)) <= 1


def test_the_same_values_give_the_same_bootstrap():
    values = np.random.default_rng(2).normal(size=7)
    assert bootstrap_interval(values) == bootstrap_interval(values)


def test_one_value_has_no_interval():
    assert np.isnan([standard_error([0.3]), *t_interval([0.3]), *bootstrap_interval([0.3])]).all()
