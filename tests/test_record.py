"""`record`: a loop of one's own gives a run that every reader works with."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from conftest import make_tiny_bert
from torch import nn
from transformers import AutoModelForSequenceClassification, Trainer, TrainingArguments

import mgpp
from mgpp import L1, L2, CubicSparsity, LinearRamp, MixtureGaussianPrior, Pruner, PruningCallback, prunable_weights
from mgpp.lab.cli import main
from mgpp.lab.comparison.frame import main_experiment, scored
from mgpp.lab.description import method_of
from mgpp.lab.training.train import resume
from mgpp.methods import METHODS
from mgpp.pruning.pruner import SparsityError
from mgpp.runs import RunError, load_run, load_runs, summary

SCHEDULE = CubicSparsity(0.0, 0.75, begin_step=2, end_step=8)
PRIOR = MixtureGaussianPrior(1e-4, 1e-6, 0.1)
ANNEALED = mgpp.AnnealedPrior(PRIOR, lam=LinearRamp(0.1, 1e-4, begin_step=2, end_step=8))
PENALTIES = {"mgpp": ANNEALED, "l2": L2(0.01)}
OBSERVING = {"every": 2, "histograms_every": 6, "trajectories": 10}
STEPS = 12


def bert():
    return make_tiny_bert(vocab_size=50, hidden_size=16, intermediate_size=24, max_position_embeddings=16)


def training(penalty=None, model=None, **options):
    """A tiny BERT, its Pruner and a step on random tokens."""
    torch.manual_seed(0)
    model = model or bert()
    pruner = Pruner(prunable_weights(model), penalty=penalty, sparsity=SCHEDULE, n_train=40, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step(number):
        tokens = torch.randint(0, 50, (4, 6))
        loss = model(input_ids=tokens, labels=tokens[:, 0] % 2).loss
        loss.backward()
        pruner.before_step(number)
        optimizer.step()
        pruner.after_step(number)
        optimizer.zero_grad()
        return loss

    return model, pruner, step


def recorded(folder, penalty=None, steps=STEPS, seed=0, score=0.8, **options):
    model, pruner, step = training(penalty)
    with mgpp.record(pruner, folder, model=model, seed=seed, **OBSERVING | options) as log:
        for number in range(steps):
            log.step(number, loss=step(number), learning_rate=1e-3)
            if number == 5:
                log.write(accuracy=0.5)
        log.write(accuracy=score + seed / 100)
    return load_run(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """MGPP and L2 with two seeds each, recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    for seed in (0, 1):
        for name, penalty in PENALTIES.items():
            recorded(folder / f"{name}-{seed}", penalty, seed=seed, total_steps=STEPS)
    return folder


@pytest.fixture
def run(folder):
    return load_run(folder / "mgpp-0")


def test_run_json_says_what_train_would(run):
    assert (run.status, run.method, run.sparsity, run.seed) == ("finished", "mgpp", 0.75, 0)
    assert run.info["steps"] == {"total": 12, "begin": 2, "end": 8}
    assert run.info["examples"] == {"train": 40}
    zeros = round(0.75 * run.info["targets"]["count"])
    assert run.final == {"accuracy": 0.8, "zeros": zeros, "sparsity": pytest.approx(0.75, abs=1e-3)}
    assert run.info["metric"] == {"name": "accuracy", "higher_is_better": True}
    assert run.info["versions"]["torch"]
    assert run.recipe["prior"] == {"lam": 1e-4, "initial_lam": 0.1, "spike_var": 1e-6, "slab_var": 0.1}
    assert run.recipe["sparsity"]["frozen"] == 4
    assert len(run.info["targets"]["table"]) == 12


def test_the_frames_have_every_logged_step_and_own_metrics(run):
    rows = run.metrics
    assert sorted(set(rows["step"])) == [0, 2, 4, 5, 6, 8, 10, 11]
    assert rows.dropna(subset="accuracy")[["step", "accuracy"]].values.tolist() == [[5, 0.5], [11, 0.8]]
    assert rows.dropna(subset="sparsity")["loss"].notna().all()
    assert rows.dropna(subset="sparsity")["sparsity"].iloc[-1] == pytest.approx(0.75, abs=1e-3)
    for frame in (run.layers, run.weights, run.trajectories):
        assert frame["step"].max() == 11


