import inspect

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from mgpp import L1, L2, MixtureGaussianPrior
from mgpp.plots import axes, landscape, style
from mgpp.plots import runs as plots

PRIOR = MixtureGaussianPrior(1e-6, 1e-7, 0.1)


def lines_by_label(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_pulls_have_the_shape_of_the_gradient_and_the_height_one():
    penalties = (L1(3.0), L2(7.0), PRIOR)
    ax = landscape.plot_pulls(penalties, limit=0.006)
    for penalty in penalties:
        x, y = lines_by_label(ax)[penalty.label].get_data()
        pull = penalty.penalty_grad(x)
        drawn = np.isfinite(y)
        np.testing.assert_allclose(y[drawn], (pull / np.abs(pull).max())[drawn])
        assert np.nanmax(y) == pytest.approx(1)
    x, y = lines_by_label(ax)["L1"].get_data()
    assert np.isnan(y[x == 0]).all()  # the jump is no line
    assert "±τ = 0.002" in lines_by_label(ax)


def test_paths_are_drawn_as_given_and_the_threshold_only_where_it_is_near():
    paths = pd.DataFrame({"L1": [0.0015, 0.0005, -0.0005], "MGP": [0.0015, 0.001, 0.0]})
    ax = landscape.plot_paths(paths, PRIOR)
    for label in paths:
        line = lines_by_label(ax)[label]
        np.testing.assert_array_equal(line.get_ydata(), paths[label])
        assert (line.get_color(), line.get_linestyle()) == (style.PENALTY_COLORS[label], style.PENALTY_LINES[label])
    assert lines_by_label(ax)["τ = 0.002"].get_ydata()[0] == PRIOR.threshold
    assert "τ = 0.002" not in lines_by_label(landscape.plot_paths(paths / 100, PRIOR))
    assert list(lines_by_label(landscape.plot_paths(paths, L2()))) == ["L1", "MGP"]


def test_weights_are_a_density_with_their_share_in_the_spike():
    weights = np.concatenate([np.full(30, 0.001), np.full(70, 0.05), np.full(100, 5.0)]).reshape(20, 10)
    ax = landscape.plot_weights(weights, PRIOR, limit=0.2)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["200 weights", "15.0% of them in the spike", "±τ = 0.002"]
    (stairs,) = (patch for patch in ax.patches if hasattr(patch, "get_data"))
    values, edges, _ = stairs.get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(0.5)  # half of them lie beyond the limit
    assert len(landscape.plot_weights(weights, L2()).lines) == 0


def test_a_plot_without_ax_gets_one_in_the_style_of_the_figures_and_leaves_the_settings_alone():
    before = dict(mpl.rcParams)
    ax = landscape.plot_pulls([PRIOR])
    assert tuple(ax.figure.get_size_inches()) == axes.OWN_SIZE
    assert ax.xaxis.label.get_size() == 8
    assert dict(mpl.rcParams) == before
    given = plt.figure().subplots()
    assert landscape.plot_pulls([PRIOR], ax=given) is given


@pytest.mark.parametrize("plot", [landscape.plot_weights, plots.plot_metric, plots.plot_trajectories])
def test_help_shows_that_ax_may_be_left_out(plot):
    assert inspect.signature(plot).parameters["ax"].default is None
