import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mgpp.lab.tasks.metrics import METRICS, f1_se, scores

TWO_ROWS = st.integers(1, 40).flatmap(lambda n: st.tuples(*[arrays(int, n, elements=st.integers(0, 1))] * 2))


@given(TWO_ROWS)
def test_metrics_of_two_classes_by_their_formulas(pair):
    labels, predictions = pair
    hits = (labels * predictions).sum()
    errors = (labels != predictions).sum()
    with warnings.catch_warnings(action="error"):
        found = scores(["accuracy", "f1", "matthews", "pearson", "spearman"], labels, predictions)
    assert found["accuracy"] == pytest.approx(1 - errors / len(labels))
    assert found["f1"] == pytest.approx(2 * hits / (2 * hits + errors) if hits else 0)
    assert found["matthews"] == pytest.approx(found["pearson"], abs=1e-9)
    assert found["spearman"] == pytest.approx(found["pearson"], abs=1e-9)


def test_what_is_undefined_is_zero():
    varied, constant = [0, 1, 1, 0], [1, 1, 1, 1]
    for name in ("matthews", "pearson", "spearman"):
        assert (
            METRICS[name](varied, constant) == METRICS[name](constant, varied) == METRICS[name](constant, constant) == 0
        )
    assert METRICS["pearson"]([1.5], [2.5]) == 0
    assert METRICS["f1"]([0, 0], [0, 0]) == f1_se([0, 0], [0, 0]) == 0


def test_standard_errors_are_those_of_repeated_samples():
    rng = np.random.default_rng(0)
    n, repeats = 500, 1000
    labels = rng.random((repeats, n)) < 0.3
    predictions = np.where(rng.random((repeats, n)) < 0.8, labels, ~labels)
    found = [scores(["accuracy", "f1"], *rows) for rows in zip(labels, predictions, strict=True)]
    for name in ("accuracy", "f1"):
        spread = np.std([row[name] for row in found])
        assert np.mean([row[f"{name}_se"] for row in found]) == pytest.approx(spread, rel=0.1)


def test_scores_have_standard_errors_where_they_are_known():
    found = scores(["f1", "accuracy", "pearson"], [1, 1, 0, 0], [1, 0, 0, 0])
    assert list(found) == ["f1", "f1_se", "accuracy", "accuracy_se", "pearson"]
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["accuracy_se"] == pytest.approx(math.sqrt(0.75 * 0.25 / 4))
