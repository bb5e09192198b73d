import multiprocessing
import re
import threading
import time
import warnings
from functools import partial

import pandas as pd
import pytest
from click.testing import CliRunner
from fake_training import FakeTraining, as_words, short_training, until

from mgpp import LocalProcesses, RecipeError, RunError, RunWriter, load_run, load_runs, load_sweep, sweep
from mgpp.lab.cli import main
from mgpp.lab.sweeps import sweep as module
from mgpp.lab.sweeps.grid import LONGEST_NAME, cells_of, parse_grid
from mgpp.lab.sweeps.record import claim, count_attempts, is_taken, over_seeds
from mgpp.lab.sweeps.sweep import SweepError, not_finished
from mgpp.lab.sweeps.worker import work
from mgpp.runs import RunWarning, mark_failed

LAMS = ["reviews-lam=1e-06-seed0", "reviews-lam=1e-05-seed0", "reviews-lam=1e-06-seed1", "reviews-lam=1e-05-seed1"]


@pytest.fixture
def lines():
    return []


@pytest.fixture
def options(tmp_path, lines):
    return {"grid": {"prior.lam": ["1e-6", 1e-5]}, "seeds": [0, 1], "out": tmp_path / "out", "report": lines.append}


def swept(options, fake, jobs=1, **more):
    return sweep("reviews", **options | more, launcher=fake.launcher(jobs))


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("prior.lam=1e-6,1e-5", "prior.lam", ["1e-6", "1e-5"]),
        ("method=mgpp, l2", "method", ["mgpp", "l2"]),
        ("threads=null,2", "threads", [None, 2]),
        ("save_model=true,false", "save_model", [True, False]),
        ("targets.include=[query,key],[value]", "targets.include", [["query", "key"], ["value"]]),
        ('name="a,b"', "name", ["a,b"]),
        ("prior.lam=", "prior.lam", []),
    ],
)
def test_values_of_a_grid_are_yaml(text, key, values):
    assert parse_grid([text]) == {key: values}


@pytest.mark.parametrize("texts", [["=1"], ["prior.lam=]["], ["prior.lam=1e-6", "prior.lam=1e-5"]])
def test_a_wrong_grid_option_is_refused(texts):
    with pytest.raises(RecipeError, match="--grid"):
        parse_grid(texts)


