"""Plots of the toy hold what the frames hold."""

import numpy as np
import pytest

from mgpp import CubicSparsity
from mgpp.plots import style
from mgpp.workshop.toy import compare_toys
from mgpp.workshop.toy_plots import plot_toy_metric, plot_toy_outcomes, plot_toy_weights


@pytest.fixture(scope="module")
def runs():
    common = {"steps": 16, "every": 1, "interval": 4, "sparsity": CubicSparsity(0.0, 0.9, begin_step=4, end_step=12)}
    return compare_toys({"as is": {}, "per layer": {"threshold_per_layer": True}}, seeds=[0, 1], **common)


def test_a_metric_has_a_line_a_run_and_a_name_a_variant(runs):
    ax = plot_toy_metric(runs.metrics, "test_loss")
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 16]
    assert len(lines) == 4
    first = runs.metrics.query("variant == 'as is' and seed == 0")
    np.testing.assert_array_equal(lines[0].get_ydata(), first["test_loss"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["as is", "per layer"]
    assert {line.get_linestyle() for line in lines} == {"-", "--"}
    assert [text.get_text() for text in ax.texts] == ["pruning →", "frozen →"]
    assert ax.get_ylabel() == "test loss"


def test_a_log_axis_on_request(runs):
    assert plot_toy_metric(runs.metrics, "data_norm", log=True).get_yscale() == "log"
    assert plot_toy_metric(runs.metrics, "data_norm").get_ylim()[0] == 0


def test_a_run_that_broke_off_at_once_is_a_point(runs):
    ax = plot_toy_metric(runs.metrics.query("step == 0 and seed == 0"), "loss")
    assert [line.get_marker() for line in ax.get_lines()] == ["o", "s"]
    assert not ax.texts


def test_outcomes_are_dots_and_a_bar_at_the_mean(runs):
    ax = plot_toy_outcomes(runs.metrics)
    dots, bar, *_ = ax.get_lines()
    last = runs.metrics.query("variant == 'as is' and step == 15")["found"]
    np.testing.assert_array_equal(dots.get_xdata(), last)
    assert bar.get_xdata()[0] == pytest.approx(last.mean())
    assert [label.get_text() for label in ax.get_yticklabels()] == ["as is", "per layer"]
    assert ax.yaxis_inverted()
    assert plot_toy_outcomes(runs.metrics, "test_loss").get_xlim()[0] == 0


def test_weights_show_what_was_kept_lost_and_false(runs):
    one = runs.weights.query("variant == 'as is' and seed == 0")
    ax = plot_toy_weights(one)
    groups = {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}
    kept = one[(one["layer"] == "first") & one["kept"]]
    assert f"first: kept ({len(kept)})" in groups
    np.testing.assert_array_equal(groups[f"first: kept ({len(kept)})"].get_ydata(), kept["value"])
    lost = one[(one["layer"] == "second") & ~one["kept"] & (one["true_weight"] != 0)]
    assert groups[f"second: true, but lost ({len(lost)})"].get_markerfacecolor() == "none"
    assert ax.get_lines()[2].get_color() == style.BLUE
