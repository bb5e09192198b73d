"""Faults that are caused for real, by the script that writes the evidence, and what the toolkit says of them."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mgpp import RunError
from mgpp.lab.training.faults import (
    DivergedError,
    OutOfMemoryError,
    Terminated,
    check_gradient,
    check_loss,
    check_weights,
    ending_politely,
    in_words,
)
from mgpp.runs.faults import StorageError, check_writable, writing

SCRIPT = Path(__file__).parent / "reliability" / "faults.py"
RESUMED = "resumed to the same weights and log"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the script saw, by fault."""
    out = tmp_path_factory.mktemp("faults") / "faults.json"
    done = subprocess.run([sys.executable, SCRIPT, "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["fault"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}


@pytest.mark.parametrize(
    ("fault", "status", "kept", "words", "then"),
    [
        ("disk full while a checkpoint is written", 1, "status", "the disk is full", None),
        ("disk full while rows are logged", 1, "", "make room, then go on: mgpp train --resume disk2/run", None),
        ("read-only output folder", 1, "nothing is made", "choose another folder: --out DIR", ""),
        ("output folder can't be one", 1, "the file", "a-file is a file; choose another: --out DIR", ""),
        ("output folder vanishes", 1, "status stopped, 3 rows", "moved is gone", RESUMED),
        ("two trainings into one folder", 1, "status running, 3 rows", "shared is being written by process", ""),
        ("--replace of a run that is being written", 1, "status running, 3 rows", "is being written by process", ""),
        ("--resume of a run that is being written", 1, "status running, 3 rows", "is being written by process", ""),
        ("a worker is killed", 0, "status stopped, 3 rows, the checkpoint of step 6", "blocks nobody", RESUMED),
        ("the loss is no number", 1, "status failed, 1 rows", "step 1: the loss is nan", ""),
        (
            "a weight is no number",
            1,
            "status failed, 3 rows, the checkpoint of step 6",
            "step 6: the loss is nan and bert.encoder.layer.0.intermediate.dense.weight holds infinities or NaN",
            "",
        ),
        ("the gradient is no number", 1, "status failed, 3 rows", "step 6: the gradient's norm is", ""),
        ("out of memory", 1, "status failed, 0 rows", "Lower batch_size, 4 now", ""),
        (
            "SIGTERM",
            143,
            "status stopped, 4 rows, the checkpoint of step 7",
            "stopped; go on: mgpp train --resume sigterm",
            RESUMED,
        ),
        ("SIGINT", 130, "status stopped, 3 rows", "stopped; go on: mgpp train --resume sigint", RESUMED),
        ("the clock jumps", 0, "all; wall_seconds as they were", "accuracy", "the same weights and log"),
        ("a checkpoint is damaged", 0, "resumed at step 3", "checkpoint-6/model.safetensors is damaged", RESUMED),
        ("run.json is truncated", 0, "listed: good", "warning: runs/other/run.json is not readable", ""),
        ("a part file is truncated", 0, "listed: good", "its end is missing; remove it to read the others", ""),
        ("metrics.jsonl is truncated", 0, "listed: good, other", "the last row was cut off", ""),
        ("a row of metrics.jsonl is damaged", 0, "listed: good", "line 2 is not a row of metrics", ""),
        ("a log of a newer version", 0, "listed: good", "upgrade mgpp", ""),
        ("foreign folders and files among the runs", 0, "listed: good", "", ""),
    ],
)
def test_what_is_kept_and_what_the_user_reads(seen, fault, status, kept, words, then):
    row = seen[fault]
    assert row["exit status"] == status, row
    assert row["kept"].startswith(kept), row
    assert words in row["reads"], row
    assert "Traceback" not in row["reads"]
    assert len(row["reads"].splitlines()) <= 1
    assert then is None or row["then"] == then, row


def test_every_fault_that_is_caused_is_tested(seen):
    (listed,) = (mark for mark in test_what_is_kept_and_what_the_user_reads.pytestmark if mark.name == "parametrize")
    tested = {case[0] for case in listed.args[1]} | {"output folder becomes read-only"}  # where root may mount
    assert set(seen) <= tested


def test_errors_about_other_files_are_not_about_the_run(tmp_path):
    with pytest.raises(FileNotFoundError), writing(tmp_path):
        (tmp_path.parent / "elsewhere").read_text()
    with pytest.raises(BrokenPipeError), writing(tmp_path):
        raise BrokenPipeError(32, "Broken pipe")
    with pytest.raises(StorageError, match="can't be written"), writing(tmp_path):
        (tmp_path / "file").mkdir()
        (tmp_path / "file").write_text("a folder is no file")


def test_a_link_to_nowhere_is_no_folder(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(RunError, match="link is a file"):
        check_writable(tmp_path / "link")


class FakeTrainer:
    """What the checks look at."""

    def __init__(self, scale=None, **precision):
        self.model = torch.nn.Linear(2, 1)
        self.state = SimpleNamespace(global_step=7)
        self.args = SimpleNamespace(**{"fp16": False, "bf16": False} | precision, learning_rate=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
        self.accelerator = SimpleNamespace(scaler=scaler)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_or_gradient_that_is_no_number_ends_the_training(value):
    trainer = FakeTrainer(bf16=True)
    with pytest.raises(DivergedError, match=rf"step 7: the loss is {value}; .* 0.1 now, or precision, bf16 now"):
        check_loss(trainer, torch.tensor(value))
    with pytest.raises(DivergedError, match="the gradient's norm is"):
        check_gradient(trainer, torch.tensor(value))
    check_loss(trainer, torch.tensor(1e30))
    check_gradient(trainer, 1e30)


def test_an_overflow_that_fp16_skips_is_no_error_until_the_loss_scale_is_used_up():
    trainer = FakeTrainer(scale=1024.0, fp16=True)
    check_loss(trainer, torch.tensor(math.inf))
    check_gradient(trainer, torch.tensor(math.nan))
    with pytest.raises(DivergedError, match="or precision, fp16 now, to fp32"):
        check_loss(FakeTrainer(scale=0.5, fp16=True), torch.tensor(math.inf))


def test_weights_are_numbers_before_they_are_saved():
    trainer = FakeTrainer()
    check_weights(trainer)
    torch.nn.init.constant_(trainer.model.weight, -math.inf)
    with pytest.raises(DivergedError, match="weight holds infinities or NaN"):
        check_weights(trainer)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_memory_that_runs_out_is_said_in_a_sentence(error, tmp_path):
    with pytest.raises(OutOfMemoryError, match="Lower batch_size, 8 now"), in_words(tmp_path, 8, 64):
        raise error


def test_other_errors_keep_their_words(tmp_path):
    with pytest.raises(RuntimeError, match="shapes differ"), in_words(tmp_path, 8, 64):
        raise RuntimeError("shapes differ")


def test_sigterm_ends_a_block_and_is_let_go_of_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match="mgpp train --resume my-run") as ended, ending_politely("my-run"):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_waits_for_a_checkpoint_however_often_it_comes():
    steps = []
    with pytest.raises(Terminated), ending_politely("my-run") as ending, ending.deferred():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append(ending.asked)
    assert steps == [True, True]


@pytest.mark.parametrize("error", [KeyError("x"), DivergedError("step 3: the loss is nan")])
def test_other_errors_of_a_deferred_block_come_first(error):
    with pytest.raises(type(error)), ending_politely("my-run") as ending, ending.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise error


def test_a_loader_that_got_the_signal_too_is_no_error():
    lost = RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated")
    with pytest.raises(Terminated), ending_politely("my-run") as ending, ending.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise lost
    with pytest.raises(RuntimeError, match="DataLoader"), ending_politely("my-run") as ending, ending.deferred():
        raise lost
