"""Compute metrics of classification and regression with their standard errors: labels first, then predictions.

Every metric is 0 where it is undefined, as after a collapse to one constant prediction.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

Metric = Callable[[ArrayLike, ArrayLike], float]


def f1(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Return F1 of class 1 against all others: 2 TP / (2 TP + FP + FN).

    Example:
        >>> f1([1, 1, 0, 0], [1, 0, 1, 0])
        0.5
    """
    return float(f1_score(labels, predictions, labels=[1], average="macro", zero_division=0))


def _zero_if_constant(measure: Metric) -> Metric:
    """Return a correlation that is 0 where labels or predictions are all the same."""

    def _measure(labels: ArrayLike, predictions: ArrayLike) -> float:
        constant = np.ptp(labels) == 0 or np.ptp(predictions) == 0
        return 0.0 if constant else float(measure(labels, predictions))

    return _measure


def share_se(share: float, n: int) -> float:
    """Return the binomial standard error of a share of n examples: sqrt(share (1 - share) / n).

    Example:
        >>> share_se(0.5, 100)
        0.05
    """
    return math.sqrt(share * (1 - share) / n)


def f1_se(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Return the standard error of F1 by the delta method.

    With p = TP/n and q = (FP + FN)/n, shares of one multinomial, F1 = 2p / (2p + q), hence
    Var F1 = 4 p q (p + q) / (n (2p + q)⁴).

    Example:
        >>> round(f1_se([1, 1, 0, 0], [1, 0, 1, 0]), 4)
        0.3062
    """
    positive, predicted = np.asarray(labels) == 1, np.asarray(predictions) == 1
    p, q = (positive & predicted).mean(), (positive != predicted).mean()
    return float(2 * math.sqrt(p * q * (p + q) / len(positive)) / (2 * p + q) ** 2) if p + q else 0.0


def _averaged_f1(average: str) -> Metric:
    return lambda labels, predictions: float(f1_score(labels, predictions, average=average, zero_division=0))


METRICS: dict[str, Metric] = {
    "accuracy": lambda labels, predictions: float(accuracy_score(labels, predictions)),
    "f1": f1,
    "macro_f1": _averaged_f1("macro"),
    "micro_f1": _averaged_f1("micro"),
    "matthews": _zero_if_constant(matthews_corrcoef),
    "pearson": _zero_if_constant(lambda labels, predictions: stats.pearsonr(labels, predictions).statistic),
    "spearman": _zero_if_constant(lambda labels, predictions: stats.spearmanr(labels, predictions).statistic),
}


def scores(names: Sequence[str], labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Return metrics by name, each with its standard error `<name>_se` where one is known.

    Example:
        >>> scores(["accuracy", "matthews"], [0, 1, 1, 1], [0, 0, 1, 0])["accuracy_se"]
        0.25
    """
    found = {}
    for name in names:
        found[name] = METRICS[name](labels, predictions)
        if name == "accuracy":
            found["accuracy_se"] = share_se(found[name], len(np.asarray(labels)))
        elif name == "f1":
            found["f1_se"] = f1_se(labels, predictions)
    return found
