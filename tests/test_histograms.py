"""Histograms of weights: shares below thresholds, against the weights themselves and against the log."""

import numpy as np
import pandas as pd
import pytest
import torch

from mgpp.runs.histograms import Snapshots, histogram_frame

NAMES = ("encoder.layer.0.attention.self.query.weight", "encoder.layer.1.output.dense.weight")


@pytest.fixture
def weights():
    rng = np.random.default_rng(0)
    return {name: rng.normal(0, 0.05, (300, 200)).astype(np.float32) for name in NAMES}


@pytest.mark.parametrize("threshold", [1e-6, 3.7e-4, 0.01, 0.0613, 0.2, 100.0])
def test_the_share_below_a_threshold_is_that_of_the_weights(weights, threshold):
    true = np.mean([np.abs(weight) < threshold for weight in weights.values()])
    found = Snapshots.of_weights(weights, name="here").share_below(threshold)
    assert found == pytest.approx(true, abs=2e-4)


def test_exact_zeros_count_as_below(weights):
    weights[NAMES[0]][:, :100] = 0
    snapshots = Snapshots.of_weights(weights, name="here")
    assert snapshots.zeros.tolist() == [[30_000, 0]]
    assert snapshots.share_below(1e-12) == pytest.approx(0.25)
    assert snapshots.share_below(1e-12, layer=0) == pytest.approx(0.5)
    assert snapshots.share_below(1e-12, kind="output") == 0


def test_tensors_do_as_well_as_arrays(weights):
    tensors = {name: torch.nn.Parameter(torch.from_numpy(weight)) for name, weight in weights.items()}
    here, there = (Snapshots.of_weights(each, name="") for each in (weights, tensors))
    assert (here.counts == there.counts).all()
    half = {name: tensor.detach().bfloat16() for name, tensor in tensors.items()}
    assert Snapshots.of_weights(half, name="").counts.sum() == here.counts.sum()


def test_a_run_gives_the_counts_and_the_rows_of_its_log(tiny_run):
    snapshots = Snapshots.of_run(tiny_run)
    total = tiny_run.info["targets"]["count"]
    assert (snapshots.counts.sum(axis=(1, 2)) + snapshots.zeros.sum(axis=1) == total).all()
    zeros = tiny_run.weights.query("left == 0 and right == 0").groupby("step")["count"].sum()
    for row, step in enumerate(snapshots.steps["step"]):
        assert snapshots.zeros[row].sum() == zeros.get(step, 0)
    assert snapshots.steps["sparsity"].iloc[-1] == pytest.approx(0.9, abs=1e-3)
    assert len(snapshots.targets) == 12


def test_a_run_agrees_with_the_share_that_it_logged(tiny_run):
    snapshots = Snapshots.of_run(tiny_run)
    logged = snapshots.steps.dropna(subset=["prior_threshold"])
    assert len(logged)
    for row in logged.itertuples():
        assert snapshots.share_below(row.prior_threshold, step=row.step) == pytest.approx(row.spike_fraction, abs=2e-3)


@pytest.mark.parametrize(
    ("question", "words"),
    [({"step": 3}, "step=3"), ({"layer": 7}, "layer=7"), ({"kind": "head"}, "kind='head'")],
)
def test_what_is_not_there_is_named(weights, question, words):
    with pytest.raises(ValueError, match=words):
        Snapshots.of_weights(weights, name="here").share_below(0.1, **question)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_named(weights, wrong):
    weights[NAMES[1]][0, :3] = wrong
    with pytest.raises(ValueError, match=f"{NAMES[1]} holds .* not finite"):
        Snapshots.of_weights(weights, name="here")


def test_a_step_with_two_rows_of_metrics_is_one_step(tiny_run):
    twice = type(tiny_run)(tiny_run.folder, tiny_run.info)
    twice.__dict__["metrics"] = pd.concat([tiny_run.metrics, tiny_run.metrics.tail(1)[["step", "eval_accuracy"]]])
    snapshots = Snapshots.of_run(twice)
    assert snapshots.steps["step"].is_unique
    assert len(snapshots.steps) == len(snapshots.zeros)
    assert snapshots.steps["sparsity"].iloc[-1] == pytest.approx(0.9, abs=1e-3)


def test_no_weights_and_no_histograms_are_refused(tiny_run, tmp_path):
    with pytest.raises(ValueError, match="holds no weights"):
        Snapshots.of_weights({}, name="nothing")
    (tmp_path / "run.json").write_text((tiny_run.folder / "run.json").read_text())
    with pytest.raises(ValueError, match="no histograms"):
        Snapshots.of_run(type(tiny_run)(tmp_path, tiny_run.info))


def test_stacks_of_one_layer_and_kind_stay_apart():
    names = [f"model.{side}.layers.0.self_attn.q_proj.weight" for side in ("encoder", "decoder")]
    weights = dict(zip(names, (np.zeros(4), np.ones(4)), strict=True))
    snapshots = Snapshots.of_weights(weights, name="two stacks")
    assert snapshots.targets == [(0, "encoder query"), (0, "decoder query")]
    assert snapshots.share_below(0.5, kind="decoder query") == 0
    frame = histogram_frame(names, np.eye(2, 325, dtype=int), 0)
    assert frame["kind"].tolist() == ["encoder query", "decoder query"]
