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

from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.training.faults import (
    DivergedError,
    OutOfMemoryError,
    Terminated,
    check_gradient,
    check_loss,
    check_weights,
    explain_errors,
    handle_signals,
)
from mgpp.runs.errors import StorageError, writing

SCRIPT = Path(__file__).parent / "reliability" / "faults.py"
RESUMED = "resumed to the same weights and log"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the script saw, by fault."""
    out = tmp_path_factory.mktemp("faults") / "faults.json"
    done = subprocess.run([sys.executable, SCRIPT, "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {row["fault"]: row for row in json.loads(out.read_text(encoding="utf-8"))["rows"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "status", "kept", "words", "then"),
    [
        ("disk full while a checkpoint is written", 1, "status", "No space left on device", None),
        ("disk full while rows are logged", 1, "", "go on: mgpp train --resume disk2/run", None),
        ("read-only output folder", 1, "nothing is made", "choose another folder: --out DIR", ""),
        ("output folder can't be one", 1, "the file", "a-file is a file; choose another folder: --out DIR", ""),
        ("output folder vanishes", 1, "status stopped, 3 rows", "moved can't be written", RESUMED),
        ("two trainings into one folder", 1, "status running, 3 rows", "shared is being written by process", ""),
        ("--replace of a run that is being written", 1, "status running, 3 rows", "is being written by process", ""),
        ("--resume of a run that is being written", 1, "status running, 3 rows", "is being written by process", ""),
        ("a worker is killed", 0, "status stopped, 3 rows, the checkpoint of step 6", "does not block", RESUMED),
        ("the loss is NaN", 1, "status failed, 1 rows", "step 1", ""),
        (
            "a weight is NaN",
            1,
            "status failed, 3 rows, the checkpoint of step 6",
            "step 6: the loss is nan and bert.encoder.layer.0.intermediate.dense.weight holds infinities or NaN",
            "",
        ),
        ("the gradient is NaN", 1, "status failed, 3 rows", "step 6: the norm of the gradient", ""),
        ("out of memory", 1, "status failed, 0 rows", "batch_size=4", ""),
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
        ("run.json is truncated", 0, "listed: good", "warning: runs/other", ""),
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


@pytest.mark.slow
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


class FakeTrainer:
    """What the checks look at."""

    def __init__(self, scale=None, **precision):
        self.model = torch.nn.Linear(2, 1)
        self.state = SimpleNamespace(global_step=7)
        self.args = SimpleNamespace(**{"fp16": False, "bf16": False} | precision, learning_rate=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale) if scale else None
        self.accelerator = SimpleNamespace(scaler=scaler)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_a_gradient_or_a_weight_that_is_not_finite_ends_the_training(value):
    trainer = FakeTrainer(bf16=True)
    check_loss(trainer, torch.tensor(1e30))
    check_gradient(trainer, 1e30)
    check_weights(trainer)
    with pytest.raises(DivergedError, match=f"step 7: the loss is {value}.*learning_rate.*precision"):
        check_loss(trainer, torch.tensor(value))
    with pytest.raises(DivergedError, match="step 7.*gradient"):
        check_gradient(trainer, torch.tensor(value))
    torch.nn.init.constant_(trainer.model.weight, value)
    with pytest.raises(DivergedError, match="step 7.* weight "):
        check_weights(trainer)


def test_an_overflow_that_fp16_skips_is_no_error_until_the_loss_scale_is_used_up():
    trainer = FakeTrainer(scale=1024.0, fp16=True)
    check_loss(trainer, torch.tensor(math.inf))
    check_gradient(trainer, torch.tensor(math.nan))
    with pytest.raises(DivergedError, match="fp16"):
        check_loss(FakeTrainer(scale=0.5, fp16=True), torch.tensor(math.inf))


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (MemoryError(), OutOfMemoryError),
        (torch.OutOfMemoryError("CUDA out of memory"), OutOfMemoryError),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:117] can't allocate memory"), OutOfMemoryError),
        (OSError(12, "Cannot allocate memory"), OutOfMemoryError),
        (RuntimeError("shapes differ"), RuntimeError),
    ],
)
def test_errors_of_memory_say_what_to_lower(error, seen, tmp_path):
    with pytest.raises(seen) as raised, explain_errors(tmp_path, Recipe(batch_size=8)):
        raise error
    assert ("batch_size=8" in str(raised.value)) == (seen is OutOfMemoryError)


def test_sigterm_ends_a_block_and_is_let_go_of_afterwards():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated, match="--resume my-run") as ended, handle_signals("my-run"):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


def test_sigterm_waits_for_a_checkpoint_however_often_it_comes():
    steps = []
    with pytest.raises(Terminated), handle_signals("my-run") as sigterm, sigterm.deferred():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
            steps.append(sigterm.received)
    assert steps == [True, True]


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (KeyError("x"), KeyError),
        (DivergedError("step 3: the loss is nan"), DivergedError),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated"), Terminated),
    ],
)
def test_errors_of_a_deferred_block_come_first_but_for_loaders_that_got_the_signal_too(error, seen):
    with pytest.raises(seen), handle_signals("my-run") as sigterm, sigterm.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
        raise error
    with pytest.raises(type(error)), handle_signals("my-run") as sigterm, sigterm.deferred():
        raise error
