"""Write the tables of a comparison in Markdown: a row for each sparsity and method, with notes on the numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from mgpp.lab.comparison.frame import comparison_frame, comparison_summary, judged_by, paired_to
from mgpp.lab.comparison.tuning import has_settings
from mgpp.plots.runs import in_order
from mgpp.plots.style import method_label
from mgpp.runs import Run, unit

REFERENCE = "mgpp"


def results_markdown(runs: Iterable[Run], trials: Iterable[Run] = ()) -> str:
    """Return the tables of a folder's comparisons, one for each recipe, with its name above if there are several.

    Args:
        runs: finished and failed ones; those that did not finish are counted in the column of the seeds.
        trials: the runs that chose the settings of the methods, counted in the last column.

    Raises:
        ValueError: as `mgpp.lab.comparison.frame.scored` does.
    """
    frame = comparison_frame(runs, trials)
    if frame.empty:
        return "\n".join(_head("accuracy", True))
    names = frame["recipe"].value_counts().index
    parts = {name: frame[frame["recipe"] == name] for name in names}
    pairs = {name: paired_to(part, REFERENCE) for name, part in parts.items()}
    tables = [
        _table(part, pairs[name]) if len(parts) == 1 else f"**{name}**\n\n{_table(part, pairs[name])}"
        for name, part in parts.items()
    ]
    return "\n\n".join([*tables, _notes(pd.concat(pairs.values()))])


def _table(frame: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Return the table of one recipe's runs, from their `comparison_frame`."""
    joined = comparison_summary(frame).merge(
        pairs.rename(columns={"rival": "method"}), "left", ["sparsity", "method"], suffixes=("", "_ahead")
    )
    order = joined["method"].map(in_order(joined["method"]).index)
    joined = joined.assign(order=order).sort_values(["sparsity", "order"], ignore_index=True)
    metric, higher = judged_by(frame)
    scale, _ = unit(metric)
    rows = [f"| {' | '.join(_cells(row, scale))} |" for row in joined.to_dict("records")]
    return "\n".join([*_head(metric, higher), *rows])


def _head(metric: str, higher_is_better: bool) -> list[str]:
    score = unit(metric)[1] + ("" if higher_is_better else " (lower is better)")
    ahead = f"{method_label(REFERENCE)} minus this"
    columns = ["sparsity", "method", score, "seeds", "standard error of one run", ahead]
    columns += ["95%, Student's t", "95%, bootstrap", "steps", "trials"]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]


def _cells(row: Mapping[Any, Any], scale: float) -> list[str]:
    several = row["seeds_ahead"] > 1
    error, mark = (row["se_ahead"], "") if several else (row["test_se"], " †")
    mean, ahead = _number(row["mean"], scale), _number(row["mean_ahead"], scale, "+")
    interval = "{} to {}".format
    return [
        "–" if pd.isna(row["sparsity"]) else f"{row['sparsity']:g}",
        method_label(row["method"]),
        mean + _spread(row["se"], scale) if mean else "–",
        f"{row['seeds']}" + "".join(f" ({row[what]} {what})" for what in ("failed", "unfinished") if row[what]),
        _number(row["score_se"], scale),
        (ahead + _spread(error, scale) + mark if ahead else "") + (" ‡" if row["mixed_precision"] > 0 else ""),
        interval(*(_number(row[end], scale, "+") for end in ("t_low", "t_high"))) if several else "",
        interval(*(_number(row[end], scale, "+") for end in ("bootstrap_low", "bootstrap_high"))) if several else "",
        "–" if pd.isna(row["steps"]) else f"{row['steps']}",
        f"{row['trials']}" if row["trials"] or has_settings(row["method"]) else "none to tune",
    ]


def _number(value: float, scale: float, sign: str = "") -> str:
    """Format a number: percent with one decimal, other units with two; nothing for NaN."""
    return "" if np.isnan(value) else f"{scale * value:{sign}.{1 if scale > 1 else 2}f}"


def _spread(error: float, scale: float) -> str:
    return "" if np.isnan(error) else f" ± {_number(error, scale)}"


def _notes(pairs: pd.DataFrame) -> str:
    """Explain the columns and the marks that the tables have."""
    notes = ["± is one standard error over seeds, and of a difference the standard error over pairs of one seed."]
    if (pairs["seeds"] > 1).any():
        notes.append(
            "With few seeds the bootstrap's interval is too narrow (with three it is the range of the differences and "
            "misses one time in four); read Student's."
        )
    if (pairs["seeds"] == 1).any():
        notes.append("† One pair: ± is what the test set alone gives, two runs on it taken as independent.")
    if (pairs["mixed_precision"] > 0).any():
        notes.append("‡ In some pairs the two runs were computed in different precisions.")
    if len(pairs):
        notes.append("No interval is corrected for the number of comparisons.")
    notes.append("Steps are optimizer updates; trials chose a method's own settings.")
    return " ".join(notes)
