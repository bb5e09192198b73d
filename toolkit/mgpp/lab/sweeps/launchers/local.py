"""Launch trainings in processes of this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

import torch

from mgpp.lab.sweeps.launchers.base import Job, Task, Work
from mgpp.lab.sweeps.record import attempts_folder
from mgpp.lab.sweeps.worker import Outcome

LOG_FILE = "worker.log"


class WorkerDiedError(RuntimeError):
    """A worker process ended without reporting how its training went."""


class LocalProcesses:
    """Each training in a process of its own on this machine, so that one that crashes stops no other.

    The processes end when this one does, however it ends. If there are several GPUs each process sees one of them.

    Args:
        jobs: trainings at a time; they share the machine's threads if their recipes don't say how many each has.
        work: a function to call instead, in a thread of this process.

    Example:
        >>> with LocalProcesses(jobs=2) as launcher:
        ...     launcher.begin([])
        []
    """

    pause = 0.05

    def __init__(self, jobs: int = 1, work: Work | None = None):
        self.threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
        self._work = work or self._work_in_a_process
        self._pool, self._processes, self._stopped = ThreadPoolExecutor(jobs), list[subprocess.Popen[str]](), False
        self._gpus: SimpleQueue[str | None] = SimpleQueue()
        gpus = _visible_gpus()
        for slot in range(jobs):
            self._gpus.put(gpus[slot % len(gpus)] if len(gpus) > 1 else None)

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Queue trainings, of which `jobs` run at a time."""
        return [self._pool.submit(self._work, recipe, str(folder)) for recipe, folder in tasks]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped = True
        for process in self._processes:
            process.kill()  # which does nothing to those that have ended
        self._pool.shutdown(cancel_futures=True)

    def _work_in_a_process(self, recipe: Mapping[str, Any], folder: str) -> Outcome:
        log, gpu = attempts_folder(folder) / LOG_FILE, self._gpus.get()
        try:
            with start_worker(folder, log, gpu) as process:
                self._processes.append(process)
                if self._stopped:
                    process.kill()
                return outcome_of(process, recipe, log)
        finally:
            self._gpus.put(gpu)


def _visible_gpus() -> list[str]:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(number) for number in range(torch.cuda.device_count())]


def start_worker(folder: str, log: Path, gpu: str | None) -> "subprocess.Popen[str]":
    """Start `mgpp.lab.sweeps.worker` for a run, with its standard error appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "mgpp.lab.sweeps.worker", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu},
            start_new_session=True,  # Ctrl-C goes to the sweep, which then stops its workers
        )


def outcome_of(process: "subprocess.Popen[str]", recipe: Mapping[str, Any], log: Path) -> Outcome:
    """Send a recipe to a worker process, and wait for its answer.

    Its standard input stays open meanwhile; the worker stops when it ends.

    Raises:
        WorkerDiedError: if the process fails; with its signal or exit status.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it is dead already; the exit status tells why
        process.stdin.write(json.dumps(recipe) + "\n")
        process.stdin.flush()
    printed = process.stdout.read()
    status = process.wait()
    if status < 0:
        raise WorkerDiedError(f"killed by signal {-status}; it may have run out of memory")
    if status > 0:
        raise WorkerDiedError(f"exit status {status}; see {log}")
    return json.loads(printed.splitlines()[-1])
