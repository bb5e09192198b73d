import multiprocessing
import re
import threading
import time
from functools import partial

import pandas as pd
import pytest
from click.testing import CliRunner
from fake_training import FakeTraining, as_words, short_training, until

from mgpp import LocalProcesses, RecipeError, RunError, RunWriter, load_run, load_runs, load_sweep, sweep
from mgpp.lab.cli import main
from mgpp.lab.sweeps import sweep as module
from mgpp.lab.sweeps.grid import LONGEST_NAME, cells_of, parse_grid
from mgpp.lab.sweeps.launchers import WorkerLostError
from mgpp.lab.sweeps.record import claim, count_attempts, is_taken, over_seeds
from mgpp.lab.sweeps.sweep import SweepError, not_finished
from mgpp.lab.sweeps.worker import work
from mgpp.runs import mark_failed

LAMS = ["reviews-lam=1e-06-seed0", "reviews-lam=1e-05-seed0", "reviews-lam=1e-06-seed1", "reviews-lam=1e-05-seed1"]


@pytest.fixture
def options(tmp_path):
    lines = []
    return {
        "grid": {"prior.lam": ["1e-6", 1e-5]},
        "seeds": [0, 1],
        "out": tmp_path / "out",
        "report": lines.append,
    }


@pytest.fixture
def lines(options):
    return options["report"].__self__


def swept(options, fake, jobs=1, **more):
    return sweep("reviews", **options | more, launcher=fake.launcher(jobs))


# the grid


@pytest.mark.parametrize(
    ("text", "key", "values"),
    [
        ("prior.lam=1e-6,1e-5", "prior.lam", ["1e-6", "1e-5"]),
        ("prior.lam=[1e-6,1e-5]", "prior.lam", ["1e-6", "1e-5"]),
        ("method=mgpp, l2", "method", ["mgpp", "l2"]),
        ("sparsity.final=0.8,0.9", "sparsity.final", [0.8, 0.9]),
        ("threads=null,2", "threads", [None, 2]),
        ("save_model=true,false", "save_model", [True, False]),
        ("targets.include=[query,key]", "targets.include", [["query", "key"]]),
        ("targets.include=[query,key],[value]", "targets.include", [["query", "key"], ["value"]]),
        ('name="a,b"', "name", ["a,b"]),
    ],
)
def test_values_are_read_as_yaml(text, key, values):
    assert parse_grid([text]) == {key: values}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["prior.lam"], "must have the form key=value,value"),
        (["=1"], "must have the form key=value,value"),
        (["prior.lam="], "--grid prior.lam=: there is an empty value"),
        (["prior.lam=1e-6,,1e-5"], "there is an empty value"),
        (["prior.lam=1e-6,"], "there is an empty value"),
        (["prior.lam=[]"], "there is an empty value"),
        (["prior.lam=]["], "not YAML"),
        (["prior.lam=1e-6", "prior.lam=1e-5"], "--grid prior.lam is given twice"),
    ],
)
def test_a_grid_that_says_nothing_is_refused(texts, words):
    with pytest.raises(RecipeError, match=re.escape(words)):
        parse_grid(texts)


@pytest.mark.parametrize(
    ("grid", "more", "words"),
    [
        ({"prior.lamm": [1]}, {}, "did you mean 'prior.lam'"),
        ({"prior.lam": [0.1, 1.5]}, {}, "lam=1.5"),
        ({"prior.lam": []}, {}, "prior.lam has no values"),
        ({"prior.lam": ["1e-5", 0.00001]}, {}, "prior.lam=1e-05 comes twice: two runs would have the same name"),
        ({"prior": [{"lam": 1}]}, {}, "holds keys; vary one key at a time"),
        ({"seed": [1, 2]}, {}, "a sweep takes it from --seeds"),
        ({"name": ["a", "b"]}, {}, "a sweep takes it from the recipe's own name"),
        ({"model": ["a/b", "a-b"]}, {}, "would both be called reviews-model=a-b-seed0"),
        ({"model": ["a", "A"]}, {}, "would both be called reviews-model=A-seed0"),
        ({"task": ["reviews", "reviws"]}, {}, "task='reviws' is unknown; did you mean 'reviews'"),
        ({"trainer.max_gradnorm": [1]}, {}, "is no argument of the Trainer"),
        ({"sparsity.warmup": [0.1, 20]}, {"overrides": {"max_steps": 15}}, "leave no step of 15 to prune in"),
        ({"sparsity.frozen": [0.2, 0.9]}, {}, "sparsity.frozen=0.9 (shares below 1, steps from 1 on) leave no step"),
        ({"sparsity.warmup": [0.4, 0.6], "sparsity.frozen": [0.1, 0.4]}, {}, "warmup=0.6 and sparsity.frozen=0.4 ("),
        ({"epochs": [9, 0.5]}, {"overrides": {"sparsity.warmup": 150}}, "leave no step of 152 to prune in"),
        ({"batch_size": [32, 9999]}, {"overrides": {"epochs": 1}}, "leave no step of 1 to prune in; shorten them, or"),
        ({"sparsity.warmup": [9]}, {"overrides": {"task": "glue-rte", "epochs": 0.1}}, "no step of 8 to prune in"),
        ({"prior.lam": [0.1]}, {"overrides": {"prior.lam": 0.2}}, "prior.lam=0.2 is set, and the grid varies it"),
        ({}, {"seeds": []}, "there is no seed"),
        ({}, {"seeds": [1, 1]}, "seed=1 comes twice"),
        ({}, {"seeds": [-1]}, "seed=-1"),
    ],
)
def test_a_wrong_grid_is_refused_before_anything_starts(options, grid, more, words):
    fake = FakeTraining()
    with pytest.raises(RecipeError, match=re.escape(words)):
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
    assert re.fullmatch(r"[A-Za-z0-9._+=-]+", awkward[0])
    assert not awkward[0].startswith(".")
    long = names({"model": ["x" * 150 + "a", "x" * 150 + "b"]})
    assert [len(name) for name in long] == [LONGEST_NAME] * 2
    assert long[0] != long[1]


