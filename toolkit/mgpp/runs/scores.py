"""Format metrics: shares in percent, a loss or a perplexity as it is."""

import math

NO_SHARES = {"perplexity", "loss"}


def unit(metric: str) -> tuple[float, str]:
    """Return the factor of a metric in tables and figures, and its name there.

    Example:
        >>> unit("accuracy"), unit("perplexity")
        ((100.0, 'accuracy, %'), (1.0, 'perplexity'))
    """
    words = metric.replace("_", " ")
    return (1.0, words) if metric in NO_SHARES else (100.0, f"{words}, %")


def format_score(metric: str, value: float, error: float | None = None) -> str:
    """Format a metric's value, with its standard error if it is known.

    Example:
        >>> format_score("accuracy", 0.756, 0.0123), format_score("perplexity", 159.6132, 0.0494)
        ('accuracy 75.6% ± 1.2%', 'perplexity 159.613 ± 0.049')
    """
    known = error is not None and math.isfinite(error)
    if metric not in NO_SHARES:
        return f"{metric} {value:.1%}" + (f" ± {error:.1%}" if known else "")
    if not known or not error or not math.isfinite(value):
        return f"{metric} {value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))  # two significant digits of the error
    return f"{metric} {value:.{digits}f} ± {error:.{digits}f}"
