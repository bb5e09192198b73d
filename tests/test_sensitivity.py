"""The trained sweeps as a table and as plots, on runs of a few rows."""

from pathlib import Path

import pandas as pd
import pytest

from mgpp import figure_sensitivity, sensitivity_table
from mgpp.plots import style
from mgpp.plots.sensitivity import MEASURES, default_prior, plot_sensitivity
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


@pytest.mark.parametrize("measure", MEASURES)
def test_a_plot_has_a_line_a_hyperparameter_over_multiples_of_its_default(runs, measure):
    table = sensitivity_table(runs)
    ax = plot_sensitivity(table, measure)
    lines = {container.get_label()[0:2].strip(): container.lines[0] for container in ax.containers}
    for symbol, field in (("λ", "lam"), ("σ0", "spike_var"), ("σ1", "slab_var")):
        rows = table[table["field"] == field]
        assert lines[symbol].get_xdata().tolist() == rows["multiple"].tolist()
        assert lines[symbol].get_ydata().tolist() == rows[measure].tolist()
    assert ax.get_xscale() == "log"


def test_multiples_are_of_the_default(runs):
    rows = sensitivity_table(runs).query("field == 'spike_var'")
    assert rows["multiple"].tolist() == pytest.approx([0.01, 1.0, 100.0])
    assert rows["tau_over_cut"].tolist() == pytest.approx([3e-5 / 0.04] * 3)


def test_a_hyperparameter_that_no_run_changes_has_its_default_alone(runs):
    ax = plot_sensitivity(sensitivity_table([run for run in runs if run.name != "rare"]), "accuracy")
    assert [len(container.lines[0].get_xdata()) for container in ax.containers] == [1, 3, 2]


@pytest.mark.parametrize("width", [style.PAGE_WIDTH, style.COLUMN_WIDTH])
def test_the_figure_has_a_panel_a_measure_and_one_legend(runs, width):
    figure = figure_sensitivity(runs, width=width)
    assert [ax.get_title()[:3] for ax in figure.axes] == ["(a)", "(b)", "(c)"]
    assert len(figure.legends[0].get_texts()) == 3
    assert not any(ax.get_legend() for ax in figure.axes)
