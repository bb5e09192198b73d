"""Find the metric that decides, and format metrics: shares in percent, all others as they are."""

import math
import re

from mgpp.runs.metrics_log import METRICS_COLUMNS
from mgpp.runs.reader import Run

SHARES = re.compile("accuracy|f1|matthews|pearson|spearman|match|rouge|precision|recall|auc|score", re.IGNORECASE)


def unit(metric: str) -> tuple[float, str]:
    """Return the factor of a metric in tables and figures, and its name there; one that is not known is no share.

    Example:
        >>> unit("accuracy"), unit("mse")
        ((100.0, 'accuracy, %'), (1.0, 'mse'))
    """
    words = metric.replace("_", " ")
    return (100.0, f"{words}, %") if SHARES.search(metric) else (1.0, words)


def format_score(metric: str, value: float, error: float | None = None) -> str:
    """Format a metric's value, with its standard error if it is known.

    Example:
        >>> format_score("accuracy", 0.756, 0.0123), format_score("perplexity", 159.6132, 0.0494)
        ('accuracy 75.6% ± 1.2%', 'perplexity 159.613 ± 0.049')
    """
    known = error is not None and math.isfinite(error)
    if SHARES.search(metric):
        return f"{metric} {value:.1%}" + (f" ± {error:.1%}" if known else "")
    if not known or not error or not math.isfinite(value):
        return f"{metric} {value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))  # two significant digits of the error
    return f"{metric} {value:.{digits}f} ± {error:.{digits}f}"


def score_column(run: Run) -> str:
    """Return the column of `Run.metrics` that says how good the model is; empty if none is logged yet.

    That is the metric that decides, the first other metric of an evaluation, or the first of one's own.
    """
    logged = [str(name) for name in run.metrics if run.metrics[name].notna().any()]
    own = [name for name in logged if name not in METRICS_COLUMNS and name != "grad_norm"]
    best = [name for name in (f"eval_{run.metric}", run.metric) if name in own]
    evaluated = [name for name in own if name.startswith("eval_")]
    return next((name for name in best + evaluated + own if not name.endswith(("_se", "_loss", "_n"))), "")
