import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba

from mgpp import RunWriter, load_run, load_runs
from mgpp.plots import distributions, style
from mgpp.plots.movies import shared_steps
from mgpp.runs.histograms import magnitude_shares


@pytest.fixture(scope="module")
def pair(tiny_runs_folder):
    runs = load_runs(tiny_runs_folder)
    return [next(run for run in runs if run.method == method) for method in ("mgpp", "l2")]


def test_both_signs_fall_into_one_bin_and_zeros_only_count_in_the_whole():
    columns = {
        "left": [-np.inf, -1.0, -0.1, 0.0, 0.0, 0.1],
        "right": [-1.0, -0.1, -1e-7, 0.0, 1e-7, 1.0],
        "count": [1, 10, 7, 50, 2, 30],
    }
    weights = pd.DataFrame({"step": 3} | columns)
    bins = magnitude_shares(weights)
    assert bins["left"].tolist() == [1e-7, 0.1]
    assert bins["count"].tolist() == [7, 40]
    assert bins["per_decade"].tolist() == pytest.approx([0.07 / 6, 0.4])


def test_the_area_over_decades_is_the_share_that_is_not_zero(pair):
    for run in pair:
        step = int(run.weights["step"].max())
        bins = magnitude_shares(run.weights, step)
        area = (bins["per_decade"] * np.log10(bins["right"] / bins["left"])).sum()
        assert area == pytest.approx(1 - distributions.moment(run, step)["zeros"], abs=1e-3)


def test_a_step_without_a_histogram_is_refused(pair):
    with pytest.raises(ValueError, match="step=4"):
        distributions.plot_weight_distribution(pair[0], 4)


def test_a_run_without_histograms_is_refused(tmp_path):
    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0})
    run = load_run(tmp_path / "run")
    with pytest.raises(ValueError, match="no histogram of the weights is logged"):
        distributions.plot_weight_distribution(run)


def test_a_moment_is_what_the_log_says(pair):
    for run in pair:
        for step in shared_steps(pair):
            logged, now = run.metrics.set_index("step").loc[step], distributions.moment(run, step)
            assert now["sparsity"] == logged["sparsity"] == pytest.approx(now["zeros"], abs=1e-6)
            for name in ("pruning_threshold", "prior_threshold"):
                assert now[name] == (logged[name] if pd.notna(logged[name]) and logged[name] else None)


def test_the_distribution_is_the_logged_one_with_both_thresholds(pair):
    run, step = pair[0], shared_steps(pair)[-1]
    ax = distributions.plot_weight_distribution(run, step)
    (stairs,) = ax.patches
    values, edges, _ = stairs.get_data()
    bins = magnitude_shares(run.weights, step).set_index("left")["per_decade"]
    drawn = dict(zip(edges, values, strict=False))
    assert {left: height for left, height in drawn.items() if height} == bins.to_dict()
    assert stairs.get_facecolor() == to_rgba(style.method_look("mgpp")["color"])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    now = distributions.moment(run, step)
    pruning, prior = ax.lines
    assert set(pruning.get_xdata()) == {now["pruning_threshold"]}
    assert set(prior.get_xdata()) == {now["prior_threshold"]}
    assert pruning.get_linestyle() != prior.get_linestyle()
    assert ax.get_title(loc="left") == "MGPP: 90.0% of the weights are zero"


def test_thresholds_are_named_where_there_are_such(pair):
    mgpp, l2 = pair
    first, *_, last = shared_steps(pair)
    texts = [
        [text.get_text().strip() for text in distributions.plot_weight_distribution(l2, step).texts]
        for step in (first, last)
    ]
    assert texts == [[], [f"pruning threshold {distributions.moment(l2, last)['pruning_threshold']:.4f}"]]
    for step, off in ((first, False), (last, True)):
        *_, prior = distributions.plot_weight_distribution(mgpp, step).texts
        assert f"τ {distributions.moment(mgpp, step)['prior_threshold']:.1e}" in prior.get_text()
        assert ("prior is off" in prior.get_text()) == off


def test_the_heat_map_holds_the_logged_shares_with_both_thresholds(pair):
    run = pair[0]
    ax = distributions.plot_weights_over_steps(run)
    (mesh,) = ax.collections
    steps = shared_steps([run])
    assert mesh.get_array().shape[1] == len(steps)
    for column, step in enumerate(steps):
        bins = magnitude_shares(run.weights, step)
        drawn = mesh.get_array()[:, column]
        assert drawn.max() == pytest.approx(bins["per_decade"].max())
        assert (drawn > distributions.SHARES[0]).sum() == (bins["per_decade"] > distributions.SHARES[0]).sum()
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    pruning = run.metrics[run.metrics["pruning_threshold"] > 0]
    assert lines["pruning threshold"].get_ydata().tolist() == pruning["pruning_threshold"].tolist()
    on = run.metrics[run.metrics["phase"] != "frozen"]  # where the prior is off, it has no line
    assert lines["prior threshold τ"].get_xdata().tolist() == on["step"].tolist()


def test_a_heat_map_of_one_step_is_one_column(pair):
    run = pair[1]
    first = run.weights[run.weights["step"] == run.weights["step"].min()]
    short = dataclasses.replace(run)
    short.__dict__.update(weights=first, metrics=run.metrics)
    assert distributions.plot_weights_over_steps(short).collections[0].get_array().shape[1] == 1
    short.__dict__["weights"] = first.iloc[:0]
    with pytest.raises(ValueError, match=run.name):
        distributions.plot_weights_over_steps(short)
