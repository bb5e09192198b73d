import dataclasses
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from click.testing import CliRunner

from mgpp import figure_1, figure_2, figure_a1, figure_weights, load_runs, save_figure
from mgpp.lab import render
from mgpp.lab.cli import main
from mgpp.lab.comparison.figures import figure_comparison, figure_survivors
from mgpp.lab.render import render_all
from mgpp.plots import style
from mgpp.plots.figures import FAMILIES, PAPER_PRIOR, as_strong_as_slab, comparable
from mgpp.plots.movies import STEM

ROOT = Path(__file__).parents[1]


def test_figure_1_has_the_papers_prior_and_a_zoom():
    figure = figure_1()
    wide, close = figure.axes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["L0", "L1", "L2", "MGP", "±τ = 0.002"]
    assert close.get_xlim()[1] == pytest.approx(3 * PAPER_PRIOR.threshold)
    assert wide.get_xlim() == (-0.5, 0.5)
    assert figure.get_figwidth() == style.PAGE_WIDTH


def test_figure_a1_varies_one_hyperparameter_a_panel():
    for ax, values in zip(figure_a1().axes, FAMILIES.values(), strict=True):
        assert [text.get_text() for text in ax.get_legend().get_texts()] == [style.in_powers(value) for value in values]
        assert ax.get_xscale() == "log"


def test_a_column_has_its_panels_one_above_the_other():
    figure = figure_a1(width=style.COLUMN_WIDTH)
    assert figure.get_figwidth() == style.COLUMN_WIDTH
    assert len({ax.get_subplotspec().colspan.start for ax in figure.axes}) == 1
    assert all(ax.get_ylabel() for ax in figure.axes)


def test_figure_2_draws_every_seed(tiny_runs_folder):
    left, right = figure_2(load_runs(tiny_runs_folder)).axes
    for ax in (left, right):
        labels = [line.get_label() for line in ax.lines]
        assert (labels.count("MGPP"), labels.count("L2")) == (2, 1)


def test_only_comparable_runs_are_compared(tiny_runs_folder):
    runs = comparable(load_runs(tiny_runs_folder), ("mgpp", "l2"))
    assert [(run.method, run.seed) for run in runs] == [("mgpp", 0), ("mgpp", 1), ("l2", 0)]
    with pytest.raises(ValueError, match="no sparsity has a finished run of each of mgpp, l1"):
        comparable(load_runs(tiny_runs_folder), ("mgpp", "l1"))


@pytest.mark.parametrize("width", [style.PAGE_WIDTH, style.COLUMN_WIDTH])
def test_the_comparison_has_a_row_a_rival(tiny_runs_folder, width):
    figure = figure_comparison(load_runs(tiny_runs_folder), width=width)
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["L2"]
    assert figure.get_figwidth() == width
    assert "dense" in ax.get_title()


@pytest.mark.parametrize("width", [style.PAGE_WIDTH, style.COLUMN_WIDTH])
def test_survivors_have_a_panel_a_method_on_one_scale(tiny_runs_folder, width):
    figure = figure_survivors(load_runs(tiny_runs_folder), width=width)
    *panels, bar = figure.axes
    assert [ax.get_title() for ax in panels] == ["(a) MGPP", "(b) L2"]
    assert len({ax.collections[0].get_clim() for ax in panels}) == 1
    assert "10%" in bar.get_xlabel()
    mesh = panels[1].collections[0].get_array()
    layers = load_runs(tiny_runs_folder / "reviews-quick-l2-0.9-seed0")[0].layers
    last = layers[layers["step"] == layers["step"].max()]
    ratios = np.log2(((1 - last["sparsity"]) / 0.1).clip(1 / 16))
    assert sorted(mesh.ravel()) == pytest.approx(sorted(ratios))


def test_only_one_recipe_is_compared(tiny_runs_folder):
    runs = load_runs(tiny_runs_folder)
    info = runs[0].info | {"recipe": runs[0].recipe | {"name": "another", "method": "l1"}}
    figure = figure_comparison([*runs, dataclasses.replace(runs[0], info=info)])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["L2"]


def test_an_l2_as_strong_as_the_slab_is_drawn_beside_them(tiny_runs_folder):
    runs = load_runs(tiny_runs_folder)
    (rival,) = (run for run in runs if run.method == "l2")
    slab = 1 / (rival.info["examples"]["train"] * rival.recipe["prior"]["slab_var"])
    trials = [as_strong(rival, slab * 1.04), as_strong(rival, slab * 1.06)]
    assert as_strong_as_slab(runs[0], trials) == trials[:1]
    for ax in figure_2(runs, trials=trials).axes:
        assert [line.get_linestyle() for line in ax.lines].count(":") == 1
    apart = dataclasses.replace(trials[0], info=trials[0].info | {"recipe": trials[0].recipe | {"epochs": 9}})
    for ax in figure_2(runs, trials=[apart, *trials[1:]]).axes:
        assert ":" not in [line.get_linestyle() for line in ax.lines]


