"""Metrics of classification and regression, in numpy alone: labels first, then predictions, one row an example.

Every metric is 0 where nothing can be said, as after a collapse to one constant prediction: F1 without a positive
label or prediction, Matthews' coefficient with one class on either side, a correlation with a constant.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Metric = Callable[[ArrayLike, ArrayLike], float]


def accuracy(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The share of predictions that equal their labels.

    Example:
        >>> accuracy([0, 1, 1, 2], [0, 1, 2, 2])
        0.75
    """
    labels, predictions = _pair(labels, predictions)
    return float((labels == predictions).mean())


def f1(labels: ArrayLike, predictions: ArrayLike) -> float:
    """F1 of class 1 against all others: 2 TP / (2 TP + FP + FN).

    Example:
        >>> f1([1, 1, 0, 0], [1, 0, 1, 0])
        0.5
    """
    hits, errors = _hits_and_errors(labels, predictions)
    return 2 * hits / (2 * hits + errors) if hits else 0.0


def matthews(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Matthews' correlation coefficient, for any number of classes: the correlation of the two class indicators.

    With C the counts of (label, prediction), t and p its row and column sums and s its total:
    (s tr C - t·p) / sqrt((s² - t·t)(s² - p·p)) (Gorodkin 2004).

    Example:
        >>> round(matthews([1, 1, 0, 0], [1, 1, 0, 1]), 4)
        0.5774
    """
    labels, predictions = _pair(labels, predictions)
    classes = np.union1d(labels, predictions)
    of_labels, of_predictions = ([int((values == kind).sum()) for kind in classes] for values in (labels, predictions))
    total, correct = len(labels), int((labels == predictions).sum())
    covariance = total * correct - _dot(of_labels, of_predictions)
    spread = (total**2 - _dot(of_labels, of_labels)) * (total**2 - _dot(of_predictions, of_predictions))
    return covariance / math.sqrt(spread) if spread else 0.0


def pearson(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Pearson's correlation coefficient.

    Example:
        >>> round(pearson([1, 2, 3], [-2, -4, -6]), 12)
        -1.0
    """
    x, y = _pair(labels, predictions)
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    x, y = _standardized(x), _standardized(y)
    return float(np.clip(x @ y, -1, 1))


def spearman(labels: ArrayLike, predictions: ArrayLike) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties sharing the mean of their ranks.

    Example:
        >>> round(spearman([1, 2, 3, 4], [10, 100, 1000, 10000]), 12)
        1.0
    """
    labels, predictions = _pair(labels, predictions)
    return pearson(ranks(labels), ranks(predictions))


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1, equal values sharing the mean of theirs.

    Example:
        >>> ranks([10, 20, 10, 30]).tolist()
        [1.5, 3.0, 1.5, 4.0]
    """
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[place]


def share_se(share: float, n: int) -> float:
    """The binomial standard error of a share of n examples: sqrt(share (1 - share) / n).

    Example:
        >>> share_se(0.5, 100)
        0.05
    """
    return math.sqrt(share * (1 - share) / n)


def f1_se(labels: ArrayLike, predictions: ArrayLike) -> float:
    """The standard error of F1 by the delta method.

    With p = TP/n and q = (FP + FN)/n, shares of one multinomial, F1 = 2p / (2p + q), hence
    Var F1 = 4 p q (p + q) / (n (2p + q)⁴).

    Example:
        >>> round(f1_se([1, 1, 0, 0], [1, 0, 1, 0]), 4)
        0.3062
    """
    hits, errors = _hits_and_errors(labels, predictions)
    n = np.asarray(labels).shape[0]
    p, q = hits / n, errors / n
    return 2 * math.sqrt(p * q * (p + q) / n) / (2 * p + q) ** 2 if p + q else 0.0


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "f1": f1,
    "matthews": matthews,
    "pearson": pearson,
    "spearman": spearman,
}
STANDARD_ERRORS: dict[str, Metric] = {
    "accuracy": lambda labels, predictions: share_se(accuracy(labels, predictions), len(np.asarray(labels))),
    "f1": f1_se,
}


def scores(names: Sequence[str], labels: ArrayLike, predictions: ArrayLike) -> dict[str, float]:
    """Metrics by name, each with its standard error `<name>_se` where one is known.

    Example:
        >>> scores(["accuracy", "matthews"], [0, 1, 1, 1], [0, 0, 1, 0])["accuracy_se"]
        0.25
    """
    found = {}
    for name in names:
        found[name] = METRICS[name](labels, predictions)
        if name in STANDARD_ERRORS:
            found[f"{name}_se"] = STANDARD_ERRORS[name](labels, predictions)
    return found


def _pair(labels: ArrayLike, predictions: ArrayLike) -> tuple[NDArray, NDArray]:
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1 or not labels.size:
        raise ValueError(
            f"labels of shape {labels.shape} and predictions of shape {predictions.shape} must be one row, equally "
            "long, and not empty"
        )
    return labels, predictions


def _hits_and_errors(labels: ArrayLike, predictions: ArrayLike) -> tuple[int, int]:
    """True positives of class 1, and false ones of both kinds."""
    labels, predictions = _pair(labels, predictions)
    positive, predicted = labels == 1, predictions == 1
    return int((positive & predicted).sum()), int((positive != predicted).sum())


def _dot(a: Sequence[int], b: Sequence[int]) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))  # Python's integers, which don't overflow


def _standardized(values: NDArray) -> NDArray[np.float64]:
    """Centred, of length 1; scaled first, so that no square overflows or vanishes."""
    centred = np.asarray(values, np.float64) - np.mean(values, dtype=np.float64)
    centred /= np.abs(centred).max() or 1
    return centred / (np.linalg.norm(centred) or 1)