def test_a_metric_of_ones_own_joins_the_row_of_its_step(run):
    last = run.metrics.iloc[-1]
    assert run.metrics["step"].is_unique
    assert (last["step"], last["accuracy"]) == (STEPS - 1, 0.8)
    assert last[["loss", "prior_threshold", "pruning_threshold"]].notna().all()


def test_recording_changes_no_weight(folder, run):
    model, _, step = training(ANNEALED)
    for number in range(STEPS):
        step(number)
    saved = AutoModelForSequenceClassification.from_pretrained(run.checkpoint)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), saved.parameters(), strict=True))


def test_every_plot_draws_it(folder, run, tmp_path):
    both = [run, load_run(folder / "l2-0")]
    assert [line.get_label() for line in mgpp.plot_thresholds(both).get_lines()][:2] == ["MGPP", "L2"]
    for ax in (mgpp.plot_remaining_weights(both), mgpp.plot_metric(both, "accuracy"), mgpp.plot_trajectories(run)):
        assert ax.get_lines()
    assert mgpp.plot_sparsity_by_layer(run).collections
    assert len(mgpp.figure_2(load_runs(folder)).axes) == 2
    assert mgpp.plot_weight_distribution(run, 8).has_data()
    assert all(path.stat().st_size for path in mgpp.render_movies(folder, tmp_path))


def test_runs_are_listed_and_compared_by_seed(folder):
    assert set(summary(load_runs(folder))["score"]) == {0.8, 0.81}
    listed = CliRunner().invoke(main, ["runs", str(folder)], catch_exceptions=False)
    assert listed.output.count("finished") == 4
    frame = mgpp.comparison_frame(main_experiment(load_runs(folder)))
    assert scored(frame)["steps"].tolist() == [12] * 4
    assert mgpp.paired_to(frame)[["rival", "mean", "seeds"]].values.tolist() == [["l2", 0.0, 2]]


def test_the_explorer_shows_it(folder, run, tmp_path):
    page = mgpp.save_explorer(tmp_path / "page.html", runs=load_runs(folder), source=run.name, step=8)
    assert '"n":40' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("layout", ["plain", "packed"])
def test_a_recorded_run_is_exported(run, tmp_path, layout):
    mgpp.export(run, tmp_path / "model", format=layout)
    record = json.loads((tmp_path / "model" / "mgpp.json").read_text())
    assert record["zeros"] == run.final["zeros"]