# what is trained


def test_the_product_is_trained_and_leaves_one_frame(options, lines):
    fake = FakeTraining()
    frame = swept(options, fake)
    assert fake.trained == frame["name"].tolist() == LAMS
    assert frame.columns.tolist() == [
        *("name", "prior.lam", "seed", "status", "attempts", "metric", "score", "score_se", "sparsity", "seconds"),
        *("folder", "error"),
    ]
    assert frame["prior.lam"].tolist() == [1e-6, 1e-5] * 2
    assert frame["seed"].tolist() == [0, 0, 1, 1]
    assert (frame["status"] == "finished").all()
    assert (frame["attempts"] == 1).all()
    assert frame[["score", "score_se", "sparsity"]].drop_duplicates().values.tolist() == [[0.75, 0.01, 0.95]]
    assert load_run(frame["folder"][0]).name == LAMS[0]
    pd.testing.assert_frame_equal(load_sweep(options["out"]), frame)
    written = pd.read_csv(options["out"] / "sweep.csv")
    pd.testing.assert_frame_equal(written[["name", "prior.lam", "score"]], frame[["name", "prior.lam", "score"]])
    assert lines[0].endswith("out: 0 are there, 4 to train")
    assert lines[1] == "[1/4] reviews-lam=1e-06-seed0: accuracy 0.75, 0 s"
    assert len(lines) == 5


def test_the_frame_is_made_from_the_runs_where_there_is_none(options):
    frame = swept(options, FakeTraining(), grid={"method": ["mgpp", "l2"], "targets.include": [["a"], ["b"]]})
    (options["out"] / "sweep.csv").unlink()
    found = load_sweep(options["out"]).set_index("name").loc[frame["name"]].reset_index()
    pd.testing.assert_frame_equal(found[frame.columns], frame)
    (options["out"] / "sweep.csv").write_text("PK\x03\x04 no table, and ../../etc,passwd\n")
    assert set(load_sweep(options["out"])["name"]) == set(frame["name"])
    with pytest.raises(RunError, match="is not a folder"):
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
    assert over_seeds(frame).round(3).fillna(-1).values.tolist() == [
        ["mgpp", "accuracy", 0.75, 0.05, 2, 0],
        ["l2", "accuracy", 0.6, -1, 1, 1],
    ]


def test_runs_that_are_the_same_training_are_pointed_out(options, lines):
    swept(options, FakeTraining(), grid={"method": ["mgpp", "l2"], "prior.lam": [0.1, 0.2]}, seeds=[0])
    assert "1 of them repeat another's training" in lines[1]


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


