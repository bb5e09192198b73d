import math
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from sklearn import metrics as reference

from mgpp.lab.tasks.metrics import METRICS, accuracy, f1, f1_se, matthews, pearson, ranks, scores, spearman

REFERENCES = {
    "accuracy": reference.accuracy_score,
    "f1": lambda labels, predictions: reference.f1_score(labels, predictions, zero_division=0),
    "matthews": reference.matthews_corrcoef,
    "pearson": lambda x, y: stats.pearsonr(x, y).statistic,
    "spearman": lambda x, y: stats.spearmanr(x, y).statistic,
}


def two_rows(elements, dtype=int, min_size=1):
    sizes = st.integers(min_size, 40)
    return sizes.flatmap(lambda n: st.tuples(*[arrays(dtype, n, elements=elements)] * 2))


@pytest.mark.parametrize("name", ["accuracy", "f1", "matthews"])
@given(two_rows(st.integers(0, 1)))
def test_two_classes_as_scikit_learn(name, pair):
    with warnings.catch_warnings(action="ignore"):  # of a single class
        expected = REFERENCES[name](*pair)
    assert METRICS[name](*pair) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["accuracy", "matthews"])
@given(two_rows(st.integers(0, 4)))
def test_many_classes_as_scikit_learn(name, pair):
    with warnings.catch_warnings(action="ignore"):
        expected = REFERENCES[name](*pair)
    assert METRICS[name](*pair) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["pearson", "spearman"])
@given(two_rows(st.integers(-5, 5).map(lambda value: value / 2), float, min_size=2))
def test_correlations_as_scipy_with_ties(name, pair):
    assume(all(np.ptp(values) > 0 for values in pair))
    assert METRICS[name](*pair) == pytest.approx(REFERENCES[name](*pair), abs=1e-9)


@given(arrays(float, st.integers(1, 40), elements=st.integers(-5, 5)))
def test_ranks_as_scipy(values):
    np.testing.assert_array_equal(ranks(values), stats.rankdata(values))


@given(two_rows(st.floats(-1e3, 1e3), float, min_size=2))
def test_spearman_sees_only_the_order(pair):
    x, y = pair
    assert spearman(x, y) == pytest.approx(spearman(np.float64(x) * 8, y))
    assert spearman(x, y) == pytest.approx(-spearman(-x, y), abs=1e-12)
    assert -1 <= spearman(x, y) <= 1


@given(two_rows(st.integers(0, 1)))
def test_matthews_is_pearsons_correlation_of_two_classes_and_symmetric(pair):
    labels, predictions = pair
    assert matthews(labels, predictions) == pytest.approx(pearson(labels, predictions), abs=1e-12)
    assert matthews(labels, predictions) == matthews(predictions, labels)
    assert matthews(labels, 1 - predictions) == pytest.approx(-matthews(labels, predictions), abs=1e-12)


def test_one_constant_side_is_zero_and_never_a_gap():
    varied, constant = [0, 1, 1, 0], [1, 1, 1, 1]
    assert matthews(varied, constant) == matthews(constant, varied) == matthews(constant, constant) == 0
    assert pearson(varied, constant) == spearman(constant, varied) == 0
    assert f1([0, 0], [0, 0]) == f1_se([0, 0], [0, 0]) == 0
    assert accuracy(constant, constant) == 1


def test_no_overflow_with_many_examples_and_large_values():
    n = 400_000
    labels = np.tile(np.array([0, 1], np.int32), n // 2)
    assert matthews(labels, labels) == 1
    assert matthews(labels, 1 - labels) == -1
    assert pearson([1e300, 2e300, 3e300], [1, 2, 3]) == pytest.approx(1)
    assert pearson(np.float32([1e-30, 2e-30, 3e-30]), [3, 2, 1]) == pytest.approx(-1)


def test_standard_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(0)
    n, repeats = 500, 4000
    labels = rng.random((repeats, n)) < 0.3
    predictions = np.where(rng.random((repeats, n)) < 0.8, labels, ~labels)
    found = [scores(["accuracy", "f1"], *rows) for rows in zip(labels, predictions, strict=True)]
    for name in ("accuracy", "f1"):
        spread = np.std([row[name] for row in found])
        assert np.mean([row[f"{name}_se"] for row in found]) == pytest.approx(spread, rel=0.05)


def test_scores_have_standard_errors_where_they_are_known():
    found = scores(["f1", "accuracy", "pearson"], [1, 1, 0, 0], [1, 0, 0, 0])
    assert list(found) == ["f1", "f1_se", "accuracy", "accuracy_se", "pearson"]
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["accuracy_se"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))


@pytest.mark.parametrize("pair", [([], []), ([1], [1, 2]), ([[1]], [[1]])])
def test_rows_that_do_not_fit_are_refused(pair):
    for metric in METRICS.values():
        with pytest.raises(ValueError, match="must be one row, equally long, and not empty"):
            metric(*pair)