def test_model_and_pruner_are_exported(tmp_path):
    model, pruner, step = training(L2(0.01))
    for number in range(STEPS):
        step(number)
    mgpp.export((model, pruner), tmp_path / "model")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    assert sum(int((weight == 0).sum()) for weight in prunable_weights(again).values()) == pruner.audit()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    with torch.no_grad():
        next(iter(pruner.weights.values())).add_(1.0)
    with pytest.raises(SparsityError):
        mgpp.export((model, pruner), tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_the_last_step_is_logged_where_the_total_is_not_known(tmp_path):
    run = recorded(tmp_path / "run", steps=10)
    assert run.metrics["step"].max() == 9
    assert run.info["steps"]["total"] == 10
    assert run.method == "gmp"


def test_stopped_failed_and_unfinished_loops_are_not_finished(tmp_path):
    for name, error, status in (("a", ValueError, "failed"), ("b", KeyboardInterrupt, "stopped")):
        _, pruner, _ = training()
        with pytest.raises(error), mgpp.record(pruner, tmp_path / name):
            raise error("told")
        assert (load_run(tmp_path / name).status, "told" in load_run(tmp_path / name).info["error"]) == (status, True)
    with pytest.raises(SparsityError):
        recorded(tmp_path / "c", steps=5)
    assert load_run(tmp_path / "c").status == "failed"
    assert load_run(tmp_path / "c").final == {}


def test_a_schedule_longer_than_the_training_is_refused_before_anything_is_written(tmp_path):
    _, pruner, _ = training()
    with pytest.raises(ValueError, match="total_steps"), mgpp.record(pruner, tmp_path / "run", total_steps=8):
        pass
    with pytest.raises(ValueError, match="model"), mgpp.record(pruner, tmp_path / "run", model=nn.Linear(1, 1)):
        pass
    assert not (tmp_path / "run").exists()


def test_a_run_is_replaced_only_if_asked_for(folder, tmp_path):
    before = recorded(tmp_path / "run", L1(0.1))
    with pytest.raises(RunError, match="replace"):
        recorded(tmp_path / "run")
    assert recorded(tmp_path / "run", replace=True).method == "gmp"
    assert before.method == "l1"
    with pytest.raises(RunError):
        resume(tmp_path / "run")


def test_measured_columns_are_not_overwritten(tmp_path):
    _, pruner, step = training()
    with pytest.raises(ValueError, match="sparsity"), mgpp.record(pruner, tmp_path / "run") as log:
        step(0)
        log.step(0, sparsity=0.1)


def test_own_metrics_with_any_name_decide_if_they_are_asked_to(tmp_path):
    _, pruner, step = training()
    with mgpp.record(pruner, tmp_path / "run", metric="mse", higher_is_better=False) as log:
        for number in range(STEPS):
            log.step(number, loss=step(number).item(), words_per_second=np.float32(7))
        log.write(spearman=0.3, mse=torch.tensor(2.0), mse_se=0.5)
    row = summary([load_run(tmp_path / "run")]).iloc[0]
    assert (row["metric"], row["score"], row["score_se"]) == ("mse", 2.0, 0.5)
    assert load_run(tmp_path / "run").metrics["words_per_second"].iloc[0] == 7


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("gmp-star", "soft-movement")])
def test_methods_are_known_by_what_they_do(name):
    torch.manual_seed(0)
    weights, method = {"w": nn.Parameter(torch.randn(4, 4).relu())}, METHODS[name]()
    pruner = Pruner(
        weights,
        penalty=method.penalty(SCHEDULE),
        importance=method.importance(),
        sparsity=method.schedule(SCHEDULE),
        n_train=1,
        scope=method.scope,
        freeze=method.freeze,
    )
    assert method_of(pruner) == name


class Tokens(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return {"input_ids": torch.arange(6) + i, "labels": i % 2}


def test_a_trainer_logs_its_evaluations_too(tmp_path):
    model, pruner, _ = training(L2(0.01))
    arguments = TrainingArguments(
        str(tmp_path / "trainer"),
        max_steps=STEPS,
        per_device_train_batch_size=4,
        eval_strategy="steps",
        eval_steps=4,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
    )
    with mgpp.record(pruner, tmp_path / "run", model=model, **OBSERVING) as log:
        trainer = Trainer(
            model,
            arguments,
            train_dataset=Tokens(),
            eval_dataset=Tokens(),
            compute_metrics=lambda found: {"accuracy": float((found.predictions.argmax(-1) == found.label_ids).mean())},
            callbacks=[PruningCallback(pruner, log)],
        )
        trainer.train()
    run = load_run(tmp_path / "run")
    assert run.status == "finished"
    rows = run.metrics.dropna(subset="eval_accuracy")
    assert rows["step"].tolist() == [3, 7, 11]
    assert run.final["accuracy"] == rows["eval_accuracy"].iloc[-1]
    assert (run.metric, run.info["steps"]["total"]) == ("accuracy", STEPS)
    assert not [column for column in run.metrics if column.endswith(("_runtime", "_per_second"))]
    assert run.metrics.dropna(subset="sparsity")["step"].tolist() == [0, 2, 4, 6, 8, 10, 11]
    mgpp.export(run, tmp_path / "model")
