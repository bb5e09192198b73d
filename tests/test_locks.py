import json
import multiprocessing
import os
import signal
import subprocess
import sys

import pytest

from mgpp import RunError, RunWriter, load_run
from mgpp.runs import check_folder, is_being_written, refuse_if_written
from mgpp.runs.locks import FolderLock, seconds_noted

WRITE = """
import os, sys, time
from mgpp import RunWriter
writer = RunWriter(sys.argv[1], {"recipe": {"method": "l2"}})
writer.metrics({"step": 0})
print("writing", flush=True)
time.sleep(600)
"""


@pytest.fixture
def writing(tmp_path):
    """A run that another process writes, and the process."""
    other = subprocess.Popen([sys.executable, "-c", WRITE, tmp_path / "run"], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "writing\n"
    yield tmp_path / "run", other
    other.kill()
    other.wait()
    other.stdout.close()


def test_a_run_that_another_process_writes_is_left_alone(writing):
    folder, other = writing
    assert load_run(folder).status == "running"
    for attempt in (
        lambda: check_folder(folder),
        lambda: refuse_if_written(folder),
        lambda: RunWriter(folder, replace=True),
        lambda: RunWriter(folder, resume_at=0),
    ):
        with pytest.raises(RunError, match=f"process {other.pid} "):
            attempt()
    assert len(load_run(folder).metrics) == 1


def test_the_lock_of_a_killed_process_blocks_nobody(writing):
    folder, other = writing
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (folder / ".lock").exists()
    assert not is_being_written(folder)
    run = load_run(folder)
    assert (run.status, run.info["status"]) == ("stopped", "running")
    with RunWriter(folder, resume_at=0) as writer:
        writer.metrics({"step": 0})
    assert load_run(folder).status == "finished"
    assert sorted(path.name for path in folder.iterdir()) == ["metrics.jsonl", "run.json"]


def test_one_process_does_not_write_a_run_twice(tmp_path):
    with RunWriter(tmp_path / "run"), pytest.raises(RunError, match=f"process {os.getpid()} "):
        RunWriter(tmp_path / "run", replace=True)
    assert not is_being_written(tmp_path / "run")


def _lock(folder, answers):
    try:
        lock = FolderLock(folder)
        answers.put("mine")
        signal.pause()
        lock.release()
    except RunError:
        answers.put("refused")


def test_of_many_who_begin_at_once_one_writes(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    others = [context.Process(target=_lock, args=(tmp_path, answers)) for _ in range(3)]
    for other in others:
        other.start()
    assert sorted(answers.get(timeout=300) for _ in others) == ["mine", "refused", "refused"]
    for other in others:
        other.kill()
        other.join()


def test_a_copy_of_a_run_that_was_being_written_is_stopped(writing, tmp_path):
    folder, _ = writing
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("run.json", "metrics.jsonl", ".lock", ".writer.json"):
        (copy / name).write_bytes((folder / name).read_bytes())
    assert load_run(copy).status == "stopped"


@pytest.mark.parametrize("note", ["", "{", "{}"])
def test_a_damaged_note_is_no_note(tmp_path, note):
    (tmp_path / ".writer.json").write_text(note)
    assert seconds_noted(tmp_path) == 0.0


def test_time_adds_up_over_a_kill(tmp_path):
    writer = RunWriter(tmp_path / "run")
    writer._seconds_before = 100.0
    writer.metrics({"step": 0})
    assert json.loads((tmp_path / "run" / ".writer.json").read_text())["seconds"] >= 100.0
    writer._lock._lock.release()  # as the system does for a process that is killed
    with RunWriter(tmp_path / "run", resume_at=0) as again:
        again.metrics({"step": 0})
    assert load_run(tmp_path / "run").info["wall_seconds"] >= 100.0
    writer._rows.close()