def as_strong(run, strength):
    """The run, as if its L2 had this strength."""
    recipe = run.recipe | {"l2": {"strength": strength}, "seed": 100}
    return dataclasses.replace(run, info=run.info | {"recipe": recipe})


@pytest.mark.parametrize("width", [style.PAGE_WIDTH, style.COLUMN_WIDTH])
def test_weights_over_steps_have_a_heat_map_a_method_from_above(tiny_runs_folder, width):
    figure = figure_weights(load_runs(tiny_runs_folder), width=width)
    above, below, _ = figure.axes
    assert [ax.get_title() for ax in (above, below)] == ["(a) MGPP", "(b) L2"]
    assert above.get_position().y0 > below.get_position().y1
    assert above.collections[0].get_clim() == below.collections[0].get_clim()


def test_every_figure_of_several_panels_has_letters(tiny_runs_folder):
    runs = load_runs(tiny_runs_folder)
    for width in (style.PAGE_WIDTH, style.COLUMN_WIDTH):
        drawn = [figure_1(width=width), figure_a1(width=width)]
        drawn += [make(runs, width=width) for make in (figure_2, figure_weights, figure_comparison, figure_survivors)]
        for figure in drawn:
            titled = [ax for ax in figure.axes if ax.get_title() and ax.get_visible()]
            assert [ax.get_title()[:3] for ax in titled] == [f"({letter})" for letter in "abcdef"[: len(titled)]]


def test_a_single_pair_is_told_from_several_in_the_legend(tiny_runs_folder):
    runs = load_runs(tiny_runs_folder)
    (single,) = figure_comparison(runs).legends[0].get_lines()
    assert single.get_markerfacecolor() == "white"
    (rival,) = (run for run in runs if run.method == "l2")
    second = dataclasses.replace(rival, info=rival.info | {"recipe": rival.recipe | {"seed": 1}})
    (several,) = figure_comparison([*runs, second]).legends[0].get_lines()
    assert several.get_markerfacecolor() != "white"


@pytest.mark.slow
def test_the_command_and_the_library_render_the_same_bytes(tiny_runs_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)  # where the sweep and the simulation are found
    words = ["figures", "--runs", str(tiny_runs_folder), "--out", str(tmp_path / "command"), "--movies"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    paths = render_all(tiny_runs_folder, tmp_path / "library")
    for path in paths:
        assert path.read_bytes() == (tmp_path / "command" / path.name).read_bytes(), path.name
    assert {path.name for path in paths} == files_of("1", "2", "a1", "weights", "comparison", "survivors")
    written = {path.name for path in (tmp_path / "command").iterdir()}
    assert written == {path.name for path in paths} | {f"{STEM}.gif", f"{STEM}.html"}


@pytest.mark.parametrize("asked", [[], ["--sweep"], ["--runs"]])
def test_with_runs_of_ones_own_only_what_they_give_is_drawn(asked, tmp_path, monkeypatch):
    drawn = {}
    monkeypatch.setattr(render, "render_all", lambda *folders: drawn.update(folders=folders) or [])
    monkeypatch.chdir(ROOT)
    words = [word for name in asked for word in (name, str(tmp_path))]
    assert CliRunner().invoke(main, ["figures", *words]).exit_code == 0
    runs, _, sweep, consistency, trials = drawn["folders"]
    if "--runs" in asked:
        assert (runs, sweep, consistency, trials) == (tmp_path, None, None, None)
    else:
        assert (runs, consistency, trials) == (Path("data/runs"), Path("data/consistency"), Path("data/tuning"))
        assert sweep == (tmp_path if "--sweep" in asked else Path("data/sensitivity"))


def files_of(*stems):
    """A figure's files."""
    return {f"figure_{stem}{width}.{kind}" for stem in stems for width in ("", "_column") for kind in ("pdf", "png")}


def test_fonts_are_embedded_and_files_carry_no_date(tmp_path):
    pdf, png = save_figure(figure_1(), "figure", tmp_path)
    assert b"/FontFile2" in pdf.read_bytes()
    assert b"CreationDate" not in pdf.read_bytes()
    assert b"Software" not in png.read_bytes()


def test_the_style_does_not_leak():
    before = dict(mpl.rcParams)
    figure_1()
    assert dict(mpl.rcParams) == before
