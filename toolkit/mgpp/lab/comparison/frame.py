"""Compare methods: a tidy frame of runs, means over seeds, and differences paired by seed with intervals."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from mgpp.lab.comparison.intervals import bootstrap_interval, standard_error, t_interval
from mgpp.lab.comparison.tuning import tuned_as
from mgpp.runs import Run, summary

COLUMNS = (
    *("recipe", "name", "method", "sparsity", "seed", "metric", "higher_is_better", "score", "score_se", "steps"),
    *("seconds", "status", "error", "precision", "data", "model", "commit", "trials"),
)
PAIRED_COLUMNS = (
    *("sparsity", "rival", "mean", "se", "seeds", "t_low", "t_high", "bootstrap_low", "bootstrap_high", "test_se"),
    "mixed_precision",
)
MUST_AGREE = {"metric": "metric", "steps": "number of optimizer steps", "data": "data's hash", "model": "model's hash"}


def main_experiment(runs: Iterable[Run]) -> list[Run]:
    """Return the runs of the recipe that most of them have; only runs of one recipe can be compared."""
    named: dict[str, list[Run]] = {}
    for run in runs:
        named.setdefault(run.recipe.get("name", ""), []).append(run)
    return max(named.values(), key=len, default=[])


def comparison_frame(runs: Iterable[Run], trials: Iterable[Run] = ()) -> pd.DataFrame:
    """Return the tidy frame of a comparison: one row a run, finished or not.

    Args:
        runs: of one or more recipes.
        trials: the runs that chose the settings of the methods.

    Returns:
        Columns recipe, name, method, sparsity, seed, metric, higher_is_better, score and score_se (the metric on the
        final split, and its standard error in a single run), steps (optimizer updates), seconds, status, error,
        precision, data and model (first digits of their hashes), commit (of the toolkit; + where its code was
        changed), trials (how many chose this method's settings in this recipe, see `mgpp.lab.comparison.tuning`).

    Example:
        >>> from pathlib import Path
        >>> run = Run(Path("a"), {"status": "failed", "error": "out of memory", "recipe": {"method": "l2", "seed": 3}})
        >>> comparison_frame([run])[["method", "seed", "status", "error"]].values.tolist()
        [['l2', 3, 'failed', 'out of memory']]
    """
    runs = list(runs)
    tried = [(run.recipe.get("name", ""), tuned_as(run.method)) for run in trials]
    origins = [_origin(run) for run in runs]
    counts = [tried.count((row["recipe"], tuned_as(run.method))) for row, run in zip(origins, runs, strict=True)]
    table = pd.DataFrame(origins, columns=[*COLUMNS]).assign(trials=counts)
    known = summary(runs)
    table[known.columns] = known
    table["sparsity"] = table["sparsity"].round(6)  # a sparsity that was counted, not asked for, has more digits
    return table.astype({"steps": "Int64"})


def _origin(run: Run) -> dict[str, Any]:
    """Return the columns that the summary of a run does not have."""
    git, hashes = run.info.get("git") or {}, run.info.get("sha256") or {}
    return {
        "recipe": run.recipe.get("name", ""),
        "higher_is_better": run.info.get("metric", {}).get("higher_is_better", True),
        "steps": run.info.get("steps", {}).get("total"),
        "error": run.info.get("error", ""),
        "precision": run.recipe.get("precision", ""),
        "data": (hashes.get("data") or "")[:12],
        "model": (hashes.get("model") or "")[:12],
        "commit": git.get("commit", "")[:12] + ("+" if git.get("changed") else ""),
    }


def scored(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of finished runs with a score.

    Raises:
        ValueError: if two runs have the same recipe, method, sparsity and seed, which would count a seed twice; or if
            runs of one recipe differ in metric, steps, data or model, and so are different experiments. The message
            names the runs.
    """
    rows = frame[(frame["status"] == "finished") & frame["score"].notna()]
    twice = rows[rows.duplicated(["recipe", "method", "sparsity", "seed"], keep=False)]
    if len(twice):
        raise ValueError(f"runs {', '.join(twice['name'])} share method, sparsity and seed; move all but one away")
    for _, group in rows.groupby("recipe"):
        for column, words in MUST_AGREE.items():
            names = group.groupby(column, dropna=False)["name"].agg(", ".join)
            if len(names) > 1:
                found = "; ".join(f"{value}: {runs}" for value, runs in names.items())
                raise ValueError(
                    f"runs of one comparison must have one {words}, these differ ({found}); move some away"
                )
    return rows


def judged_by(frame: pd.DataFrame) -> tuple[str, bool]:
    """Return the metric of a recipe's runs ("score" if no run knows it) and whether higher is better."""
    parts = (scored(frame), frame[frame["metric"] != ""], frame)
    row = next(part for part in parts if len(part)).iloc[0]
    return row["metric"] or "score", bool(row["higher_is_better"])


def comparison_summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds, a row for each recipe, sparsity and method.

    Returns:
        Columns recipe, sparsity, method, mean, se (standard deviation over seeds, with n - 1, over √n; NaN for one
        seed), score_se (mean of the single runs'), seeds (runs that count), failed (runs that failed, or have no
        score), unfinished (runs that are being trained, or were stopped), steps, trials, metric.

    Raises:
        ValueError: as `scored` does.
    """
    keys = ["recipe", "sparsity", "method"]
    waiting = frame.assign(unfinished=~frame["status"].isin(["finished", "failed"]))
    every, good = (rows.groupby(keys, dropna=False) for rows in (waiting, scored(frame)))
    means = good.agg(
        mean=("score", "mean"), se=("score", "sem"), score_se=("score_se", "mean"), metric=("metric", "first")
    )
    counts = every.agg(unfinished=("unfinished", "sum"), steps=("steps", "max"), trials=("trials", "max"))
    joined = counts.join(means).assign(seeds=good.size(), runs=every.size()).fillna({"seeds": 0}).astype({"seeds": int})
    joined["failed"] = joined["runs"] - joined["seeds"] - joined["unfinished"]
    columns = ["mean", "se", "score_se", "seeds", "failed", "unfinished", "steps", "trials", "metric"]
    return joined[columns].reset_index()


def paired_to(frame: pd.DataFrame, reference: str = "mgpp") -> pd.DataFrame:
    """Return the differences of `reference` minus each rival, paired by seed, at each sparsity of one recipe.

    A pair is two runs of one seed. They share the initial head and the order of batches, and what they share cancels
    in the difference. Three pairs say little. Their percentile bootstrap has 27 equally likely resamples, so at 95% its
    interval is the range of the three differences, and misses the true mean one time in four if they scatter evenly
    about it. The t interval is wide enough (4.3 standard errors to each side) if the differences are roughly normal,
    which three of them can't show. Report both, and believe the wider.

    Args:
        frame: from `comparison_frame`, of one recipe.
        reference: a method.

    Returns:
        Columns sparsity, rival, mean (of reference minus rival), se (paired, over seeds), seeds, t_low and t_high,
        bootstrap_low and bootstrap_high (95%), NaN for one seed; test_se, the standard error that the test set alone
        gives the difference of two single runs, √(score_se² + score_se²), too wide where both err on the same
        examples; mixed_precision, pairs whose runs were computed in different precisions.

    Raises:
        ValueError: as `scored` does.
    """
    rows = scored(frame)
    own, rivals = rows[rows["method"] == reference], rows[rows["method"] != reference]
    pairs = rivals.merge(own, on=["sparsity", "seed"], suffixes=("", "_own"))
    found = [
        {"sparsity": sparsity, "rival": rival, **_paired(group)}
        for (sparsity, rival), group in pairs.groupby(["sparsity", "method"])
    ]
    return pd.DataFrame(found, columns=[*PAIRED_COLUMNS])


def _paired(pairs: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of `PAIRED_COLUMNS` for the pairs of one rival."""
    above = (pairs["score_own"] - pairs["score"]).to_numpy()
    test_se = np.hypot(pairs["score_se"], pairs["score_se_own"]).mean()
    mixed = int((pairs["precision"] != pairs["precision_own"]).sum())
    measured = (above.mean(), standard_error(above), len(above), *t_interval(above), *bootstrap_interval(above))
    return dict(zip(PAIRED_COLUMNS[2:], (*measured, test_se, mixed), strict=True))
