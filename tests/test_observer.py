import json

import numpy as np
import pandas as pd
import pytest
import torch

from mgpp import CubicSparsity, MixtureGaussianPrior, NoPenalty, Observer, Pruner
from mgpp.prior import chunks
from mgpp.pruning.observer import follow, histogram_rows, layer_rows, spike_edge, trajectory_rows
from mgpp.runs.histograms import BIN_EDGES

NAME = "bert.encoder.layer.1.output.dense.weight"


class Memory:
    """A writer that keeps what it is given."""

    def __init__(self):
        self.rows, self.parts = [], []

    def metrics(self, row):
        self.rows.append(json.loads(json.dumps(row)))

    def part(self, frame, step, rows):
        self.parts.append((frame, step, rows))


def make(**options):
    weight = torch.nn.Parameter(torch.tensor([[0.5, -0.25, 1e-6, 0.0], [1.0, -1e-9, 20.0, 0.1]]))
    sparsity = CubicSparsity(0.25, 0.5, begin_step=2, end_step=8)
    pruner = Pruner({NAME: weight}, sparsity=sparsity, n_train=4, penalty=MixtureGaussianPrior(1e-4, 1e-8, 0.1))
    memory = Memory()
    return pruner, memory, Observer(pruner, memory, **options)


def test_logged_steps_follow_the_prune_events():
    _, _, observer = make(every=3)
    assert [step for step in range(12) if observer.is_due(step, max_steps=12)] == [2, 5, 8, 11]
    _, _, observer = make(every=5)
    assert [step for step in range(12) if observer.is_due(step, max_steps=12)] == [2, 7, 8, 11]


def test_a_row_says_what_the_pruner_did():
    pruner, memory, observer = make()
    pruner.before_step(2)
    pruner.after_step(2)
    observer.measure(2)
    assert observer.is_pending
    observer.write({"loss": 0.7, "learning_rate": 1e-4, "epoch": 0.5})
    (row,) = memory.rows
    assert row["sparsity"] == row["sparsity_target"] == 0.25
    assert row["pruning_threshold"] == pruner.event.threshold == pytest.approx(1e-9)
    assert row["prior_threshold"] == pytest.approx(pruner.penalty.threshold)
    assert row["spike_fraction"] == 3 / 8  # two zeros and 1e-6
    assert (row["loss"], row["phase"], row["lam"]) == (0.7, "pruning", 1e-4)
    assert not observer.is_pending


def test_evaluation_leaves_the_random_state_alone():
    def evaluate():
        torch.rand(3)
        return {"accuracy": 0.5}

    _, memory, observer = make(evaluate=evaluate, evaluate_every=10)
    before = torch.get_rng_state()
    observer.measure(2)
    observer.write({})
    assert torch.equal(torch.get_rng_state(), before)
    assert memory.rows[0]["eval_accuracy"] == 0.5


def test_layers():
    weight = torch.tensor([0.0, 2.0, -4.0, 0.0])
    (row,) = layer_rows({NAME: weight}, 7, NoPenalty()).to_dict("records")
    assert row["layer"] == 1
    assert row["kind"] == "output"
    assert (row["sparsity"], row["abs_mean"], row["n"], row["step"]) == (0.5, 1.5, 4, 7)
    assert row["abs_std"] == pytest.approx(np.std([0, 2, 4, 0]))
    assert np.isnan(row["spike_fraction"])


def test_layers_equal_torch_whatever_the_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 64)
    weights = {NAME: torch.randn(40, 37).T.bfloat16(), NAME.replace("1", "2"): torch.randn(1001).double()}
    prior = MixtureGaussianPrior(1e-3, 0.01, 1.0)
    for row, weight in zip(layer_rows(weights, 7, prior).to_dict("records"), weights.values(), strict=True):
        size = weight.abs().double()
        assert row["abs_mean"] == pytest.approx(size.mean().item(), rel=1e-6)
        assert row["abs_std"] == pytest.approx(size.std(correction=0).item(), rel=1e-6)
        assert row["spike_fraction"] == (size < prior.threshold).double().mean().item()


