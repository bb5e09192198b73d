"""Measure how uncertain the mean of few values is: standard error, Student's interval, bootstrap."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

LEVEL, RESAMPLES = 0.95, 10_000


def standard_error(values: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Return the standard error of the mean: the standard deviation, with n - 1, over √n; NaN for one value.

    Example:
        >>> round(standard_error([1.0, 2.0, 3.0]), 3), standard_error([1.0])
        (0.577, nan)
    """
    array = np.asarray(values, dtype=float)
    return float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")


def t_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Return Student's confidence interval of the mean: mean ± t · standard error, t with n - 1 degrees of freedom.

    Example:
        >>> tuple(round(end, 2) for end in t_interval([1.0, 2.0, 3.0]))
        (-0.48, 4.48)
    """
    reach = stats.t.ppf((1 + level) / 2, len(values) - 1) * standard_error(values)
    mean = float(np.mean(values))
    return mean - float(reach), mean + float(reach)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean, from resamples drawn with a fixed seed.

    With few values, such as seeds, it is too narrow, see `paired_to`. NaN for one value.

    Example:
        >>> bootstrap_interval([1.0, 2.0, 3.0])
        (1.0, 3.0)
    """
    if len(values) < 2:
        return float("nan"), float("nan")
    rng, options = np.random.default_rng(0), {"confidence_level": level, "n_resamples": resamples}
    low, high = stats.bootstrap([values], np.mean, method="percentile", rng=rng, **options).confidence_interval
    return float(low), float(high)
