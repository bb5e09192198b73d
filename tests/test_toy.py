"""The toy: the right way finds the true structure, each mistake does what it is made for, and nothing is random."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from mgpp import L2, CubicSparsity, MixtureGaussianPrior, Pruner
from mgpp.workshop.toy import TOY_PRIOR, compare_toys, train_toy
from mgpp.workshop.toy_problem import INPUTS, TextbookPrior, ToyModel, toy_data

SHORT = CubicSparsity(0.0, 0.9, begin_step=4, end_step=12)


@pytest.fixture(scope="module")
def right():
    return train_toy()


def short(seed=0, **mistakes):
    return train_toy(seed, **{"steps": 16, "every": 1, "interval": 4, "sparsity": SHORT} | mistakes)


def test_the_right_way_finds_the_true_inputs_and_no_others(right):
    last = right.metrics.iloc[-1]
    assert (last["found"], last["false"], last["sparsity"]) == (1.0, 0.0, 788 / 800)
    assert right.audit == "788 of 800 weights are zero, as promised"
    kept = right.weights[right.weights["kept"]]
    assert (kept["value"] != 0).all()
    assert np.sign(kept["value"]).equals(np.sign(kept["true_weight"]))


def test_without_a_prior_it_finds_fewer(right):
    bare = train_toy(penalty=None, every=200).metrics.iloc[-1]
    assert bare["found"] < 0.7
    assert bare["test_loss"] > 3 * right.metrics["test_loss"].iloc[-1]
    assert math.isnan(bare["prior_threshold"])


def test_the_same_seed_gives_the_same_run_and_another_seed_another(right):
    again = train_toy.__wrapped__(0)
    pd.testing.assert_frame_equal(again.metrics, right.metrics)
    pd.testing.assert_frame_equal(again.weights, right.weights)
    assert not short().weights["value"].equals(short(1).weights["value"])


def test_it_trains_as_a_plain_loop_does():
    data, model = toy_data(0), ToyModel(0)
    pruner = Pruner(model.targets, sparsity=SHORT, penalty=L2(0.1), n_train=200, interval=4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(16):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - 0.9 * step / 200)
        optimizer.zero_grad()
        (0.5 * (model(data.x) - data.y).square()).mean().backward()
        pruner.before_step(step)
        optimizer.step()
        pruner.after_step(step)
    run = short(penalty=L2(0.1), optimizer="sgd")
    np.testing.assert_allclose(run.weights["value"], model.flat, rtol=1e-5)
    assert run.metrics["pruning_threshold"].iloc[-1] == pruner.event.threshold


def test_the_data_have_the_structure_they_are_said_to_have():
    data = toy_data(3, noise=0.0)
    true = data.true_weights != 0
    assert [int(true[:400].sum()), int(true[400:].sum())] == [8, 4]
    assert data.true_weights[true].abs().min() == pytest.approx(0.3)
    torch.testing.assert_close(data.x @ data.true_weights, data.y.squeeze(1))


def test_clipping_before_and_after_the_prior_differ_by_what_is_clipped():
    before = short(max_grad_norm=0.5).metrics
    together = short(max_grad_norm=0.5, clip_prior_too=True).metrics
    first = before.iloc[0]
    assert first["passed"] == pytest.approx(0.5 / first["data_norm"], rel=0.01)
    assert together["passed"].iloc[0] < first["passed"]
    assert (short().metrics["passed"] == 1).all()


def test_half_precision_overflows_where_the_library_does_not():
    narrow = MixtureGaussianPrior(lam=1e-6, spike_var=1e-7, slab_var=0.1)
    run = short(penalty=narrow, prior_dtype=torch.float16)
    assert run.audit == "at step 0 the weights were no longer finite; the training stopped"
    assert len(run.metrics) == 1
    assert short(penalty=narrow).weights["value"].notna().all()


def test_in_float32_the_textbook_agrees_with_the_library():
    w = torch.linspace(-1, 1, 101)
    prior = TOY_PRIOR.at(100)
    torch.testing.assert_close(TextbookPrior(prior, torch.float32).penalty_grad(w), prior.penalty_grad(w))
    assert TextbookPrior(TOY_PRIOR, torch.float16).at(100).threshold == prior.threshold
    assert TextbookPrior(prior, torch.float16).penalty(0.5) == prior.penalty(0.5)


def test_a_small_update_is_lost_in_half_precision():
    grad, w = torch.ones(1), torch.full((1,), 0.5)
    TextbookPrior(MixtureGaussianPrior(0.1, 1e-3, 1.0), torch.bfloat16).add_grads_([grad], [w], n=200)
    assert grad.item() == 1.0


def test_the_scale_of_n_scales_the_prior():
    right, strong = short().metrics.iloc[0], short(prior_n=1).metrics.iloc[0]
    assert strong["prior_norm"] == pytest.approx(200 * right["prior_norm"], rel=1e-4)
    summed = short(loss="sum").metrics.iloc[0]
    assert summed["data_norm"] == pytest.approx(200 * right["data_norm"], rel=1e-4)
    assert summed["loss"] == pytest.approx(right["loss"])


def test_regrowth_fills_the_model_between_events():
    regrown, held = short().metrics, short(allow_regrowth=False).metrics
    between = regrown["step"].isin([5, 6, 7, 9, 10, 11])
    assert regrown["sparsity"][regrown["step"] == 8].item() > 0.5
    assert (regrown["sparsity"][between] < 0.1).all()
    assert (held["sparsity"][between & (held["step"] > 8)] > 0.5).all()
    assert (regrown["regrown"].iloc[-1], held["regrown"].iloc[-1]) == (1.0, 0.0)


def test_stopping_between_events_is_reported():
    assert "train to the end" in short(steps=11).audit


def test_a_threshold_per_layer_shares_the_zeros_out_evenly():
    kept = short(threshold_per_layer=True).weights.groupby("layer")["kept"].sum()
    assert kept.tolist() == [40, 40]
    assert short().weights["kept"].sum() == 80


def test_comparisons_hold_every_run():
    ways = {"as is": {}, "L2": {"penalty": L2(0.1)}}
    both = compare_toys(ways, seeds=[0, 2], steps=16, every=1, interval=4, sparsity=SHORT)
    assert both.weights.groupby(["variant", "seed"]).size().eq(INPUTS).all()
    mine = both.metrics[(both.metrics["variant"] == "as is") & (both.metrics["seed"] == 2)]
    pd.testing.assert_frame_equal(
        mine.drop(columns=["variant", "seed"]).reset_index(drop=True), short(2).metrics, check_names=False
    )
    assert both.audit.splitlines()[-1] == "L2, seed 2: 720 of 800 weights are zero, as promised"


def test_the_tables_of_a_comparison():
    both = compare_toys({"b": {}, "a": {"threshold_per_layer": True}}, seeds=[0], steps=16, interval=4, sparsity=SHORT)
    last = both.metrics[both.metrics["variant"] == "b"].iloc[-1]
    assert both.ends("found", "test_loss").loc["b", ("test_loss", 0)] == last["test_loss"]
    assert both.ends("found").index.tolist() == ["b", "a"]
    table = both.kept_by_layer()
    assert table["kept"].loc["a"].to_numpy().tolist() == [[40, 40]]
    assert table["true"].sum(axis=1).tolist() == (12 * both.ends("found")["found"][0]).round().tolist()