def test_the_spike_reaches_everywhere_or_nowhere_without_a_threshold():
    assert spike_edge(MixtureGaussianPrior(0.0, 1e-8, 0.1)) == np.inf
    assert spike_edge(MixtureGaussianPrior(1.0, 1e-8, 0.1)) == 0


class Cutoff(NoPenalty):
    """A penalty of one's own, with a threshold and no variances."""

    lam, threshold, has_threshold = 0.5, 0.2, True


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        (NoPenalty(), (None, None, None, None)),
        (Cutoff(), (0.2, 0.5, None, 4 / 8)),
        (MixtureGaussianPrior(1.0, 1e-8, 0.1), (None, 1.0, 1e-8, 0.0)),
    ],
)
def test_any_penalty_with_a_threshold_is_logged(penalty, expected):
    pruner, memory, observer = make()
    pruner.penalty = penalty
    observer.measure(2)
    observer.write({})
    assert tuple(memory.rows[0][name] for name in ("prior_threshold", "lam", "spike_var", "spike_fraction")) == expected


def test_histogram_by_hand():
    values = torch.tensor([0.0, -0.0, 1e-9, -1e-9, 0.3, 0.3, -0.3, 50.0, -50.0])
    rows = histogram_rows({NAME: values}, 5).set_index(["left", "right"])["count"]
    assert rows.sum() == 9
    assert rows[(0.0, 0.0)] == 2
    assert rows[(0.0, BIN_EDGES[0])] == rows[(-BIN_EDGES[0], 0.0)] == 1
    assert rows[(BIN_EDGES[-1], np.inf)] == rows[(-np.inf, -BIN_EDGES[-1])] == 1
    (inside,) = [count for (left, right), count in rows.items() if left <= 0.3 < right]
    assert inside == 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_histogram_equals_numpy(dtype):
    edges = torch.tensor(BIN_EDGES, dtype=torch.float32)
    random = torch.randn(5000) * torch.logspace(-8, 1, 5000)
    values = torch.cat([random, edges, edges.nextafter(torch.zeros(161))]).to(dtype).float()
    values = values[values != edges[-1]]  # numpy counts it with the bin before
    rows = histogram_rows({NAME: values.to(dtype)}, 0)
    positive = rows[(rows["left"] >= BIN_EDGES[0]) & np.isfinite(rows["right"])].set_index("left")["count"]
    expected, _ = np.histogram(values.numpy(), bins=BIN_EDGES.astype(np.float32))
    found = positive.reindex(BIN_EDGES[:-1], fill_value=0).to_numpy()
    np.testing.assert_array_equal(found, expected)


def test_followed_weights_are_the_same_in_every_run_and_read_right():
    weights = {"a": torch.arange(50.0), "b": torch.arange(100.0, 150.0).reshape(5, 10)}
    followed = follow(weights, 20)
    assert {name: index.tolist() for name, index in followed.items()} == {
        name: index.tolist() for name, index in follow(weights, 20).items()
    }
    rows = trajectory_rows(weights, followed, 3)
    assert len(rows) == 20
    offset = rows["name"].map({"a": 0.0, "b": 100.0})
    np.testing.assert_array_equal(rows["value"], rows["index"] + offset)
    assert (rows["kept"] == (rows["value"] != 0)).all()


def test_parts_are_written_at_their_intervals():
    pruner, memory, observer = make(every=1, histograms_every=3, trajectories=2)
    for step in range(12):
        pruner.before_step(step)
        pruner.after_step(step)
        if observer.is_due(step, 12):
            observer.measure(step)
            observer.write({})
    written = pd.Series([frame for frame, _, _ in memory.parts]).value_counts()
    assert written.to_dict() == {"layers": 12, "trajectories": 12, "weights": 4}
    assert [step for frame, step, _ in memory.parts if frame == "weights"] == [2, 5, 8, 11]
