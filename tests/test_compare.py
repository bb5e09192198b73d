import os
import signal
import sys
import threading
from dataclasses import replace

import pytest

from mgpp import RecipeError, RunError, RunWriter, load_run, load_runs
from mgpp.training import compare as module
from mgpp.training.compare import ComparisonError, compare, train_in_a_process


class Fake:
    """Writes runs without training; fails for the methods it is told to."""

    def __init__(self, *failing):
        self.failing, self.trained = failing, []

    def __call__(self, recipe, folder):
        self.trained.append(recipe.run_name)
        resolved = replace(recipe, precision="bf16", threads=recipe.threads or 7).as_dict()
        with RunWriter(folder, {"recipe": resolved}) as writer:
            writer.metrics({"step": 0})
            if recipe.method in self.failing:
                raise MemoryError("too large")
            writer.update(final={"accuracy": 0.75})


@pytest.fixture
def options(tmp_path):
    lines = []
    return {
        "methods": ["mgpp", "dense", "l2"],
        "sparsities": [0.8, 0.9],
        "seeds": [0, 1],
        "out": tmp_path / "out",
        "report": lines.append,
    }


def test_every_cell_is_trained_once_and_dense_once_a_seed(options):
    fake = Fake()
    assert compare("reviews", **options, train_one=fake) == options["out"]
    one = ["reviews-mgpp-0.8-seed0", "reviews-dense-seed0", "reviews-l2-0.8-seed0"]
    one += ["reviews-mgpp-0.9-seed0", "reviews-l2-0.9-seed0"]
    assert fake.trained == [*one, *(name.replace("seed0", "seed1") for name in one)]
    runs = load_runs(options["out"])
    assert {run.name for run in runs} == set(fake.trained)
    assert [(run.method, run.sparsity, run.seed) for run in runs][:2] == [("dense", 0.0, 0), ("dense", 0.0, 1)]
    lines = options["report"].__self__
    assert lines[0].endswith("out: 0 are there, 10 to train")
    assert lines[1] == "[1/10] reviews-mgpp-0.8-seed0: accuracy 0.75, 0 s"
    assert len(lines) == 11


def test_it_continues_where_it_stopped(options):
    compare("reviews", **options | {"seeds": [1]}, train_one=Fake())
    fake = Fake()
    compare("reviews", **options, train_one=fake)
    assert len(fake.trained) == 5
    assert all(name.endswith("seed0") for name in fake.trained)
    compare("reviews", **options, train_one=fake)
    assert len(fake.trained) == 5


def test_a_failure_stops_nothing_and_is_trained_again(options):
    compare("reviews", **options, train_one=Fake("l2"))
    failed = load_run(options["out"] / "reviews-l2-0.9-seed1")
    assert (failed.status, failed.info["error"]) == ("failed", "MemoryError: too large")
    assert sum(run.status == "finished" for run in load_runs(options["out"])) == 6
    assert "[3/10] reviews-l2-0.8-seed0: failed, MemoryError: too large" in options["report"].__self__
    fake = Fake()
    compare("reviews", **options, train_one=fake, retry_failed=False)
    assert fake.trained == []
    compare("reviews", **options, train_one=fake)
    assert len(fake.trained) == 4
    assert all(run.status == "finished" for run in load_runs(options["out"]))


def test_a_training_that_ends_without_a_word_is_written_down(options):
    def vanish(recipe, folder):
        if recipe.method == "l2":
            raise ComparisonError("killed by signal 9")
        if recipe.method == "mgpp":
            writer = RunWriter(folder, {"recipe": recipe.as_dict()})
            writer.metrics({"step": 0})
            writer._metrics.close()

    compare("reviews", **options, train_one=vanish)
    runs = {run.method: run for run in load_runs(options["out"])}
    assert {method: run.info["error"] for method, run in runs.items()} == {
        "l2": "killed by signal 9",
        "mgpp": "the training ended before the run was finished",
        "dense": "the training ended before the run was finished",
    }
    assert len(runs["mgpp"].metrics) == 1
    assert runs["dense"].recipe["seed"] == 1

    def refuse(recipe, folder):
        raise ValueError("another reason")

    compare("reviews", **options, train_one=refuse)
    assert {run.info["error"] for run in load_runs(options["out"])} == {"ValueError: another reason"}


def test_a_crash_after_the_end_changes_nothing(options):
    def crash_at_the_end(recipe, folder):
        Fake()(recipe, folder)
        raise ComparisonError("killed by signal 11")

    compare("reviews", **options, train_one=crash_at_the_end)
    assert all(run.status == "finished" for run in load_runs(options["out"]))


