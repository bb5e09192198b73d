"""Trainings for tests of what surrounds them: some only write runs, others are real and short."""

import time
from dataclasses import replace
from functools import partial

import pandas as pd
from small_models import small_bert

from mgpp import LocalProcesses, RunWriter
from mgpp.training.worker import work


def short_training(folder, **more):
    """Settings of a real training of a second, on a model and data that are made in `folder`."""
    data = folder / "data"
    data.mkdir()
    rows = pd.DataFrame({"sentence": ["a dull film", "a fine film", "fine", "dull"] * 4, "label": [0, 1, 1, 0] * 4})
    for split in ("train", "validation"):
        rows.to_csv(data / f"{split}.csv", index=False)
    settings = {"task": "glue-sst2", "data": str(data), "model": str(small_bert(folder / "model")), "max_length": 8}
    settings |= {"batch_size": 4, "max_steps": 20, "precision": "fp32", "threads": 1, "save_every": 2, "log.every": 1}
    return settings | {"log.histograms_every": 5, "log.evaluate_every": 10, "log.trajectories": 5} | more


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


def until(condition, seconds=120):
    """Wait for a condition, and fail where it does not come true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
