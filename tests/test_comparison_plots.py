import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from test_comparison import fake

from mgpp.lab.comparison.figures import figure_comparison
from mgpp.lab.comparison.frame import comparison_frame
from mgpp.lab.comparison.plots import NothingToDrawError, differences, plot_score, plot_survivors, survivors
from mgpp.plots import style


def graded(*runs):
    return plot_score(comparison_frame(runs))


def line_of(ax, label):
    return next(line for line in ax.lines if line.get_label() == label)


def test_a_line_holds_the_means_of_its_method():
    ax = graded(
        *(fake("mgpp", seed, 0.8 + 0.02 * seed, sparsity=0.8) for seed in range(3)),
        fake("mgpp", 0, 0.7),
        fake("l2", 0, 0.75),
        fake("l2", 1),
    )
    x, y = line_of(ax, "MGPP").get_data()
    np.testing.assert_allclose(x, [0.8, 0.9])
    np.testing.assert_allclose(y, [82, 70])
    np.testing.assert_allclose(line_of(ax, "L2").get_data(), [[0.9], [75]])
    assert line_of(ax, "L2").get_marker() == style.method_look("l2")["marker"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0.8", "0.9"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("sparsity", "accuracy, %")


def test_the_band_is_one_standard_error_and_a_single_seed_has_none():
    runs = [fake("mgpp", seed, 0.8 + 0.02 * seed, sparsity=level) for seed in range(3) for level in (0.8, 0.9)]
    ax = graded(*runs, fake("l2", 0, 0.7, sparsity=0.8), fake("l2", 0, 0.6))
    bands = [band.get_paths()[0] for band in ax.collections if isinstance(band, PolyCollection) and band.get_paths()]
    assert len(bands) == 1
    error = 2 / np.sqrt(3)
    assert sorted(set(bands[0].vertices[:, 1].round(6))) == pytest.approx([82 - error, 82 + error])


def test_sparsities_are_even_in_the_logarithm_of_what_is_kept():
    ax = graded(*(fake("mgpp", 0, 0.8, sparsity=level) for level in (0.8, 0.9, 0.95)))
    places = ax.transData.transform([(level, 0.0) for level in (0.8, 0.9, 0.95)])[:, 0]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1])


def test_the_dense_level_is_named():
    ax = graded(fake("dense", 0, 0.9), fake("dense", 1, 0.92), fake("mgpp", 0, 0.8))
    assert "dense" not in [line.get_label() for line in ax.lines]
    level = next(text for text in ax.texts if text.get_text() == "dense")
    assert level.xy[1] == pytest.approx(91)
    assert any(np.allclose(line.get_ydata(), 91) and len(line.get_ydata()) == 2 for line in ax.lines)


def test_the_bar_is_twice_the_standard_error_of_one_run():
    ax = graded(fake("mgpp", 0, 0.8), fake("l2", 0, 0.7))
    bar = ax.collections[-1].get_segments()[0]
    assert np.ptp(bar[:, 1]) == pytest.approx(2 * 1.0)
    assert ax.texts[-1].get_text() == "± standard error of one run"
    metric = {"name": "perplexity", "higher_is_better": False}
    assert not graded(fake("mgpp", 0, 1, metric=metric, final={"perplexity": 9.0})).texts


def test_nothing_to_draw_is_an_error():
    for runs in ([], [fake("dense", 0, 0.9)], [fake("mgpp", 0)]):
        with pytest.raises(NothingToDrawError):
            graded(*runs)


@pytest.fixture
def six_rivals():
    """Rivals 1 to 5 points above MGPP on both seeds, one 40 points below, and one that has a single seed."""
    above = {"l2": 1, "l1": 2, "gmp": 3, "l0": 4, "gmp-star": 5, "movement": -40}
    runs = [fake("mgpp", seed, 0.7 + 0.01 * seed) for seed in range(2)]
    runs += [fake(name, seed, 0.7 + 0.01 * (seed + more)) for name, more in above.items() for seed in range(2)]
    return [*runs, fake("platon", 0, 0.72), fake("dense", 0, 0.9)]


def test_differences_are_rival_minus_reference_in_points(six_rivals):
    table = differences(comparison_frame(six_rivals)).set_index("rival")
    assert table.loc["gmp", "above"] == pytest.approx(3)
    assert table.loc["gmp", "low"] <= table.loc["gmp", "above"] <= table.loc["gmp", "high"]
    assert table.index[table["far"]].tolist() == ["movement"]
    assert np.isnan(table.loc["platon", "low"])
    assert "dense" not in table.index