def test_another_recipe_is_refused_before_anything_starts(options):
    compare("reviews", **options | {"methods": ["mgpp", "l2"]}, train_one=Fake())
    fake = Fake()
    words = "reviews-mgpp-0.8-seed0 finished with another recipe: epochs: 3.0, not 5.0; prior.lam: 0.0001, not 0.5\n"
    with pytest.raises(ComparisonError, match=words):
        compare("reviews", **options, overrides={"prior.lam": 0.5, "epochs": 5}, train_one=fake)
    assert fake.trained == []
    # what another method's section says is not asked; a dense run's sparsity neither
    others = {"l1.strength": 0.5, "threads": 3, "save_model": False}
    compare("reviews", **options | {"methods": ["mgpp"]}, overrides=others, train_one=fake)
    assert fake.trained == []
    with pytest.raises(ComparisonError, match="precision: 'bf16', not 'fp32'"):
        compare("reviews", **options, overrides={"precision": "fp32"}, train_one=fake)


def test_a_run_that_is_being_written_is_left_alone(options, monkeypatch):
    folder = options["out"] / "reviews-l2-0.9-seed1"
    writer = RunWriter(folder, {"recipe": {"method": "l2"}})
    writer._metrics.close()
    fake = Fake()
    with pytest.raises(ComparisonError, match="reviews-l2-0.9-seed1 was written 0 s ago and may still be training"):
        compare("reviews", **options, train_one=fake)
    assert fake.trained == []
    monkeypatch.setattr(module, "STILL_WRITTEN", -1.0)
    compare("reviews", **options, train_one=fake)
    assert load_run(folder).status == "finished"


def test_a_folder_with_other_files_is_never_deleted(options):
    thesis = options["out"] / "reviews-l2-0.9-seed1" / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    fake = Fake()
    with pytest.raises(RunError, match="holds no run"):
        compare("reviews", **options, train_one=fake)
    assert fake.trained == []
    assert thesis.exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"methods": ["mgpp", "l3"]}, RecipeError, "method='l3' is unknown; did you mean 'l"),
        ({"sparsities": [0.8, 1.5]}, RecipeError, "sparsity"),
        ({"seeds": [-1]}, RecipeError, "seed=-1"),
        ({"seeds": []}, RecipeError, "at least one method, one sparsity and one seed"),
        ({"jobs": 0}, ComparisonError, "jobs=0 must be at least 1"),
        ({"overrides": {"seed": 3}}, RecipeError, "seed=3: the comparison varies it; say seeds instead"),
        ({"overrides": {"prior.lamm": 3}}, RecipeError, "did you mean 'prior.lam'"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_starts(options, changes, error, words):
    fake = Fake()
    with pytest.raises(error, match=words):
        compare("reviews", **options | changes, train_one=fake)
    assert fake.trained == []


def test_jobs_run_together_and_share_the_threads(options, monkeypatch):
    both_here = threading.Barrier(2, timeout=20)
    seen = []

    def wait(recipe, folder):
        both_here.wait()  # passes only if two train at a time
        seen.append(recipe.threads)
        Fake()(recipe, folder)

    monkeypatch.setattr(module.os, "cpu_count", lambda: 9)
    compare("reviews", **options, jobs=2, train_one=wait)
    assert seen == [4] * 10
    assert all(run.status == "finished" for run in load_runs(options["out"]))


def test_a_process_of_its_own_trains_and_says_why_it_fails(tiny_recipe, tmp_path):
    lines = []
    overrides = {"max_steps": 4, "save_model": False, "log.trajectories": 5, "sparsity.warmup": 1, "sparsity.frozen": 1}
    options = {"methods": ["l2"], "sparsities": [0.5], "seeds": [3], "out": tmp_path, "report": lines.append}
    compare(tiny_recipe, **options, overrides=overrides)
    (run,) = load_runs(tmp_path)
    assert run.status == "finished", run.info.get("error")
    assert (run.method, run.sparsity, run.seed, run.info["steps"]["total"]) == ("l2", 0.5, 3, 4)
    assert run.final["sparsity"] == pytest.approx(0.5, abs=1e-4)
    compare(tiny_recipe, **options, overrides=overrides)
    assert lines[-1].endswith("1 are there, 0 to train")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "killed by signal 9; the memory may not suffice"),
        ("import sys; print('much before'); sys.exit('the reason')", "the reason"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_how_a_process_failed_is_told(tiny_recipe, tmp_path, monkeypatch, code, words):
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    os.chmod(python, 0o700)
    monkeypatch.setattr(module.sys, "executable", str(python))
    with pytest.raises(ComparisonError, match=words):
        train_in_a_process(tiny_recipe, tmp_path / "run")
