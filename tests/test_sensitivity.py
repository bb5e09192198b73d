"""The trained sweeps as a table and as plots, on runs of a few rows."""

from pathlib import Path

import pandas as pd
import pytest

from mgpp import figure_sensitivity, sensitivity_table
from mgpp.plots.sensitivity import default_prior, plot_accuracy, plot_both_thresholds, plot_spike_shares
from mgpp.prior.mixture import MixtureGaussianPrior
from mgpp.runs import Run

DEFAULT = {"lam": 1e-4, "spike_var": 1e-10, "slab_var": 0.05}


def run(name, accuracy, *, status="finished", **changes):
    recipe = {"method": "mgpp", "seed": 0, "prior": DEFAULT | changes}
    made = Run(Path(name), {"status": status, "recipe": recipe, "final": {"accuracy": accuracy, "accuracy_se": 0.01}})
    made.__dict__["metrics"] = pd.DataFrame(
        {
            "phase": ["warmup", "warmup", "pruning", "pruning", "frozen"],
            "spike_fraction": [0.1, 0.2, 0.5, 0.92, 0.9],
            "sparsity": [0.0, 0.0, 0.5, 0.9, 0.9],
            "prior_threshold": [1e-5, 1e-5, 2e-5, 3e-5, None],
            "pruning_threshold": [None, None, 0.01, 0.04, 0.05],
        }
    )
    return made


@pytest.fixture
def runs():
    return [
        run("default", 0.8),
        run("low", 0.7, spike_var=1e-12),
        run("high", 0.6, spike_var=1e-8),
        run("rare", 0.75, lam=1e-6),
        run("wide", 0.78, slab_var=0.5),
        run("stopped", 0.1, slab_var=5.0, status="running"),
    ]


def test_the_default_is_what_most_runs_have(runs):
    assert default_prior(runs) == MixtureGaussianPrior(**DEFAULT)


def test_each_run_stands_under_what_it_changes_and_the_default_under_all(runs):
    table = sensitivity_table(runs)
    found = {field: rows["name"].tolist() for field, rows in table.groupby("field")}
    assert found == {
        "spike_var": ["low", "default", "high"],
        "lam": ["rare", "default"],
        "slab_var": ["default", "wide"],
    }
    assert table[table["field"] == "spike_var"]["value"].tolist() == [1e-12, 1e-10, 1e-8]


def test_what_is_measured_is_read_at_the_right_steps(runs):
    row = sensitivity_table(runs).iloc[0]
    assert row["spike_before"] == 0.2  # the last row of the warm-up
    assert row["spike_kept"] == pytest.approx(0.2)  # two hundredths of the tenth that is kept
    assert (row["prior_threshold"], row["pruning_threshold"]) == (3e-5, 0.04)  # the last row with both


def test_runs_that_do_not_make_a_sweep_are_refused(runs):
    with pytest.raises(ValueError, match="both changes spike_var=1e-08 and slab_var=5 at once"):
        sensitivity_table([*runs, run("both", 0.5, spike_var=1e-8, slab_var=5.0)])
    with pytest.raises(ValueError, match="no finished runs"):
        sensitivity_table(runs[-1:])


def test_runs_of_several_experiments_are_refused(runs):
    runs[1].recipe["seed"] = 1
    with pytest.raises(ValueError, match="low and default differ in seed|default and low differ in seed"):
        sensitivity_table(runs)


def test_a_sweep_that_has_just_begun_has_no_default_yet(runs):
    with pytest.raises(ValueError, match="spike_var is 1e-12 and 1e-10 equally often"):
        sensitivity_table(runs[:2])


def test_runs_without_a_warmup_are_named(runs):
    metrics = runs[0].metrics
    runs[0].__dict__["metrics"] = metrics[metrics["phase"] != "warmup"]
    with pytest.raises(ValueError, match="default .*sparsity.warmup"):
        sensitivity_table(runs)


def test_plots_hold_the_table(runs):
    table = sensitivity_table(runs)
    rows = table[table["field"] == "spike_var"]
    drawn = {
        plot_accuracy: ["accuracy"],
        plot_spike_shares: ["spike_before", "spike_kept"],
        plot_both_thresholds: ["pruning_threshold", "prior_threshold"],
    }
    for plot, columns in drawn.items():
        ax = plot(table, "spike_var")
        assert ax.get_xscale() == "log"
        for line, column in zip(ax.lines, columns, strict=False):
            assert line.get_xdata().tolist() == rows["value"].tolist()
            assert line.get_ydata().tolist() == rows[column].tolist()


def test_the_figure_has_a_column_for_each_hyperparameter(runs):
    figure = figure_sensitivity(runs)
    assert len(figure.axes) == 12
    assert [ax.get_xlabel() for ax in figure.axes[-3:]] == ["λ", "σ0²", "σ1²"]
    assert [ax.get_ylabel() for ax in figure.axes[3::3]] == ["accuracy", "share in the spike", "threshold"]
