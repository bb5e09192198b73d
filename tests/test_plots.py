import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mgpp import L0, L1, L2, MixtureGaussianPrior
from mgpp.architectures import kind_of, layer_of
from mgpp.plots import landscape, style
from mgpp.plots import runs as plots
from mgpp.runs import Run

PRIOR = MixtureGaussianPrior(1e-6, 1e-7, 0.1)


def lines_by_label(ax):
    return {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}


def test_penalties_are_one_at_the_reference_and_zero_at_zero():
    ax = landscape.plot_penalties([L1(3.0), L2(7.0), PRIOR], limit=0.5, reference=0.25)
    for penalty in (L1(3.0), L2(7.0), PRIOR):
        line = lines_by_label(ax)[penalty.label]
        x, y = line.get_data()
        assert np.interp(0.25, x, y) == pytest.approx(1, abs=1e-3)
        assert y[x == 0] == pytest.approx(0, abs=1e-12)
        assert line.get_color() == style.PENALTY_COLORS[penalty.label]


def test_the_jump_of_l0_is_no_line():
    ax = landscape.plot_penalties([L0()])
    x, y = lines_by_label(ax)["L0"].get_data()
    assert np.isnan(y[x == 0]).all()
    assert (y[x != 0] == 1).all()


def test_the_prior_threshold_is_marked_where_it_is():
    ax = landscape.plot_penalties([PRIOR], limit=0.01)
    before = len(ax.lines)
    landscape.mark_prior_threshold(PRIOR, ax=ax)
    assert [line.get_xdata()[0] for line in ax.lines[before:]] == [-PRIOR.threshold, PRIOR.threshold]
    landscape.mark_prior_threshold(L2(), ax=ax)
    assert len(ax.lines) == before + 2


def test_a_family_has_a_curve_and_a_dot_for_each_value():
    values = (1e-8, 1e-4, 1 - 1e-9)  # the last has no threshold
    ax = landscape.plot_prior_family(PRIOR, "lam", values)
    curves = [line for line in ax.lines if len(line.get_xdata()) > 1]
    dots = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    assert [line.get_label() for line in curves] == [style.in_powers(value) for value in values]
    assert dots == [MixtureGaussianPrior(value, 1e-7, 0.1).threshold for value in values[:2]]
    assert ax.get_legend().get_title().get_text() == "λ"


def histogram():
    """Two lobes around zero with a gap between."""
    return pd.DataFrame(
        {
            "step": [5] * 5,
            "left": [-0.2, -0.1, 0.0, 0.1, 0.2],
            "right": [-0.1, -0.05, 0.0, 0.2, 0.4],
            "count": [10, 5, 1000, 20, 5],
        }
    )


def test_the_density_leaves_zeros_out_and_integrates_to_one():
    bins = plots.remaining_density(histogram())
    assert bins["count"].sum() == 40
    assert (bins["density"] * (bins["right"] - bins["left"])).sum() == pytest.approx(1)


def test_the_smooth_density_holds_the_counts_and_is_zero_in_the_gap():
    bins = plots.remaining_density(histogram())
    theta = np.linspace(-0.5, 0.5, 200_001)
    density = plots.smooth_density(bins, theta)
    assert (density[(theta > -0.05) & (theta < 0.1)] == 0).all()
    for row in bins.to_dict("records"):
        inside = (theta >= row["left"]) & (theta <= row["right"])
        assert np.trapezoid(density[inside], theta[inside]) == pytest.approx(row["count"] / 40, abs=1e-3)


def test_bins_that_hold_the_threshold_begin_there_and_keep_their_share():
    bins, cut = (plots.remaining_density(histogram(), beyond=beyond) for beyond in (0.0, 0.15))
    assert cut[["left", "right"]].values.tolist() == [[-0.2, -0.15], [-0.1, -0.05], [0.15, 0.2], [0.2, 0.4]]
    shares = [table["density"] * (table["right"] - table["left"]) for table in (bins, cut)]
    assert shares[1].tolist() == pytest.approx(shares[0].tolist())


def test_thresholds_are_the_logged_ones(tiny_runs_folder, tiny_run):
    from mgpp import load_runs

    runs = [run for run in load_runs(tiny_runs_folder) if run.method in ("mgpp", "l2")]
    ax = plots.plot_thresholds(runs)
    curves = [line for line in ax.lines if line.get_label() in ("MGPP", "L2")]
    assert len(curves) == 3  # two seeds of MGPP, one of L2
    expected = tiny_run.metrics.dropna(subset=["pruning_threshold"])
    mgpp = next(line for line in curves if line.get_label() == "MGPP")
    np.testing.assert_array_equal(mgpp.get_xdata(), expected["step"])
    np.testing.assert_array_equal(mgpp.get_ydata(), expected["pruning_threshold"])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["L2", "MGPP"]
    assert {text.get_text() for text in ax.texts} == {"warm-up", "pruning", "frozen"}
    assert {3, 21} <= {line.get_xdata()[0] for line in ax.lines}


def test_sparsity_by_layer_shows_the_logged_shares(tiny_run):
    ax = plots.plot_sparsity_by_layer(tiny_run)
    last = tiny_run.layers[tiny_run.layers["step"] == 29]
    shown = sorted(float(text.get_text()) for text in ax.texts)
    np.testing.assert_allclose(shown, sorted(last["sparsity"].round(3)))