def test_a_failed_method_is_an_arrow_and_a_single_pair_hollow(six_rivals):
    figure = figure_comparison(six_rivals)
    (ax,) = figure.axes
    low, high = ax.get_xlim()
    assert -40 < low < 0 < 5 < high < 20
    assert any("40" in text.get_text() for text in ax.texts)
    rows = [label.get_text() for label in ax.get_yticklabels()]
    assert rows[0] == "GMP*"
    assert rows[-1] == "movement"
    dots = {each.get_label(): each for each in ax.containers}
    assert dots["PLATON"].lines[0].get_markerfacecolor() == "white"
    assert not dots["PLATON"].has_xerr
    assert dots["L2"].lines[0].get_xdata()[0] == pytest.approx(1)


def test_without_a_reference_the_scores_are_drawn():
    figure = figure_comparison([fake("l2", 0, 0.8), fake("l1", 0, 0.7)])
    assert {line.get_label() for line in figure.axes[0].lines} >= {"L2", "L1"}


def with_layers(run, sparsities):
    """A run whose layers were logged: at step 0 nothing is pruned, at step 9 these shares of two layers' matrices."""
    rows = pd.DataFrame({"layer": [0, 0, 1, 1], "kind": ["query", "key"] * 2, "n": [100, 100, 300, 300]})
    layers = pd.concat([rows.assign(step=0, sparsity=0.0), rows.assign(step=9, sparsity=sparsities)])
    vars(run)["layers"] = layers
    return run


@pytest.fixture
def table():
    runs = [
        with_layers(fake("mgpp", 0, 0.8), [0.5, 0.9, 1.0, 0.8]),
        with_layers(fake("mgpp", 1, 0.8), [0.7, 0.9, 1.0, 0.6]),
        with_layers(fake("l2", 0, 0.8), [0.0, 0.25, 0.5, 0.75]),
        with_layers(fake("l2", 1), [1.0, 1.0, 1.0, 1.0]),
        with_layers(fake("dense", 0, 0.9), [0.0] * 4),
        with_layers(fake("mgpp", 0, 0.8, sparsity=0.95), [0.9] * 4),
    ]
    return survivors(runs)


def test_survivors_are_counted_over_seeds_at_the_end(table):
    assert set(table["sparsity"]) == {0.9}
    mgpp = table[table["method"] == "mgpp"]
    assert mgpp[["layer", "kind"]].to_numpy().tolist() == [[0, "query"], [0, "key"], [1, "query"], [1, "key"]]
    assert mgpp["density"].tolist() == pytest.approx([0.4, 0.1, 0.0, 0.3])
    assert mgpp["seeds"].tolist() == [2] * 4
    l2 = table[table["method"] == "l2"]
    assert l2["density"].tolist() == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert set(table["method"]) == {"mgpp", "l2"}


def test_matrices_of_one_layer_and_kind_count_by_their_size():
    run = fake("mgpp", 0, 0.8)
    vars(run)["layers"] = pd.DataFrame(
        {"step": 1, "layer": 0, "kind": "query", "n": [100, 300], "sparsity": [1.0, 0.0], "name": ["self", "cross"]}
    )
    assert survivors([run])["density"].tolist() == [0.75]


def test_a_sparsity_without_runs_is_an_error(table):
    for arguments in ([], None), ([with_layers(fake("mgpp", 0, 0.8), [0.5] * 4)], 0.5):
        with pytest.raises(NothingToDrawError):
            survivors(*arguments)


def test_the_heat_map_shows_the_table(table):
    ax = plot_survivors(table, "l2")
    np.testing.assert_allclose(ax.collections[0].get_array().ravel(), np.log2(np.array([10, 7.5, 5, 2.5])))
    assert ax.collections[0].get_clim() == (-4.0, 4.0)
    none_left = plot_survivors(table, "mgpp").collections[0].get_array().ravel()
    np.testing.assert_allclose(none_left, [2, 0, -4, np.log2(3)], atol=1e-9)
    assert ax.get_title() == "L2"
    assert [label.get_text() for label in ax.get_xticklabels()] == ["query", "key"]
