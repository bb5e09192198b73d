from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgpp.lab.comparison.frame import (
    COLUMNS,
    comparison_frame,
    comparison_summary,
    judged_by,
    main_experiment,
    paired_to,
    scored,
)
from mgpp.lab.comparison.intervals import bootstrap_interval, t_interval
from mgpp.lab.comparison.table import results_markdown
from mgpp.runs import Run


def fake(method, seed, score=None, sparsity=0.9, name="exam", precision="fp32", **info):
    """A finished run with a score, or a failed one without."""
    recipe = {"name": name, "method": method, "seed": seed, "sparsity": {"final": sparsity}, "precision": precision}
    known = {
        "status": "failed" if score is None else "finished",
        "recipe": recipe,
        "steps": {"total": 100},
        "final": {} if score is None else {"accuracy": score, "accuracy_se": 0.01},
        "sha256": {"data": "d" * 64, "model": None},
    }
    return Run(Path(f"{method}-{sparsity}-{seed}"), known | info)


def test_the_frame_has_a_row_a_run():
    runs = [fake("mgpp", 0, 0.8, git={"commit": "0123456789abcdef", "changed": True}, wall_seconds=60.5)]
    runs.append(fake("l0", 1, error="RuntimeError: no memory"))
    trials = [fake("mgpp", 100, 0.7), fake("mgpp", 100, 0.6), fake("mgpp", 100, 0.6, name="another recipe")]
    frame = comparison_frame(runs, trials)
    assert tuple(frame.columns) == COLUMNS
    assert frame.iloc[0].to_dict() == {
        "recipe": "exam",
        "name": "mgpp-0.9-0",
        "method": "mgpp",
        "sparsity": 0.9,
        "seed": 0,
        "metric": "accuracy",
        "higher_is_better": True,
        "score": 0.8,
        "score_se": 0.01,
        "steps": 100,
        "seconds": 60.5,
        "status": "finished",
        "error": "",
        "precision": "fp32",
        "data": "d" * 12,
        "model": "",
        "commit": "0123456789ab+",
        "trials": 2,
    }
    assert frame.loc[1, ["status", "error", "trials"]].tolist() == ["failed", "RuntimeError: no memory", 0]
    assert np.isnan(frame.loc[1, "score"])
    assert comparison_frame([]).empty


def test_the_score_is_the_runs_own_metric():
    metric = {"name": "perplexity", "higher_is_better": False}
    frame = comparison_frame([fake("mgpp", 0, 0.8, metric=metric, final={"perplexity": 12.0, "accuracy": 0.1})])
    assert frame.loc[0, ["metric", "score", "higher_is_better"]].tolist() == ["perplexity", 12.0, False]
    assert np.isnan(frame.loc[0, "score_se"])


def test_means_over_seeds_by_hand():
    runs = [fake("l2", 0, 0.8), fake("l2", 1, 0.7), fake("l2", 2), fake("mgpp", 0, 0.9), fake("l0", 0)]
    table = comparison_summary(comparison_frame(runs)).set_index("method")
    assert table.loc["l2", "mean"] == pytest.approx(0.75)
    assert table.loc["l2", "se"] == pytest.approx(0.05)  # sd 0.0707 / sqrt 2
    assert table.loc["l2", ["seeds", "failed"]].tolist() == [2, 1]
    assert table.loc["mgpp", "mean"] == 0.9
    assert np.isnan(table.loc["mgpp", "se"])
    assert table.loc["l0", ["seeds", "failed"]].tolist() == [0, 1]
    assert np.isnan(table.loc["l0", "mean"])


def test_a_run_that_ended_with_nan_is_no_score():
    runs = [fake("l2", 0, 0.8), fake("l2", 1, 0.5, final={"accuracy": None})]
    table = comparison_summary(comparison_frame(runs))
    assert table.loc[0, ["mean", "seeds", "failed"]].tolist() == [0.8, 1, 1]


def test_a_run_that_is_being_trained_has_not_failed():
    runs = [fake("l2", 0, 0.8), fake("l2", 1, status="running"), fake("l2", 2, status="stopped"), fake("l2", 3)]
    table = comparison_summary(comparison_frame(runs))
    assert table.loc[0, ["seeds", "failed", "unfinished"]].tolist() == [1, 1, 2]


def test_sparsities_that_lie_close_together_are_told_apart():
    runs = [fake("l2", 0, 0.8, sparsity=0.99991), fake("l2", 0, 0.7, sparsity=0.99994)]
    assert comparison_summary(comparison_frame(runs))["mean"].tolist() == [0.8, 0.7]


