"""The study's pictures, on runs of a few rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgpp.runs import Run
from studies.adam.plots import accuracies, falls, lives, plot_early_fall, plot_fall_by_width, plot_lives, variant

STEPS = {"begin": 20, "end": 60, "total": 80}
TAU, RATE = 2e-4, 1e-4


def run(name, accuracy, *, prior=True, seed=0, status="finished", **frames):
    recipe = {"method": "mgpp" if prior else "gmp", "seed": seed, "prior": {"spike_var": 1e-9}}
    made = Run(Path(f"{name}-seed{seed}"), {"status": status, "recipe": recipe, "steps": STEPS})
    rows = {
        "step": [10, 20, 30, 40, 50, 70],
        "phase": ["warmup", "pruning", "pruning", "pruning", "pruning", "frozen"],
        "eval_accuracy": accuracy,
        "sparsity": [0.0, 0.0, 0.4, 1e-7, 0.6, 0.8],
        "sparsity_target": [0.0, 0.0, 0.4, 0.5, 0.6, 0.8],
        "learning_rate": RATE,
        "prior_threshold": TAU if prior else None,
    }
    empty = pd.DataFrame()
    made.__dict__.update({"metrics": pd.DataFrame(rows), "dynamics": empty, "trajectories": empty} | frames)
    return made


@pytest.fixture
def runs():
    return [
        run("no-penalty", [0.7, 0.80, 0.80, 0.8, 0.78, 0.8], prior=False),
        run("spike-1e-9", [0.7, 0.80, 0.76, 0.5, 0.70, 0.8]),
        run("spike-1e-9", [0.7, 0.82, 0.76, 0.6, 0.70, 0.8], seed=1),
        run("no-clipping", [0.7, 0.80, 0.70, 0.6, 0.70, 0.8]),
        run("weak-slab", [0.7, 0.80, 0.70, 0.6, np.nan, np.nan], status="running"),
    ]


def test_evaluations_right_after_events_are_told_from_those_between(runs):
    table = accuracies(runs)
    assert table[table["regrown"]]["step"].unique().tolist() == [40]
    assert len(table) == 4 * 6 + 4
    assert {variant(run) for run in runs} == set(table["variant"])


def test_the_fall_counts_from_the_end_of_the_warm_up(runs):
    table = falls(runs)
    assert "weak-slab" not in set(table["variant"])
    rows = table[table["variant"] == "spike-1e-9"].set_index(["seed", "regrown"])
    assert rows.loc[(0, False), ["mean", "lowest"]].tolist() == pytest.approx([0.07, 0.1])
    assert rows.loc[(0, True), ["mean", "lowest"]].tolist() == pytest.approx([0.3, 0.3])
    assert rows["tau_in_steps"].tolist() == pytest.approx([TAU / RATE] * 4)
    assert table[table["variant"] == "no-penalty"]["tau_in_steps"].isna().all()


def test_the_early_fall_has_a_panel_a_variant_and_a_line_a_seed(runs):
    figure = plot_early_fall(runs)
    panels = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title()[:3] for ax in panels] == ["(a)", "(b)", "(c)", "(d)"]
    solid = [
        [line for line in ax.lines if line.get_linestyle() == "-" and line.get_linewidth() < 0.61] for ax in panels
    ]
    steps = [sum(line.get_xdata()[-1] == 70 for line in lines) for lines in solid]
    assert steps == [1, 2, 1, 0]  # the last run is not so far
    for ax in panels:
        control = ax.lines[0]
        assert control.get_ydata().tolist() == pytest.approx([0.7, 0.8, 0.8, 0.78, 0.8])


@pytest.mark.parametrize(("measure", "expected"), [("mean", [7.0, 9.0]), ("lowest", [10.0, 12.0])])
def test_the_fall_by_width_has_a_dot_a_seed(runs, measure, expected):
    ax = plot_fall_by_width(runs, measure)
    filled, hollow = [line for line in ax.lines if line.get_marker() == "o"]
    assert filled.get_ydata().tolist() == pytest.approx(expected)
    assert filled.get_xdata().tolist() == pytest.approx([TAU / RATE] * 2)
    assert hollow.get_markerfacecolor() == "white"
    assert ax.get_xscale() == "log"
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert {"no penalty", "no clipping"} <= set(texts)


def test_without_a_finished_run_there_is_no_fall_to_draw(runs):
    with pytest.raises(ValueError, match="no finished run"):
        plot_fall_by_width(runs[-1:])


def followed():
    """Five weights at the six logged steps; `after` is the value after the step, 0 where an event has pruned it."""
    values = {  # in units of τ
        "kicked": ([300, 300, 300, 8, -0.5, 0.1], [300, 300, 0, 0, 0, 0]),
        "trapped": ([3, 0.5, 0.1, 0.1, 0.01, 0.0], [3, 0.5, 0, 0, 0, 0]),
        "less": ([3, 0.5, 0.1, 0.7, 0.01, 0.0], [3, 0.5, 0, 0, 0, 0]),
        "late": ([500, 500, 500, 500, 500, 0.0], [500, 500, 500, 500, 0, 0]),
        "free": ([900] * 6, [900] * 6),
        "smaller": ([800] * 6, [800] * 6),
    }
    steps = [10, 20, 30, 40, 50, 70]
    columns = {"loss_gradient": 1e-4, "pull": -2.0, "first_moment": 0.0, "second_moment": 1.0, "step_length": 5e-5}
    rows = [
        {"step": step, "name": name, "index": 7, "value": before * TAU, "after": after * TAU} | columns
        for name, pair in values.items()
        for step, before, after in zip(steps, *pair, strict=True)
    ]
    table = pd.DataFrame(rows)
    trajectories = table[["step", "name", "index"]].assign(value=table["after"], kept=table["after"] != 0)
    return {"dynamics": table.drop(columns="after"), "trajectories": trajectories}


@pytest.fixture
def with_dynamics():
    return run("spike-1e-9", [0.7] * 6, **followed())


def test_lives_are_chosen_by_distances_after_events(with_dynamics):
    table = lives(with_dynamics)
    assert (table["life"] == table["name"]).all()
    assert table["life"].unique().tolist() == ["kicked", "trapped", "free"]
    assert table.query("life == 'kicked' and zeroed")["step"].tolist() == [30, 40, 50, 70]


def test_lives_need_dynamics_and_weights_that_live_so(with_dynamics, runs):
    with pytest.raises(ValueError, match="dynamics"):
        lives(runs[0])
    frames = {name: frame[frame["name"] != "free"] for name, frame in followed().items()}
    frames = {name: frame[frame["name"] != "smaller"] for name, frame in frames.items()}
    with pytest.raises(ValueError, match="free"):
        lives(run("spike-1e-9", [0.7] * 6, **frames))


def test_a_column_a_life_with_value_pull_and_step(with_dynamics):
    figure = plot_lives(with_dynamics)
    assert [ax.get_title() for ax in figure.axes[:3]] == ["(a) kicked", "(b) trapped", "(c) free"]
    value, pull, step = figure.axes[0::3]
    assert value.lines[0].get_ydata().tolist() == pytest.approx([300, 300, 300, 8, -0.5, 0.1])
    assert pull.lines[0].get_ydata().tolist() == [2.0] * 6
    assert step.lines[0].get_ydata().tolist() == pytest.approx([0.5] * 6)
