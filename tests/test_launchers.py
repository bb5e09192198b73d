import json
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from fake_training import FakeTraining, always_die, die_once_or_fail, short_training, sleep_long, until

from mgpp import LocalProcesses, RayCluster, SlurmJobs, load_recipe, load_run, sweep
from mgpp.lab.sweeps.launchers import LauncherError, WorkerLostError, base, local, make_launcher
from mgpp.lab.sweeps.record import ATTEMPTS_FOLDER
from mgpp.lab.sweeps.worker import work

GRID = {"method": ["mgpp", "l2", "gmp"]}


STUB = partial(work, train_one=die_once_or_fail)


@pytest.fixture(scope="module", autouse=True)
def _workers_find_the_stubs():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        yield


@pytest.fixture
def options(tmp_path):
    return {"grid": GRID, "out": tmp_path / "out", "report": print}


def check_frame(frame):
    """What becomes of the three stubs, whoever launches them."""
    assert frame[["method", "status", "attempts", "error"]].fillna("").values.tolist() == [
        ["mgpp", "finished", 2, ""],
        ["l2", "failed", 1, "ValueError: too large"],
        ["gmp", "finished", 1, ""],
    ]


# local


def python_that(tmp_path, code):
    """An interpreter that runs `code` instead of what it is told."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    python.chmod(0o700)
    return str(python)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "killed by signal 9; the memory may not suffice"),
        ("import sys; print('much before'); sys.exit('the reason')", "exit status 1; see .*worker.log"),
        ("raise SystemExit(3)", "exit status 3; see .*worker.log"),
    ],
)
def test_how_a_process_died_is_told(tmp_path, monkeypatch, code, words):
    monkeypatch.setattr(local.sys, "executable", python_that(tmp_path, code))
    with LocalProcesses() as launcher:
        [job] = launcher.begin([(load_recipe("reviews"), tmp_path / "run")])
        with pytest.raises(WorkerLostError, match=words):
            job.result()
    if "reason" in code:
        assert (tmp_path / ATTEMPTS_FOLDER / "run" / "worker.log").read_text() == "the reason\n"


def test_processes_end_when_the_launcher_does(tmp_path, monkeypatch):
    pid = tmp_path / "pid"
    code = f"import os, time; open('{pid}', 'w').write(str(os.getpid()) + ' '); time.sleep(600)"
    monkeypatch.setattr(local.sys, "executable", python_that(tmp_path, code))
    with LocalProcesses(jobs=1) as launcher:
        first, second = launcher.begin([(load_recipe("reviews"), tmp_path / name) for name in ("a", "b")])
        until(lambda: pid.exists() and pid.read_text().endswith(" "))
    assert first.done()
    assert second.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_jobs_run_together_and_share_the_threads(options, monkeypatch):
    both_here, seen, fake = threading.Barrier(2, timeout=120), [], FakeTraining()

    def wait(recipe, folder):
        both_here.wait()  # passes only if two train at a time
        seen.append(recipe.threads)
        fake(recipe, folder)

    monkeypatch.setattr(local.os, "cpu_count", lambda: 9)
    launcher = LocalProcesses(2, work=partial(work, train_one=wait))
    frame = sweep("reviews", **options | {"seeds": [0, 1]}, launcher=launcher)
    assert seen == [4] * 6
    assert (frame["status"] == "finished").all()
    assert LocalProcesses(1).threads is None


def test_processes_are_dealt_the_gpus(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    code = "import os; print(); print(chr(34) + os.environ['CUDA_VISIBLE_DEVICES'] + chr(34))"
    monkeypatch.setattr(local.sys, "executable", python_that(tmp_path, code.replace('"', "'")))
    with LocalProcesses(jobs=2) as launcher:
        jobs = launcher.begin([(load_recipe("reviews"), tmp_path / str(number)) for number in range(2)])
        assert sorted(job.result() for job in jobs) == ["2", "5"]


# Ray


@pytest.fixture(scope="module")
def ray_cluster():
    ray = pytest.importorskip("ray")
    with RayCluster(jobs=2):
        yield
    assert not ray.is_initialized()


@pytest.mark.usefixtures("ray_cluster")
def test_ray_replaces_workers_that_die_and_not_trainings_that_fail(options):
    check_frame(sweep("reviews", **options, launcher=RayCluster(work=STUB)))


@pytest.mark.usefixtures("ray_cluster")
def test_ray_gives_up_after_so_many_deaths(options, tmp_path):
    launcher = RayCluster(work=partial(work, train_one=always_die), retries=1)
    frame = sweep("reviews", **options | {"grid": {}}, launcher=launcher, retries=1)
    assert frame[["status", "attempts"]].values.tolist() == [["failed", 2]]
    assert frame["error"][0].startswith("WorkerCrashedError: The worker died unexpectedly")


@pytest.mark.usefixtures("ray_cluster")
def test_ray_trains_where_the_sweep_stands(options, tmp_path, monkeypatch):
    settings = short_training(tmp_path)
    monkeypatch.chdir(tmp_path)
    settings |= {"model": "model", "data": "data", "threads": None}
    out = {"out": Path("runs"), "grid": {}}
    frame = sweep("reviews-quick", **options | out, overrides=settings, launcher=RayCluster(resources={"num_cpus": 2}))
    assert (frame["status"] == "finished").all(), frame["error"].tolist()
    assert load_run(tmp_path / frame["folder"][0]).recipe["threads"] == 2


def test_ray_stops_what_still_trains_when_the_sweep_is_left(ray_cluster, tmp_path):
    with RayCluster(work=sleep_long) as launcher:
        [job] = launcher.begin([(load_recipe("reviews"), tmp_path / "run")])
        until((tmp_path / "run.pid").exists)
        assert not job.done()
    until(job.done)
    pid = int((tmp_path / "run.pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


def test_ray_says_what_is_wrong_with_what_is_asked(monkeypatch):
    with pytest.raises(LauncherError, match="--resources num_gpu is unknown; did you mean 'num_gpus'"):
        RayCluster(resources={"num_gpu": 1})
    for resources, words in (
        ({"memory": "8GB"}, "memory='8GB' must be a number from 0 of bytes, such as 8e9"),
        ({"num_gpus": "a"}, "num_gpus='a' must be a number from 0"),
        ({"num_cpus": -1}, "num_cpus=-1 must be a number from 0"),
        ({"accelerator_type": 3}, "accelerator_type=3 must be a name, such as A100"),
    ):
        with pytest.raises(LauncherError, match=words):
            RayCluster(resources=resources)


# Slurm, by submitit's executor on this machine


@pytest.fixture
def submitit():
    return pytest.importorskip("submitit")


@pytest.mark.usefixtures("submitit")
def test_slurm_replaces_jobs_that_die_and_not_trainings_that_fail(options, monkeypatch):
    monkeypatch.setattr("submitit.core.core.Job._results_timeout_s", 0)  # it waits for slow file systems
    jobs = SlurmJobs(options["out"], {"timeout_min": 30, "partition": "gpu"}, jobs=2, cluster="local", work=STUB)
    check_frame(sweep("reviews", **options, launcher=jobs))


@pytest.mark.usefixtures("submitit")
def test_a_job_that_is_preempted_goes_on_from_its_checkpoint(options, tmp_path):
    settings = short_training(tmp_path, max_steps=200, save_every=20)
    jobs = SlurmJobs(options["out"], cluster="local")
    begun = []
    begin = jobs.begin
    jobs.begin = lambda tasks: begun.extend(begin(tasks)) or begun
    done = []
    options |= {"grid": {}, "overrides": settings, "launcher": jobs}
    thread = threading.Thread(target=lambda: done.append(sweep("reviews-quick", **options)))
    thread.start()
    folder = options["out"] / "reviews-quick-seed0"
    until(lambda: any(folder.glob("checkpoints/checkpoint-*")))
    [task] = (json.loads((folder.parent / ATTEMPTS_FOLDER / folder.name / "attempts.jsonl").read_text()),)
    os.kill(task["pid"], signal.SIGUSR2)
    thread.join()
    assert done[0][["status", "attempts"]].values.tolist() == [["finished", 2]]
    assert load_run(folder).info["resumed_at"][-1] >= 20
    assert len(begun) == 1  # the engine put it into the queue again, not the sweep


@pytest.mark.usefixtures("submitit")
@pytest.mark.parametrize(
    ("parameters", "cluster", "words"),
    [
        ({"partitoin": "gpu"}, "local", "--slurm: Unknown argument 'partitoin' for executor 'slurm'"),
        ({"gpus_per_node": "two"}, "local", '--slurm: Parameter "gpus_per_node" expected type'),
        ({}, "slurm", '--slurm: Could not detect "srun"'),
    ],
)
def test_slurm_says_what_is_wrong_with_what_is_asked(tmp_path, monkeypatch, parameters, cluster, words):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LauncherError, match=words):
        SlurmJobs(tmp_path, parameters, cluster=cluster)


# by name


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("slrum", {}, "launcher='slrum' is unknown; did you mean 'slurm'"),
        ("local", {"resources": {"num_gpus": 1}}, "--resources is not for the launcher local"),
        ("slurm", {"address": "auto"}, "--address is not for the launcher slurm"),
        ("ray", {"jobs": 0}, "jobs=0 must be at least 1"),
    ],
)
def test_launchers_by_name(tmp_path, name, options, words):
    with pytest.raises(LauncherError, match=words):
        make_launcher(name, tmp_path, **options)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LauncherError, match=r'ray is not installed: pip install "mgpp-toolkit\[cluster\]"'):
        base.optional("ray")
