"""The consistency simulation: the problems have the structure they claim, and the measures count what was found."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from mgpp.prior.penalties import L2
from mgpp.runs import RunError, load_run, load_runs
from studies.consistency import simulation as consistency
from studies.consistency.problems import POSITIONS, PROBLEMS, REGRESSION, TEACHER
from studies.consistency.simulation import SEEDS, TRIALS, Variances, main, replicate, simulate, tune

DATA = Path(__file__).parents[1] / "data" / "consistency"
SMALL = replace(TEACHER, inputs=20, sizes=(40,), kept=(8, 16), steps=20, batch=16)
SHORT = replace(POSITIONS, sizes=(20,), steps=10, batch=8)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_teacher_is_the_published_network():
    sample = TEACHER.draw(5, rng())
    for x, mean in zip(sample.x.tolist(), sample.mean.tolist(), strict=True):
        first = math.tanh(2 * math.tanh(2 * x[0] - x[1]))
        second = 2 * math.tanh(2 * math.tanh(x[2] - 2 * x[3]) - math.tanh(2 * x[4]))
        assert mean == pytest.approx(first + second, abs=1e-5)


def test_the_regression_is_the_published_function():
    sample = REGRESSION.draw(5, rng())
    assert sample.x.shape == (5, 2000)
    for (x1, x2, x3, x4, x5), mean in zip(sample.x[:, :5].tolist(), sample.mean.tolist(), strict=True):
        assert mean == pytest.approx(5 * x2 / (1 + x1**2) + 5 * math.sin(x3 * x4) + 2 * x5, abs=1e-4)


def test_the_variables_have_variance_1_and_correlation_one_half():
    x = TEACHER.draw(4000, rng()).x[:, :40].numpy()
    correlations = np.corrcoef(x.T)
    assert correlations[~np.eye(40, dtype=bool)].mean() == pytest.approx(0.5, abs=0.03)
    assert x.var() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
def test_the_noise_has_variance_1_and_only_the_true_inputs_matter(problem):
    sample = problem.draw(4000, rng())
    assert float((sample.y - sample.mean).var()) == pytest.approx(1.0, abs=0.1)
    other = problem.draw(4000, rng(1)).x
    other[:, list(problem.true)] = sample.x[:, list(problem.true)]
    torch.testing.assert_close(problem.mean(other), sample.mean)
    for place in problem.true:
        changed = sample.x.clone()
        changed[:, place] = changed[:, place].roll(1)
        assert not torch.equal(problem.mean(changed), sample.mean)


class _Truth(nn.Module):
    def forward(self, x):
        return POSITIONS.mean(x)


def test_the_importance_of_positions_is_the_total_effect_of_the_true_function():
    x = POSITIONS.draw(8000, rng()).x
    importance = POSITIONS.importance(_Truth(), x)
    variances = np.array(POSITIONS.effects) ** 2
    assert [importance[place] for place in POSITIONS.true] == pytest.approx(variances / variances.sum(), abs=0.02)
    assert sum(importance) == pytest.approx(1.0, abs=0.03)  # no interactions, and nothing elsewhere
    constant = nn.Module()
    constant.forward = lambda x: torch.zeros(len(x))
    assert POSITIONS.importance(constant, x[:10]) == [0.0] * 16


def test_the_importance_of_a_variable_is_how_many_of_its_weights_survive():
    model = SMALL.model(0)
    weight = model.get_parameter("first.weight")
    with torch.no_grad():
        weight.zero_()
        weight[:3, 2], weight[0, 7] = 0.5, -0.1
    importance = SMALL.importance(model, torch.zeros(1, 20))
    assert {place: count for place, count in enumerate(importance) if count} == {2: 3.0, 7: 1.0}


def test_false_and_negative_selection_are_counted_on_what_was_kept():
    model = SMALL.model(0)
    with torch.no_grad():
        weight = model.get_parameter("first.weight").zero_()
        weight[:, [0, 1, 2, 9]] = 1.0
    found = consistency._structure(SMALL, model, SMALL.draw(10, rng()))
    assert (found["selected"], found["fsr"], found["nsr"]) == (4, 0.25, 0.4)
    with torch.no_grad():
        model.get_parameter("first.weight").zero_()
    found = consistency._structure(SMALL, model, SMALL.draw(10, rng()))
    assert (found["selected"], found["fsr"], found["nsr"]) == (0, 0.0, 1.0)


@pytest.mark.parametrize("problem", [SMALL, SHORT], ids=["teacher", "positions"])
def test_a_replication_repeats_and_leaves_the_callers_random_numbers_alone(problem):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    rows = [replicate(problem, Variances(0.1, 1e-3), n=40, seed=1, kept=8) for _ in range(2)]
    assert rows[0] == rows[1]
    assert torch.rand(1) == expected
    assert rows[0] != replicate(problem, Variances(0.1, 1e-3), n=40, seed=2, kept=8)


def test_exactly_the_promised_weights_are_left():
    model, kept = SMALL.model(0), 8
    train, *_ = consistency._samples(SMALL, 40, 0)
    pruner = consistency._pruner(SMALL, None, model, 40, kept)
    consistency._train_(SMALL, model, pruner, train, 0)
    assert int((model.get_parameter("first.weight") != 0).sum()) == kept
    assert (pruner.sparsity.begin_step, pruner.sparsity.end_step) == (4, 12)


def test_the_student_finds_the_teacher_where_data_are_plenty():
    easy = replace(TEACHER, inputs=30, steps=400)
    row = replicate(easy, None, n=3000, seed=0, kept=20)
    assert row["nsr"] == 0.0
    assert row["excess_risk"] < 0.3 < float(easy.draw(1000, rng()).mean.var()) / 5


def test_l2_is_as_strong_as_the_slab():
    slab, n = 0.05, 500
    mixture = Variances(slab, 1e-4).penalty(n, 0, 10).at(10)
    assert Variances(slab).penalty(n, 0, 10) == L2(1 / (n * slab))
    assert mixture.penalty_grad(0.8) * mixture.scale(n) == pytest.approx(L2(1 / (n * slab)).penalty_grad(0.8))
    assert [Variances(slab, 1e-4).penalty(n, 2, 10).at(step).lam for step in (0, 10)] == [0.1, 1e-5]


def test_a_run_holds_a_row_a_training_and_is_not_made_twice(tmp_path, monkeypatch):
    run = simulate(SMALL, "l2", Variances(0.1), tmp_path / "run", n=40, seeds=(0, 1))
    assert run.metrics[["seed", "kept"]].values.tolist() == [[0, 8], [0, 16], [1, 8], [1, 16]]
    assert (run.method, run.recipe["variances"], run.status) == ("l2", {"slab": 0.1, "spike": None}, "finished")
    assert run.final["fsr"] == pytest.approx(run.metrics["fsr"].mean(), abs=1e-6)
    assert "versions" in run.info
    monkeypatch.setattr(consistency, "replicate", None)  # would fail if it were called
    assert simulate(SMALL, "l2", Variances(0.1), tmp_path / "run", n=40).info == run.info


def test_an_interrupted_run_is_made_anew_and_other_files_are_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(json.dumps({"format": 1, "status": "running"}))
    assert simulate(SMALL, "gmp", None, tmp_path / "run", n=40, seeds=(0,)).status == "finished"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(RunError):
        simulate(SMALL, "gmp", None, tmp_path / "mine", n=40, seeds=(0,))


def test_tuning_takes_the_least_validation_loss(tmp_path, monkeypatch):
    tried = []

    def pretend(problem, variances, *, n, seed, kept):
        tried.append((variances, n, seed, kept))
        loss = abs(math.log(variances.slab / 0.01))
        return {"step": 1, "seed": seed, "kept": kept, "validation_loss": loss, "excess_risk": 0, "fsr": 0, "nsr": 0}

    monkeypatch.setattr(consistency, "replicate", pretend)
    assert tune(TEACHER, "l2", tmp_path) == Variances(0.01)
    assert {(n, kept) for _, n, _, kept in tried} == {(1000, 20)}
    assert not {seed for _, _, seed, _ in tried} & set(SEEDS)


def test_all_methods_that_are_tuned_have_as_many_trials():
    assert len({len(trials) for trials in TRIALS.values()}) == 1
    assert all(len(set(trials)) == len(trials) for trials in TRIALS.values())


def test_the_command_makes_every_run_and_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(consistency, "SEEDS", (0,))
    monkeypatch.setattr(consistency, "TUNING_SEEDS", (100,))
    monkeypatch.setattr(consistency, "TUNING_SIZE", 40)
    monkeypatch.setitem(PROBLEMS, "teacher", replace(SMALL, steps=5, kept=(8,)))
    first, second = (CliRunner().invoke(main, ["--problem", "teacher", "--out", str(tmp_path)]) for _ in range(2))
    assert first.exit_code == second.exit_code == 0, first.output
    assert first.output == second.output
    names = [run.name for run in load_runs(tmp_path)]
    assert names == [f"teacher-{method}-n00040" for method in ("gmp", "l2", "mgpp")]
    assert len(load_runs(tmp_path / "tuning")) == 8


def test_the_committed_runs_are_all_of_them_and_used_the_settings_that_were_tuned():
    runs = {run.name: run for run in load_runs(DATA)}
    expected = {
        f"{problem.name}-{method}-n{n:05d}": problem
        for problem in PROBLEMS.values()
        for method in ("mgpp", "l2", "gmp")
        for n in problem.sizes
    }
    assert runs.keys() == expected.keys()
    for name, problem in expected.items():
        assert runs[name].status == "finished"
        assert len(runs[name].metrics) == len(problem.kept) * len(SEEDS)
        if (method := runs[name].method) in TRIALS:
            trials = [load_run(DATA / "tuning" / f"{problem.name}-{method}-trial{number}") for number in range(4)]
            best = min(trials, key=lambda trial: trial.final["validation_loss"])
            assert runs[name].recipe["variances"] == best.recipe["variances"]


def test_the_committed_runs_are_small():
    assert sum(path.stat().st_size for path in DATA.rglob("*") if path.is_file()) < 1_000_000
