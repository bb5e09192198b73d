"""The simulation's tables and figure, on runs of a few rows."""

from pathlib import Path

import pandas as pd
import pytest

from mgpp.plots import style
from mgpp.plots.consistency import (
    choose_kept,
    consistency_table,
    figure_consistency,
    plot_against,
    summarize,
)
from mgpp.runs import Run, load_run, load_runs

DATA = Path(__file__).parents[1] / "data" / "consistency"


def run(problem, method, n, rows, status="finished"):
    info = {"status": status, "recipe": {"problem": problem, "method": method, "n": n}}
    made = Run(Path(f"{problem}-{method}-n{n}"), info)
    made.__dict__["metrics"] = pd.DataFrame(rows)
    return made


def row(seed, kept, loss, fsr=0.0, nsr=0.0, risk=1.0):
    measures = {"validation_loss": loss, "validation_se": 0.1, "fsr": fsr, "nsr": nsr, "excess_risk": risk}
    return {"step": 9, "seed": seed, "kept": kept, "loss": None} | measures


@pytest.fixture
def runs():
    made = []
    for problem in ("positions", "teacher"):
        for number, method in enumerate(("gmp", "mgpp", "l2")):
            for n in (1000, 100):
                fsr = (number + 1) * 100 / n
                rows = [row(0, 10, 1.0, fsr / 4, 0.2, 0.4), row(0, 40, 0.7, 0.9), row(1, 10, 0.99, fsr / 8, 0.0, 0.2)]
                rows[1]["validation_se"] = 0.3  # so that ten weights are as good as forty
                made.append(run(problem, method, n, rows))
    return made


def test_the_table_holds_the_trainings_of_finished_runs_of_the_simulation(runs):
    other = Run(Path("reviews"), {"status": "finished", "recipe": {"method": "mgpp"}})
    table = consistency_table([*runs, run("teacher", "l2", 10, [row(0, 10, 1.0)], status="running"), other])
    assert len(table) == 36
    assert set(table["n"]) == {100, 1000}
    assert "loss" not in table
    with pytest.raises(ValueError, match="no finished run"):
        consistency_table([other])


def test_the_fewest_weights_within_a_standard_error_of_the_best_are_chosen():
    rows = [row(0, 10, 1.21), row(0, 20, 1.09), row(0, 40, 1.0), row(1, 10, 1.1), row(1, 20, 1.3), row(1, 40, 1.0)]
    chosen = choose_kept(consistency_table([run("teacher", "l2", 100, rows)]))
    assert chosen[["seed", "kept"]].values.tolist() == [[0, 20], [1, 10]]


def test_the_bound_uses_the_standard_error_of_the_best():
    rows = [row(0, 10, 1.05), row(0, 40, 1.0)]
    rows[0]["validation_se"], rows[1]["validation_se"] = 1.0, 0.01
    assert choose_kept(consistency_table([run("teacher", "l2", 100, rows)]))["kept"].tolist() == [40]


def test_the_summary_is_the_mean_and_its_standard_error(runs):
    summary = summarize(choose_kept(consistency_table(runs)))
    assert len(summary) == 12
    cell = summary.set_index(["problem", "method", "n"]).loc[("teacher", "gmp", 100)]
    assert cell[["fsr", "nsr", "excess_risk"]].tolist() == pytest.approx([0.1875, 0.1, 0.3])
    assert cell[["fsr_se", "nsr_se", "excess_risk_se"]].tolist() == pytest.approx([0.0625, 0.1, 0.1])


def test_lines_hold_the_means_and_bands_a_standard_error(runs):
    summary = summarize(choose_kept(consistency_table(runs))).query("problem == 'teacher'")
    ax = plot_against(summary, "fsr", linewidth=3)
    assert [line.get_label() for line in ax.lines] == ["MGPP", "L2", "GMP (no penalty)"]
    gmp = ax.lines[2]
    assert gmp.get_xdata().tolist() == [100, 1000]
    assert gmp.get_ydata().tolist() == pytest.approx([0.1875, 0.01875])
    assert (gmp.get_color(), gmp.get_linewidth()) == (style.method_look("gmp")["color"], 3)
    band = ax.collections[2].get_paths()[0].vertices
    at100 = band[band[:, 0] == 100, 1]
    assert (at100.min(), at100.max()) == pytest.approx((0.125, 0.25))
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "linear", "false selection rate")
    assert plot_against(summary, "excess_risk").get_yscale() == "log"


def test_a_panel_refuses_several_problems(runs):
    summary = summarize(choose_kept(consistency_table(runs)))
    with pytest.raises(ValueError, match="teacher"):
        plot_against(summary, "fsr")


def test_the_weights_kept_can_be_the_axis(runs):
    table = consistency_table(runs).query("problem == 'teacher' and n == 100")
    ax = plot_against(summarize(table, ["problem", "method", "kept"]), "fsr", "kept")
    assert ax.lines[0].get_xdata().tolist() == [10, 40]
    assert ax.get_xlabel() == "weights kept"


@pytest.mark.parametrize(("width", "shape"), [(style.PAGE_WIDTH, (2, 3)), (style.COLUMN_WIDTH, (3, 2))])
def test_the_figure_has_a_panel_for_each_problem_and_measure(runs, width, shape):
    figure = figure_consistency(runs, width=width)
    assert figure.axes[0].get_gridspec().get_geometry() == shape
    assert len(figure.axes) == 6
    assert all(len(ax.lines) == 3 for ax in figure.axes)
    assert [ax.get_title()[:3] for ax in figure.axes] == [f"({letter})" for letter in "abcdef"]
    assert sum(len(ax.get_title()) > 3 for ax in figure.axes) == shape[1]
    assert sum(bool(ax.get_ylabel()) for ax in figure.axes) == shape[0]
    assert [ax.get_xlabel() for ax in figure.axes if ax.get_xlabel()] == ["training examples n"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["MGPP", "L2", "GMP (no penalty)"]


def test_every_training_of_a_committed_run_has_its_row():
    run = load_run(DATA / "teacher-mgpp-n01000")
    rows = consistency_table([run])
    assert len(rows) == len((run.folder / "metrics.jsonl").read_text().splitlines())
    assert rows.groupby("seed")["kept"].nunique().unique().tolist() == [3]


def test_the_committed_runs_make_the_figure():
    runs = load_runs(DATA)
    figure = figure_consistency(runs)
    shown = summarize(choose_kept(consistency_table(runs)))
    line = figure.axes[2].lines[0]
    expected = shown.query("problem == 'teacher' and method == 'mgpp'").sort_values("n")["excess_risk"]
    assert line.get_ydata().tolist() == pytest.approx(expected.tolist())