def test_a_metric_is_drawn_where_it_was_logged(tiny_run):
    ax = plots.plot_metric([tiny_run], "eval_accuracy")
    line = next(line for line in ax.lines if line.get_label() == "MGPP")
    rows = tiny_run.metrics.dropna(subset=["eval_accuracy"])
    assert 0 < len(rows) < len(tiny_run.metrics)
    np.testing.assert_array_equal(line.get_xdata(), rows["step"])
    np.testing.assert_array_equal(line.get_ydata(), rows["eval_accuracy"])
    assert ax.get_ylabel() == "accuracy on the validation set"
    assert ax.get_ylim()[0] > 0
    assert plots.plot_metric([tiny_run], "sparsity_target").get_ylim()[0] == 0
    assert ax.figure is not plots.plot_metric([tiny_run], "sparsity_target").figure


def test_the_phases_are_those_of_the_first_run_that_is_pruned(tiny_run):
    info = {**tiny_run.info, "recipe": {**tiny_run.recipe, "method": "dense"}}
    dense = dataclasses.replace(tiny_run, info=info)
    assert not plots.plot_metric([dense], "loss").texts
    both = plots.plot_metric([dense, tiny_run], "loss")
    assert {text.get_text() for text in both.texts} == {"warm-up", "pruning", "frozen"}


def test_a_metric_that_was_not_logged_is_refused_with_those_that_were(tiny_run):
    with pytest.raises(ValueError, match="no accuracy; its metrics are step, epoch"):
        plots.plot_metric([tiny_run], "accuracy")


def test_the_pruning_threshold_stands_on_both_sides(tiny_run):
    ax = plots.plot_trajectories(tiny_run)
    upper = next(line for line in ax.lines if line.get_label() == "± pruning threshold")
    expected = tiny_run.metrics["pruning_threshold"].dropna()
    np.testing.assert_array_equal(upper.get_ydata(), expected)
    assert any(np.array_equal(line.get_ydata(), -expected) for line in ax.lines)


def test_trajectories_tell_kept_from_pruned(tiny_run):
    ax = plots.plot_trajectories(tiny_run)
    assert {"pruned at the end", "kept"} <= {line.get_label() for line in ax.lines}
    for line in ax.lines:
        if line.get_color() == style.SPIKE:
            assert line.get_ydata()[-1] == 0
            assert line.get_linestyle() == "--"  # not by colour alone
        if line.get_color() == style.SLAB:
            assert line.get_ydata()[-1] != 0


@pytest.mark.parametrize(
    ("values", "left"),
    [([3, 2, 0, 0], [3, 2, 0]), ([3, 0, 2, 0], [3, 0, 2, 0]), ([3, 0, 2, 1], [3, 0, 2, 1]), ([0, 0], [0])],
)
def test_a_path_ends_where_its_weight_is_zero_for_good(values, left):
    assert plots._until_zero_for_good(pd.Series(values)).tolist() == left


def test_pruned_paths_do_not_pile_up_at_zero(tiny_run):
    ends = [line for line in plots.plot_trajectories(tiny_run).lines if line.get_color() == style.SPIKE]
    assert ends
    for line in ends:
        assert len(line.get_ydata()) == 1 or line.get_ydata()[-2] != 0


def test_runs_that_logged_little(tmp_path):
    from mgpp import RunWriter, load_run

    with RunWriter(tmp_path / "run") as writer:
        writer.metrics({"step": 0, "pruning_threshold": 0.5})
    run = load_run(tmp_path / "run")
    assert len(plots.plot_thresholds([run]).lines) == 1
    for plot in (plots.plot_sparsity_by_layer, plots.plot_trajectories, lambda r: plots.plot_remaining_weights([r])):
        with pytest.raises(ValueError, match="run has logged no"):
            plot(run)


def run_with_layers(names, sizes, zeros):
    """A run whose last logged step has these matrices."""
    rows = pd.DataFrame({"name": names, "n": sizes, "sparsity": np.divide(zeros, sizes), "step": 5})
    rows = rows.assign(layer=rows["name"].map(layer_of), kind=rows["name"].map(kind_of))
    run = Run(Path("own"), {"status": "finished", "recipe": {}})
    vars(run)["layers"] = rows
    return run


def test_matrices_of_one_layer_and_kind_count_by_their_sizes():
    names = [f"layers.0.mlp.{part}_proj.weight" for part in ("gate", "up", "down")]
    run = run_with_layers(names, [100, 300, 100], [90, 0, 50])
    ax = plots.plot_sparsity_by_layer(run)
    np.testing.assert_allclose(ax.collections[0].get_array().ravel(), [90 / 400, 0.5])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0"]


def test_stacks_have_rows_of_their_own():
    names = [
        "model.encoder.layers.0.self_attn.q_proj.weight",
        "model.decoder.layers.0.self_attn.q_proj.weight",
        "model.decoder.layers.0.encoder_attn.q_proj.weight",
    ]
    ax = plots.plot_sparsity_by_layer(run_with_layers(names, [10, 10, 10], [1, 2, 3]))
    np.testing.assert_allclose(ax.collections[0].get_array().ravel(), [0.1, 0.2, 0.3])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["encoder 0", "decoder 0", "cross-attention 0"]
