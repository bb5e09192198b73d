import json
import os
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from fake_training import FakeTraining, die_once_or_fail, short_training, sleep_long, until

from mgpp import LocalProcesses, RayCluster, SlurmJobs, load_recipe, load_run, sweep
from mgpp.lab.sweeps.launchers import LauncherError, base, local, make_launcher
from mgpp.lab.sweeps.record import ATTEMPTS_FOLDER
from mgpp.lab.sweeps.worker import work

RECIPE = load_recipe("reviews").as_dict()


@pytest.fixture(autouse=True)
def _workers_find_the_stubs(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]))


@pytest.fixture
def options(tmp_path):
    return {"grid": {"method": ["mgpp", "l2", "gmp"]}, "out": tmp_path / "out", "report": print}


def python_that(tmp_path, code):
    """An interpreter that runs `code` instead of what it is told."""
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}"\n')
    python.chmod(0o700)
    return str(python)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "signal 9"),
        ("import sys; print('much before'); sys.exit('the reason')", "status 1.*worker.log"),
    ],
)
def test_a_process_that_dies_tells_how(tmp_path, monkeypatch, code, words):
    monkeypatch.setattr(local.sys, "executable", python_that(tmp_path, code))
    with LocalProcesses() as launcher:
        [job] = launcher.begin([(RECIPE, tmp_path / "run")])
        with pytest.raises(local.WorkerDiedError, match=words):
            job.result()
    if "reason" in code:
        assert (tmp_path / ATTEMPTS_FOLDER / "run" / "worker.log").read_text() == "the reason\n"


def test_processes_end_when_the_launcher_does(tmp_path, monkeypatch):
    pid = tmp_path / "pid"
    code = f"import os, time; open('{pid}', 'w').write(str(os.getpid()) + ' '); time.sleep(600)"
    monkeypatch.setattr(local.sys, "executable", python_that(tmp_path, code))
    with LocalProcesses(jobs=1) as launcher:
        first, second = launcher.begin([(RECIPE, tmp_path / name) for name in ("a", "b")])
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
    monkeypatch.setattr(local.sys, "executable", python_that(tmp_path, code))
    with LocalProcesses(jobs=2) as launcher:
        jobs = launcher.begin([(RECIPE, tmp_path / str(number)) for number in range(2)])
        assert sorted(job.result() for job in jobs) == ["2", "5"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Ray's processes of a slow start
def test_ray_replaces_workers_that_die_and_stops_what_still_trains(options, tmp_path, monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.chdir(tmp_path)  # workers find relative paths
    with RayCluster(jobs=2):
        stub = partial(work, train_one=die_once_or_fail)
        frame = sweep("reviews", **options | {"out": Path("runs")}, launcher=RayCluster(work=stub))
        assert frame[["status", "attempts"]].values.tolist() == [["finished", 2], ["failed", 1], ["finished", 1]]
        with RayCluster(work=sleep_long) as launcher:
            [job] = launcher.begin([(RECIPE, tmp_path / "run")])
            until((tmp_path / "run.pid").exists)
            assert not job.done()
        pid = int((tmp_path / "run.pid").read_text())
        until(lambda: not Path(f"/proc/{pid}").exists())
    assert not ray.is_initialized()


def test_ray_refuses_unknown_resources():
    pytest.importorskip("ray")
    for resources in ({"num_gpu": 1}, {"num_gpus": "a"}, {"num_cpus": -1}):
        with pytest.raises(LauncherError, match=next(iter(resources))):
            RayCluster(resources=resources)


@pytest.mark.slow
def test_slurm_resumes_a_job_that_is_preempted(options, tmp_path):
    pytest.importorskip("submitit")
    jobs = SlurmJobs(options["out"], {"timeout_min": 30, "partition": "gpu"}, jobs=2, cluster="local")
    frames, begun, begin = [], [], jobs.begin
    jobs.begin = lambda tasks: begun.extend(begin(tasks)) or begun
    options |= {"grid": {}, "overrides": short_training(tmp_path, max_steps=200, save_every=20), "launcher": jobs}
    thread = threading.Thread(target=lambda: frames.append(sweep("reviews-quick", **options)))
    thread.start()
    folder = options["out"] / "reviews-quick-seed0"
    until(lambda: any(folder.glob("checkpoints/checkpoint-*")))
    attempt = json.loads((folder.parent / ATTEMPTS_FOLDER / folder.name / "attempts.jsonl").read_text())
    os.kill(attempt["pid"], signal.SIGUSR2)
    thread.join()
    assert frames[0][["status", "attempts"]].values.tolist() == [["finished", 2]]
    assert load_run(folder).info["resumed_at"][-1] >= 20
    assert len(begun) == 1  # submitit queued it again, not the sweep


@pytest.mark.parametrize("parameters", [{"partitoin": "gpu"}, {"gpus_per_node": "two"}])
def test_slurm_refuses_unknown_parameters(tmp_path, parameters):
    pytest.importorskip("submitit")
    with pytest.raises(LauncherError, match=next(iter(parameters))):
        SlurmJobs(tmp_path, parameters, cluster="local")


@pytest.mark.parametrize(("name", "option"), [("local", "resources"), ("slurm", "address"), ("ray", "slurm")])
def test_an_option_of_another_launcher_is_refused(tmp_path, name, option):
    with pytest.raises(LauncherError, match=f"--{option}"):
        make_launcher(name, tmp_path, **{option: {"num_gpus": 1}})


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LauncherError, match=r"mgpp-toolkit\[cluster\]"):
        base.optional("ray")