@pytest.mark.parametrize(
    ("grid", "more", "named"),
    [
        ({"prior.lamm": [1]}, {}, "prior.lam"),
        ({"prior.lam": [0.1, 1.5]}, {}, "lam"),
        ({"prior.lam": []}, {}, "prior.lam"),
        ({"prior.lam": ["1e-5", 0.00001]}, {}, "prior.lam"),
        ({"prior": [{"lam": 1}]}, {}, "prior"),
        ({"seed": [1, 2]}, {}, "seed"),
        ({"model": ["a/b", "a-b"]}, {}, "reviews-model=a-b-seed0"),
        ({"model": ["a", "A"]}, {}, "reviews-model=A-seed0"),
        ({"task": ["reviews", "reviws"]}, {}, "task"),
        ({"trainer.max_gradnorm": [1]}, {}, "trainer.max_gradnorm"),
        ({"sparsity.warmup": [0.1, 20]}, {"overrides": {"max_steps": 15}}, "max_steps"),
        ({"sparsity.frozen": [0.2, 0.9]}, {}, "sparsity.frozen"),
        ({"epochs": [9, 0.5]}, {"overrides": {"sparsity.warmup": 150}}, "sparsity.warmup"),
        ({"sparsity.warmup": [9]}, {"overrides": {"task": "glue-rte", "epochs": 0.1}}, "sparsity.warmup"),
        ({"prior.lam": [0.1]}, {"overrides": {"prior.lam": 0.2}}, "prior.lam"),
        ({}, {"seeds": []}, "seed"),
        ({}, {"seeds": [1, 1]}, "seed"),
        ({}, {"seeds": [-1]}, "seed"),
        ({}, {"overrides": {"seed": 3}}, "seed"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_starts(options, grid, more, named):
    fake = FakeTraining()
    with pytest.raises(RecipeError, match=re.escape(named)):
        swept(options, fake, grid=grid, **more)
    assert fake.trained == []
    assert not options["out"].exists()


def test_values_need_not_fit_the_recipe_but_each_other():
    for grid in (
        {"sparsity.warmup": [0.9, 0.8], "sparsity.frozen": [0.05, 0.02]},
        {"log.every": [30, 45], "log.histograms_every": [90], "log.evaluate_every": [180, 360]},
    ):
        assert len(cells_of("reviews", grid, [0])) == 4


def names(grid, **overrides):
    return [cell.name for cell in cells_of("reviews", grid, [0], overrides)]


def test_names_are_the_same_however_a_value_is_written():
    assert names({"prior.lam": ["1e-6"]}) == names({"prior.lam": [0.000001]}) == ["reviews-lam=1e-06-seed0"]
    assert names({"l2.strength": [1], "l1.strength": [0.5]}) == ["reviews-l2.strength=1.0-l1.strength=0.5-seed0"]


def test_names_are_safe_on_every_file_system():
    awkward = names({"model": ["/data/my models/ünï:*?"], "targets.include": [["a.*b", "c|d"]]}, name="up and: away")
    assert re.fullmatch(r"[A-Za-z0-9_+=-][A-Za-z0-9._+=-]*", awkward[0])
    long = names({"model": ["x" * 150 + "a", "x" * 150 + "b"]})
    assert [len(name) for name in long] == [LONGEST_NAME] * 2
    assert long[0] != long[1]


def test_the_product_is_trained_and_leaves_one_frame(options, lines):
    fake = FakeTraining()
    frame = swept(options, fake)
    assert fake.trained == frame["name"].tolist() == LAMS
    measured = ["status", "attempts", "metric", "score", "score_se", "sparsity", "seconds", "folder", "error"]
    assert frame.columns.tolist() == ["name", "prior.lam", "seed", *measured]
    assert frame["prior.lam"].tolist() == [1e-6, 1e-5] * 2
    assert frame["seed"].tolist() == [0, 0, 1, 1]
    assert (frame["status"] == "finished").all()
    assert (frame["attempts"] == 1).all()
    assert frame[["score", "score_se", "sparsity"]].drop_duplicates().values.tolist() == [[0.75, 0.01, 0.95]]
    assert load_run(frame["folder"][0]).name == LAMS[0]
    pd.testing.assert_frame_equal(load_sweep(options["out"]), frame)
    written = pd.read_csv(options["out"] / "sweep.csv")
    pd.testing.assert_frame_equal(written[["name", "prior.lam", "score"]], frame[["name", "prior.lam", "score"]])
    assert len(lines) == 5


def test_the_frame_is_made_from_the_runs_where_there_is_none(options):
    frame = swept(options, FakeTraining(), grid={"method": ["mgpp", "l2"], "targets.include": [["a"], ["b"]]})
    (options["out"] / "sweep.csv").unlink()
    found = load_sweep(options["out"]).set_index("name").loc[frame["name"]].reset_index()
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    (options["out"] / "sweep.csv").write_text("PK\x03\x04 no table, and ../../etc,passwd\n")
    assert set(load_sweep(options["out"])["name"]) == set(frame["name"])
    with pytest.raises(RunError, match="nowhere"):
        load_sweep(options["out"] / "nowhere")


def test_a_damaged_run_costs_no_other_its_row(options):
    whole = swept(options, FakeTraining())
    folder = options["out"] / whole["name"][0]
    (folder / "run.json").write_text('{"format": 1, "sta')
    damaged = load_sweep(options["out"])
    assert damaged["status"].tolist() == ["failed", *whole["status"][1:]]
    assert "run.json" in damaged["error"][0]
    pd.testing.assert_frame_equal(damaged.drop(index=0, columns="error"), whole.drop(index=0, columns="error"))


def test_means_over_seeds():
    frame = pd.DataFrame({"name": list("abcd"), "method": ["mgpp", "mgpp", "l2", "l2"], "seed": [0, 1, 0, 1]})
    frame = frame.assign(status=["finished"] * 3 + ["failed"], metric="accuracy", score=[0.7, 0.8, 0.6, 0.1])
    expected = [["mgpp", "accuracy", 0.75, 0.05, 2, 0], ["l2", "accuracy", 0.6, -1, 1, 1]]
    assert over_seeds(frame).round(3).fillna(-1).values.tolist() == expected
    frame["metric"] = ["accuracy", None, None, "accuracy"]  # a run that has not begun knows no metric
    assert over_seeds(frame.drop(columns="method"))[["metric", "seeds", "failed"]].values.tolist() == [
        ["accuracy", 3, 1]
    ]


def test_it_goes_on_where_it_stopped_and_grows(options):
    swept(options, FakeTraining(), grid={"prior.lam": [1e-5]})
    fake = FakeTraining()
    frame = swept(options, fake)
    assert fake.trained == [LAMS[0], LAMS[2]]
    assert frame["name"].tolist() == LAMS
    more = swept(options, fake, grid={"l2.strength": [0.1], "method": ["l2"]}, seeds=[0])
    assert more["name"].tolist() == ["reviews-strength=0.1-method=l2-seed0"]
    whole = load_sweep(options["out"])
    assert len(whole) == 5
    assert whole["l2.strength"].tolist() == [0.1] + [0.001] * 4


def test_unfinished_runs_are_listed_with_status_and_error(tmp_path):
    for name in ("finished", "foreign"):
        with RunWriter(tmp_path / name, {}):
            pass
    mark_failed(tmp_path / "foreign", "not asked for")
    mark_failed(tmp_path / "failed", "too large")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    missing, damaged, failed = not_finished(["missing", "damaged", "failed", "finished"], tmp_path)
    assert (missing, failed) == ("missing: missing", "failed: failed, too large")
    assert re.match(r"damaged: damaged, .*run.json", damaged)


def test_an_error_on_resume_replaces_that_of_the_attempt_before(options):
    (cell,) = cells_of("reviews", {}, [0])
    folder = options["out"] / cell.name
    with pytest.raises(KeyboardInterrupt), RunWriter(folder, {"recipe": cell.recipe.as_dict()}) as writer:
        writer.metrics({"step": 0})
        raise KeyboardInterrupt("stopped")

    def refuse(recipe, folder):
        raise RunError("the data changed since the run began")

    launcher = LocalProcesses(work=partial(work, train_one=refuse))
    frame = sweep("reviews", **options | {"grid": {}, "seeds": [0]}, launcher=launcher)
    assert frame["error"].tolist() == ["RunError: the data changed since the run began"]
    assert len(load_run(folder).metrics) == 1


def test_an_error_of_the_training_is_not_tried_again(options, lines):
    fake = FakeTraining("l2", error=ValueError)
    frame = swept(options, fake, grid={"method": ["l2", "mgpp"]}, seeds=[0], retries=3)
    assert fake.trained == ["reviews-method=l2-seed0", "reviews-method=mgpp-seed0"]
    assert frame[["status", "attempts", "error"]].values.tolist()[0] == ["failed", 1, "ValueError: too large"]
    assert frame["status"].tolist() == ["failed", "finished"]
    assert "[1/2] reviews-method=l2-seed0: failed, ValueError: too large" in lines


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_temporary_errors_are_tried_again_as_often_as_asked(options, error):
    fake = FakeTraining("l2", error=error)
    frame = swept(options, fake, grid={"method": ["l2"]}, seeds=[0], retries=2)
    assert len(fake.trained) == 3
    assert frame[["status", "attempts", "error"]].values.tolist() == [["failed", 3, f"{error.__name__}: too large"]]
    frame = swept(options, FakeTraining(), grid={"method": ["l2"]}, seeds=[0])
    assert frame[["status", "attempts"]].values.tolist() == [["finished", 4]]
    assert frame["error"].isna().all()


def test_a_worker_that_dies_is_replaced(options, lines):
    fake, deaths = FakeTraining(), []

    def die_twice(recipe, folder):
        if len(deaths) < 2:
            deaths.append(folder)
            raise RuntimeError("killed by signal 9")
        work(recipe, folder, fake)
        raise RuntimeError("killed after the end")  # which changes nothing

    frame = sweep("reviews", **options, launcher=LocalProcesses(1, work=die_twice))
    assert (frame["status"] == "finished").all()
    assert (frame["attempts"] == 1).all()
    assert sum("trying again" in line for line in lines) == 2


@pytest.mark.filterwarnings("always")
def test_a_warning_of_the_workers_is_reported_once(options, lines):
    def warn_and_train(recipe, folder):
        warnings.warn("few rows", RunWarning, stacklevel=1)
        warnings.warn("of another library", UserWarning, stacklevel=1)
        FakeTraining()(recipe, folder)

    sweep("reviews", **options, launcher=LocalProcesses(1, work=partial(work, train_one=warn_and_train)))
    assert [line for line in lines if line.startswith("warning")] == ["warning: few rows"]


def test_a_run_whose_worker_leaves_nothing_is_marked_as_failed(options):
    def vanish(recipe, folder):
        if recipe["seed"]:
            raise RuntimeError("killed by signal 9")
        return {"error": None, "temporary": False}

    frame = sweep("reviews", **options, launcher=LocalProcesses(1, work=vanish), retries=1)
    assert set(frame["status"]) == {"failed"}
    assert frame["error"].notna().all()
    assert [run.recipe["prior"]["lam"] for run in load_runs(options["out"])] == [1e-5, 1e-5, 1e-6, 1e-6]


def test_another_recipe_is_refused_before_anything_starts(options):
    swept(options, FakeTraining())
    fake = FakeTraining()
    with pytest.raises(SweepError, match=r"lam=1e-06-seed0 .*epochs"):
        swept(options, fake, overrides={"epochs": 5}, seeds=[0, 1, 2])
    mark_failed(options["out"] / LAMS[0], "killed")  # a run that failed is in the way if it has a log
    other = {"out": options["out"].parent / "other"}
    mark_failed(other["out"] / LAMS[0], "killed", {"recipe": cells_of("reviews", {}, [9])[0].recipe.as_dict()})
    with pytest.raises(SweepError, match="epochs"):
        swept(options, fake, overrides={"epochs": 5})
    assert fake.trained == []
    assert set(swept(options, fake, **other)["status"]) == {"finished"}


def test_other_files_are_never_deleted(options):
    thesis = options["out"] / LAMS[1] / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    fake = FakeTraining()
    with pytest.raises(RunError, match=LAMS[1]):
        swept(options, fake)
    assert fake.trained == []
    assert thesis.exists()


def test_a_run_that_another_process_trains_is_waited_for(options, lines, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.05)
    others, fake = FakeTraining(), FakeTraining()
    cells = {cell.name: cell.recipe for cell in cells_of("reviews", options["grid"], [0, 1])}
    ready, go = threading.Event(), threading.Event()

    def slowly(name, finish):
        with claim(options["out"] / name):
            ready.set()
            go.wait(120)
            if finish:
                others(cells[name], options["out"] / name)

    for name, finish in ((LAMS[0], True), (LAMS[3], False)):  # one gets to its end, one gives up
        threading.Thread(target=slowly, args=(name, finish)).start()
        assert ready.wait(120)
        ready.clear()
    plain = RunWriter(options["out"] / LAMS[1], {"recipe": cells[LAMS[1]].as_dict()})  # as `mgpp train` does

    def report(line):
        lines.append(line)
        if sum("waiting" in each for each in lines) == 3 and not go.is_set():
            plain.__exit__(None, None, None)
            threading.Timer(0.2, go.set).start()

    assert (swept(options, fake, report=report)["status"] == "finished").all()
    assert others.trained == [LAMS[0]]
    assert fake.trained == [LAMS[2], LAMS[3]]


def test_the_same_sweep_twice_at_a_time_trains_nothing_twice(options, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LOOKS", 0.05)
    fake, frames = FakeTraining(), []

    def train(recipe, folder):
        time.sleep(0.1)
        fake(recipe, folder)

    def one():
        launcher = LocalProcesses(2, work=partial(work, train_one=train))
        frames.append(sweep("reviews", **options, launcher=launcher))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fake.trained) == sorted(LAMS)
    assert len(frames) == 3
    assert all((frame["status"] == "finished").all() and (frame["attempts"] == 1).all() for frame in frames)


def call(*words):
    return CliRunner().invoke(main, ["sweep", "reviews-quick", *words])


def test_a_dry_run_lists_the_runs_and_writes_nothing(options):
    words = ["--grid=prior.lam=1e-6,1e-5", "--grid=sparsity.final=0.8,0.9", "--seeds=0-1,4", "--dry-run"]
    done = call(*words, f"--out={options['out']}")
    assert done.exit_code == 0, done.output
    assert "12 runs in" in done.output
    assert "reviews-quick-lam=1e-05-final=0.9-seed4 waiting" in done.output
    assert not options["out"].exists()


def test_a_dry_run_of_a_comparison_lists_each_run_once(tmp_path):
    words = ["--methods=dense,l2", "--sparsities=0.8,0.9", "--seeds=0-1", "--dry-run", f"--out={tmp_path / 'runs'}"]
    done = CliRunner().invoke(main, ["compare", "reviews-quick", *words])
    assert done.exit_code == 0, done.output
    assert done.output.count("waiting") == 6
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_sweep_that_is_killed_stops_its_workers_and_goes_on_from_their_checkpoints(options, tmp_path):
    settings = short_training(tmp_path, max_steps=120, save_every=20)
    options |= {"overrides": settings, "grid": {}, "seeds": [0], "report": print}
    folder = options["out"] / "reviews-quick-seed0"
    driver = multiprocessing.get_context("fork").Process(target=sweep, args=("reviews-quick",), kwargs=options)
    driver.start()
    until(lambda: any(folder.glob("checkpoints/checkpoint-*")))
    driver.kill()
    until(lambda: not is_taken(folder))
    assert load_run(folder).status == "stopped"
    done = call(*as_words(settings), f"--out={options['out']}", "--grid=targets.include=null,[nonsense]")
    assert done.exit_code == 1
    assert "nonsense" in done.stderr.splitlines()[-1]
    assert "%|" not in done.output  # no bar where there is no terminal
    run = load_run(folder)
    assert run.status == "finished"
    assert run.info["resumed_at"][-1] >= 20
    assert run.metrics["step"].tolist() == list(range(120))
    assert count_attempts(folder) == 2
    assert load_sweep(options["out"])["status"].tolist() == ["finished", "failed"]