def test_differences_are_paired_by_seed_and_sparsity():
    runs = [fake("mgpp", seed, 0.8 + 0.05 * seed) for seed in range(3)]
    runs += [fake("l2", seed, score) for seed, score in enumerate((0.79, 0.86, 0.87))]
    runs += [fake("l1", 2, 0.5), fake("l1", 7, 0.1), fake("l2", 0, 0.4, sparsity=0.95)]
    table = paired_to(comparison_frame(runs)).set_index("rival")
    differences = [0.01, -0.01, 0.03]
    assert table.loc["l2", "sparsity"] == 0.9
    assert table.loc["l2", "mean"] == pytest.approx(0.01)
    assert table.loc["l2", "se"] == pytest.approx(0.02 / np.sqrt(3))
    assert table.loc["l2", ["t_low", "t_high"]].tolist() == pytest.approx(list(t_interval(differences)))
    found = table.loc["l2", ["bootstrap_low", "bootstrap_high"]].tolist()
    assert found == pytest.approx(list(bootstrap_interval(differences)))
    assert table.loc["l1", ["seeds", "mean"]].tolist() == [1, pytest.approx(0.4)]
    assert table.loc["l1", "test_se"] == pytest.approx(0.01 * np.sqrt(2))
    assert table.loc["l1", ["se", "t_low", "t_high", "bootstrap_low", "bootstrap_high"]].isna().all()


def test_a_seed_that_failed_makes_no_pair():
    frame = comparison_frame([fake("mgpp", 0, 0.8), fake("mgpp", 1), fake("l2", 0, 0.7), fake("l2", 1, 0.6)])
    assert paired_to(frame)["seeds"].tolist() == [1]
    assert paired_to(frame[frame["method"] == "l2"]).empty
    assert paired_to(frame, "l2")["mean"].tolist() == [pytest.approx(-0.1)]


def test_pairs_of_different_precision_are_counted():
    runs = [fake("mgpp", 0, 0.8), fake("l2", 0, 0.7, precision="bf16"), fake("mgpp", 1, 0.8), fake("l2", 1, 0.7)]
    assert paired_to(comparison_frame(runs))["mixed_precision"].tolist() == [1]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"steps": {"total": 99}}, "steps.*l2-0.9-0.*mgpp-0.9-0"),
        ({"steps": {}}, "steps"),
        ({"sha256": {"data": "e" * 64}}, "data"),
        ({"sha256": {"data": "d" * 64, "model": "f" * 64}}, "model"),
        ({"metric": {"name": "loss"}, "final": {"loss": 1.0}}, "metric"),
    ],
)
def test_what_was_not_the_same_budget_is_refused(other, words):
    frame = comparison_frame([fake("mgpp", 0, 0.8), fake("l2", 0, 0.8, **other)])
    for made_of in (scored, comparison_summary, paired_to):
        with pytest.raises(ValueError, match=words):
            made_of(frame)
    apart = frame.assign(recipe=["one", "another"])
    assert len(scored(apart)) == 2


def test_what_failed_may_have_made_fewer_steps():
    frame = comparison_frame([fake("mgpp", 0, 0.8), fake("l2", 0, steps={})])
    assert pd.isna(frame.loc[1, "steps"])
    assert len(scored(frame)) == 1


def test_the_main_experiment_is_that_of_most_runs():
    runs = [fake("mgpp", 0, 0.8, name="b"), fake("mgpp", 0, 0.8), fake("l2", 0, 0.8)]
    assert main_experiment(runs) == runs[1:]
    assert main_experiment([]) == []


def test_a_run_that_failed_before_it_knew_its_metric_names_none():
    metric = {"name": "perplexity", "higher_is_better": False}
    runs = [fake("gmp", 0), fake("mgpp", 0, 24.1, metric=metric, final={"perplexity": 24.1})]
    assert judged_by(comparison_frame(runs)) == ("perplexity", False)
    assert "perplexity (lower is better)" in results_markdown(runs)
    assert "| 24.10 |" in results_markdown(runs)
    assert comparison_frame(runs)["metric"].tolist() == ["", "perplexity"]
    known = fake("l2", 0, metric=metric)  # failed later
    assert judged_by(comparison_frame([runs[0], known])) == ("perplexity", False)
    assert judged_by(comparison_frame(runs[:1])) == ("score", True)
    assert "| score, % |" in results_markdown(runs[:1])