def test_what_is_not_finished_is_told_of_the_runs_that_were_asked_for(tmp_path):
    for name in ("finished", "foreign"):
        with RunWriter(tmp_path / name, {}):
            pass
    mark_failed(tmp_path / "foreign", "not asked for")
    mark_failed(tmp_path / "failed", "too large")
    with pytest.raises(KeyboardInterrupt), RunWriter(tmp_path / "stopped", {}):
        raise KeyboardInterrupt("go on later")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").write_text("{")
    missing, damaged, *lines = not_finished(["missing", "damaged", "failed", "stopped", "finished"], tmp_path)
    assert lines == ["failed: failed, too large", "stopped: stopped, KeyboardInterrupt: go on later"]
    assert missing == "missing: missing"
    assert re.match(r"damaged: .*run.json is not readable", damaged)


def test_a_run_that_can_not_go_on_says_why_and_not_what_stopped_it_before(options):
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


def test_an_error_of_its_own_is_not_worth_another_try(options, lines):
    fake = FakeTraining("l2", error=ValueError)
    frame = swept(options, fake, grid={"method": ["l2", "mgpp"]}, seeds=[0], retries=3)
    assert fake.trained == ["reviews-method=l2-seed0", "reviews-method=mgpp-seed0"]
    assert frame[["status", "attempts", "error"]].values.tolist()[0] == ["failed", 1, "ValueError: too large"]
    assert frame["status"].tolist() == ["failed", "finished"]
    assert "[1/2] reviews-method=l2-seed0: failed, ValueError: too large" in lines


@pytest.mark.parametrize("error", [MemoryError, OSError])
def test_what_may_pass_is_tried_again_as_often_as_asked(options, lines, error):
    fake = FakeTraining("l2", error=error)
    frame = swept(options, fake, grid={"method": ["l2"]}, seeds=[0], retries=2)
    assert len(fake.trained) == 3
    assert frame[["status", "attempts", "error"]].values.tolist() == [["failed", 3, f"{error.__name__}: too large"]]
    assert lines[1] == f"reviews-method=l2-seed0: {error.__name__}: too large; trying again"
    frame = swept(options, FakeTraining(), grid={"method": ["l2"]}, seeds=[0])
    assert frame[["status", "attempts"]].values.tolist() == [["finished", 4]]
    assert frame["error"].isna().all()


def test_a_worker_that_dies_is_replaced(options, lines):
    fake, deaths = FakeTraining(), []

    def die_twice(recipe, folder):
        if len(deaths) < 2:
            deaths.append(folder)
            raise WorkerLostError("killed by signal 9")
        return work(recipe, folder, fake)

    frame = sweep("reviews", **options, launcher=LocalProcesses(1, work=die_twice))
    assert (frame["status"] == "finished").all()
    assert sum("killed by signal 9; trying again" in line for line in lines) == 2


def test_a_worker_that_ends_without_a_word_is_written_down(options):
    def vanish(recipe, folder):
        if recipe["seed"]:
            raise WorkerLostError("killed by signal 9")
        return {"error": None, "passing": False}

    frame = sweep("reviews", **options, launcher=LocalProcesses(1, work=vanish), retries=1)
    assert set(frame["status"]) == {"failed"}
    told = ["the training ended before the run was finished"] * 2 + ["killed by signal 9"] * 2
    assert frame["error"].tolist() == told
    assert [run.recipe["prior"]["lam"] for run in load_runs(options["out"])] == [1e-5, 1e-5, 1e-6, 1e-6]


def test_a_crash_after_the_end_changes_nothing(options):
    def crash_at_the_end(recipe, folder):
        work(recipe, folder, FakeTraining())
        raise WorkerLostError("killed by signal 11")

    frame = sweep("reviews", **options, launcher=LocalProcesses(1, work=crash_at_the_end))
    assert (frame["status"] == "finished").all()
    assert (frame["attempts"] == 1).all()


def test_another_recipe_is_refused_before_anything_starts(options):
    swept(options, FakeTraining())
    fake = FakeTraining()
    words = "lam=1e-06-seed0 finished with another recipe: epochs: 3.0, not 5.0\n.*\nnothing was trained"
    with pytest.raises(SweepError, match=re.compile(words, re.DOTALL)):
        swept(options, fake, overrides={"epochs": 5}, seeds=[0, 1, 2])
    # a run that failed is in the way if it has a log
    mark_failed(options["out"] / LAMS[0], "killed")
    other = {"out": options["out"].parent / "other"}
    mark_failed(other["out"] / LAMS[0], "killed", {"recipe": cells_of("reviews", {}, [9])[0].recipe.as_dict()})
    with pytest.raises(SweepError, match="finished with another recipe"):
        swept(options, fake, overrides={"epochs": 5})
    assert fake.trained == []
    assert set(swept(options, fake, **other)["status"]) == {"finished"}


def test_other_files_are_never_deleted(options):
    thesis = options["out"] / LAMS[1] / "thesis.txt"
    thesis.parent.mkdir(parents=True)
    thesis.write_text("years of work")
    fake = FakeTraining()
    with pytest.raises(RunError, match="is not an empty folder"):
        swept(options, fake)
    assert fake.trained == []
    assert thesis.exists()


# several at a time


@pytest.mark.parametrize("place", [".attempts", f".attempts/{LAMS[0]}", f".attempts/{LAMS[0]}/attempts.jsonl"])
def test_nothing_is_written_where_a_link_leads_out_of_the_sweep(options, tmp_path, place):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = options["out"] / place
    link.parent.mkdir(parents=True)
    link.symlink_to(elsewhere)
    with pytest.raises(RunError, match="a link leads from .* out of"), claim(options["out"] / LAMS[0]):
        pass
    assert list(elsewhere.iterdir()) == []


def when_waiting(lines, runs, act):
    """A report that acts a moment after it has heard of so many runs that they are waited for."""

    def report(line):
        lines.append(line)
        if line.endswith("waiting for it") and sum(each.endswith("waiting for it") for each in lines) == runs:
            threading.Timer(0.2, act).start()

    return report


def test_a_run_that_another_process_trains_is_waited_for(options, lines, monkeypatch):
    monkeypatch.setattr(module, "LOOK_ELSEWHERE", 0.05)
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
    frame = swept(options, fake, report=when_waiting(lines, 2, go.set))
    assert (frame["status"] == "finished").all()
    assert others.trained == [LAMS[0]]
    assert fake.trained == [LAMS[1], LAMS[2], LAMS[3]]
    assert f"{LAMS[0]}: another process is training it; waiting for it" in lines


def test_a_plain_training_is_waited_for_as_well(options, lines, monkeypatch):
    monkeypatch.setattr(module, "LOOK_ELSEWHERE", 0.05)
    recipe = cells_of("reviews", options["grid"], [0])[0].recipe.as_dict()
    writer = RunWriter(options["out"] / LAMS[0], {"recipe": recipe})
    fake, done = FakeTraining(), partial(writer.__exit__, None, None, None)
    assert (swept(options, fake, report=when_waiting(lines, 1, done))["status"] == "finished").all()
    assert f"{LAMS[0]}: another process is training it; waiting for it" in lines
    assert LAMS[0] not in fake.trained


def test_the_same_sweep_twice_at_a_time_trains_nothing_twice(options, monkeypatch):
    monkeypatch.setattr(module, "LOOK_ELSEWHERE", 0.05)
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


# the command


def call(*words):
    return CliRunner().invoke(main, ["sweep", "reviews-quick", *words])


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(options):
    words = ["--grid=prior.lam=1e-6,1e-5", "--grid=sparsity.final=0.8,0.9", "--seeds=0-1,4", "--dry-run"]
    done = call(*words, f"--out={options['out']}")
    assert done.exit_code == 0, done.output
    assert "12 runs in" in done.output
    assert "0 are there, 12 to train" in done.output
    assert "reviews-quick-lam=1e-05-final=0.9-seed4 waiting" in done.output
    assert not options["out"].exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid=prior.lamm=1"], "did you mean 'prior.lam'"),
        (["--grid=prior.lam="], "empty value"),
        (["--grid=prior.lam=1", "--launcher=local", "--slurm=partition=gpu"], "--slurm is not for the launcher local"),
        (["--set=seed=1"], "a sweep takes it from --seeds"),
        (["--jobs=0"], "jobs=0 must be at least 1"),
        (["--launcher=ray", "--resources=num_gpu=1"], "num_gpu is unknown; did you mean 'num_gpus'"),
        (["--launcher=ray", "--resources=num_gpus"], "--resources 'num_gpus' must have the form key=value"),
    ],
)
def test_errors_of_the_command_are_one_line_for_people(words, message, options):
    done = call(*words, f"--out={options['out']}")
    assert done.exit_code == 1
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not list(options["out"].glob("reviews*"))


def test_real_trainings_in_processes_and_what_failed_at_the_end(options, tmp_path):
    words = [
        *as_words(short_training(tmp_path)),
        "--grid=targets.include=[query],[nonsense]",
        f"--out={options['out']}",
    ]
    done = call(*words, "--jobs=2")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: 1 runs are not finished; the same command tries again:\nreviews-quick-inc")
    assert "matches no parameter" in done.stderr
    assert "%|" not in done.output  # no bar where there is no terminal
    frame = load_sweep(options["out"])
    assert frame["status"].tolist() == ["finished", "failed"]
    assert frame["attempts"].tolist() == [1, 1]
    assert frame["sparsity"][0] == pytest.approx(0.9, abs=1e-2)
    assert "sweep.csv" in done.stdout


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
    done = call(*as_words(settings), f"--out={options['out']}")
    assert done.exit_code == 0, done.output
    run = load_run(folder)
    assert run.status == "finished"
    assert run.info["resumed_at"][-1] >= 20
    assert run.metrics["step"].tolist() == list(range(120))
    assert count_attempts(folder) == 2
