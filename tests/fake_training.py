"""Trainings for tests of what surrounds them: some only write runs, others are real and short."""

import json
import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from mgpp import LocalProcesses, RunWriter
from mgpp.lab.sweeps.record import count_attempts
from mgpp.lab.sweeps.worker import work


def short_training(folder, **more):
    """Settings of a real training of a second, on a model and data that are made in `folder`."""
    from small_models import small_bert  # workers that only pretend to train need no models

    data = folder / "data"
    data.mkdir()
    rows = pd.DataFrame({"sentence": ["a dull film", "a fine film", "fine", "dull"] * 4, "label": [0, 1, 1, 0] * 4})
    for split in ("train", "validation"):
        rows.to_csv(data / f"{split}.csv", index=False)
    settings = {"task": "glue-sst2", "data": str(data), "model": str(small_bert(folder / "model")), "max_length": 8}
    settings |= {"batch_size": 4, "max_steps": 20, "precision": "fp32", "threads": 1, "save_every": 2, "log.every": 1}
    return settings | {"log.histograms_every": 5, "log.evaluate_every": 10, "log.trajectories": 5} | more


def as_words(settings):
    """Settings as the command line takes them."""
    return [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]


class FakeTraining:
    """Remembers what it was asked to train; fails with an error of its own for the methods it is told to."""

    def __init__(self, *failing, error=MemoryError):
        self.failing, self.error, self.trained = failing, error, []

    def __call__(self, recipe, folder):
        self.trained.append(folder.name)
        resolved = replace(recipe, precision="bf16", threads=recipe.threads or 7).as_dict()
        with RunWriter(folder, {"recipe": resolved}, replace=True) as writer:
            writer.metrics({"step": 0})
            if recipe.method in self.failing:
                raise self.error("too large")
            writer.update(final={"accuracy": 0.75, "accuracy_se": 0.01, "sparsity": recipe.sparsity.final})

    def launcher(self, jobs=1):
        return LocalProcesses(jobs, work=partial(work, train_one=self))


# Stubs for workers in other processes, which import this module and nothing that is slow to import.


def die_once_or_fail(recipe, folder):
    """mgpp's worker is killed the first time, l2 has an error of its own."""
    if recipe.method == "mgpp" and count_attempts(folder) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    FakeTraining("l2", error=ValueError)(recipe, folder)


def sleep_long(recipe, folder):
    """Leaves its process number beside the run's folder."""
    Path(f"{folder}.part").write_text(str(os.getpid()))
    Path(f"{folder}.part").rename(f"{folder}.pid")
    time.sleep(600)


def until(condition, seconds=300):
    """Wait for a condition, and fail where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
