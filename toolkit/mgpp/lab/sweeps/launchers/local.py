"""Trainings in processes of this machine."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self

import torch

from mgpp.lab.sweeps.launchers.base import Job, LauncherError, Task, Work, WorkerLostError
from mgpp.lab.sweeps.record import attempts_folder
from mgpp.lab.sweeps.worker import Outcome

LOG_FILE = "worker.log"


class LocalProcesses:
    """Each training in a process of its own on this machine, so that one that crashes ends nothing else.

    The processes end when this one does, however it ends. Where there are several GPUs each process sees one of them.

    Args:
        jobs: trainings at a time; they share the machine's threads where their recipes don't say how many each has.
        work: what is called instead, in a thread of this process.

    Raises:
        LauncherError: if `jobs` is below 1.

    Example:
        >>> with LocalProcesses(jobs=2) as launcher:
        ...     launcher.begin([])
        []
    """

    pause = 0.05

    def __init__(self, jobs: int = 1, work: Work | None = None):
        if jobs < 1:
            raise LauncherError(f"jobs={jobs} must be at least 1")
        self.threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
        self._work = work or self._work_in_a_process
        self._pool, self._processes, self._stopped = ThreadPoolExecutor(jobs), set[subprocess.Popen[str]](), False
        self._gpus: SimpleQueue[str | None] = SimpleQueue()
        gpus = _visible_gpus()
        for slot in range(jobs):
            self._gpus.put(gpus[slot % len(gpus)] if len(gpus) > 1 else None)

    def begin(self, tasks: Sequence[Task]) -> Sequence[Job]:
        """Queue trainings, of which `jobs` run at a time."""
        return [self._pool.submit(self._work, recipe.as_dict(), str(folder)) for recipe, folder in tasks]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stopped = True
        for process in tuple(self._processes):
            process.kill()
        self._pool.shutdown(cancel_futures=True)

    def _work_in_a_process(self, recipe: Mapping[str, Any], folder: str) -> Outcome:
        gpu = self._gpus.get()
        try:
            with worker_process(folder, gpu) as process:
                return self._watch(process, recipe, folder)
        except BrokenPipeError:
            raise WorkerLostError("the worker ended before it had its recipe") from None
        except OSError as error:  # no room for its log, or no process to be had
            return {"error": f"the worker could not be started: {error}", "passing": True}
        finally:
            self._gpus.put(gpu)

    def _watch(self, process: "subprocess.Popen[str]", recipe: Mapping[str, Any], folder: str) -> Outcome:
        self._processes.add(process)
        try:
            if self._stopped:
                process.kill()
            return outcome_of(process, recipe, folder)
        finally:
            self._processes.discard(process)


def _visible_gpus() -> list[str]:
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    return told.split(",") if told else [str(number) for number in range(torch.cuda.device_count())]


def worker_process(folder: str, gpu: str | None) -> "subprocess.Popen[str]":
    """Start `mgpp.lab.sweeps.worker` for a run; what it writes to standard error is appended to the run's log file."""
    log = attempts_folder(folder) / LOG_FILE
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": gpu}
    with log.open("ab") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "mgpp.lab.sweeps.worker", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the sweep, which then ends its workers
        )


def outcome_of(process: "subprocess.Popen[str]", recipe: Mapping[str, Any], folder: str) -> Outcome:
    """Hand a recipe to a worker's process, and wait for what it answers.

    Its standard input stays open meanwhile: by its end the worker sees that nobody waits any more.

    Raises:
        WorkerLostError: if the process fails; with the signal that killed it.
    """
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # dead already; how, its exit status tells
        process.stdin.write(json.dumps(recipe) + "\n")
        process.stdin.flush()
    said = process.stdout.read()
    status = process.wait()
    if status < 0:
        raise WorkerLostError(f"killed by signal {-status}; the memory may not suffice")
    if status > 0:
        raise WorkerLostError(f"exit status {status}; see {attempts_folder(folder) / LOG_FILE}")
    return json.loads(said.splitlines()[-1])
