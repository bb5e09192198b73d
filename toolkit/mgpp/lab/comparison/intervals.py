"""How far the mean of few values can be trusted: standard error, Student's interval, bootstrap."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

LEVEL, RESAMPLES = 0.95, 10_000


def standard_error(values: Sequence[float] | np.ndarray | pd.Series) -> float:
    """Standard error of the mean of `values`: their standard deviation, with n - 1, over √n; NaN for a single one.

    Example:
        >>> round(standard_error([1.0, 2.0, 3.0]), 3), standard_error([1.0])
        (0.577, nan)
    """
    array = np.asarray(values, dtype=float)
    return float(array.std(ddof=1) / np.sqrt(len(array))) if len(array) > 1 else float("nan")


def t_interval(values: Sequence[float] | np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Student's confidence interval of the mean: mean ± t · standard error, with t of n - 1 degrees of freedom.

    Example:
        >>> tuple(round(end, 2) for end in t_interval([1.0, 2.0, 3.0]))
        (-0.48, 4.48)
    """
    reach = t_quantile((1 + level) / 2, len(values) - 1) * standard_error(values) if len(values) > 1 else float("nan")
    mean = float(np.mean(values))
    return mean - reach, mean + reach


def t_quantile(share: float, degrees: int) -> float:
    """The value below which `share` (at least one half) of Student's t with `degrees` of freedom lies.

    With t = √degrees · tan φ the density of φ is proportional to cos(φ) to the power degrees - 1; its area is summed.

    Example:
        >>> round(t_quantile(0.975, 2), 3)
        4.303
    """
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (degrees - 1)
    area = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return float(np.sqrt(degrees) * np.tan(np.interp((2 * share - 1) * area[-1], area, angles)))


def bootstrap_interval(
    values: Sequence[float] | np.ndarray, level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """Percentile bootstrap of the mean: quantiles of the means of resamples drawn with replacement, from a fixed seed.

    Over so few values as seeds it is too narrow, see `paired_to`. NaN for a single value.

    Example:
        >>> bootstrap_interval([1.0, 2.0, 3.0])
        (1.0, 3.0)
    """
    array = np.asarray(values, dtype=float)
    if len(array) < 2:
        return float("nan"), float("nan")
    drawn = np.random.default_rng(0).integers(len(array), size=(resamples, len(array)))
    low, high = np.quantile(array[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
