"""Trainings that write runs without training, for tests of what surrounds them."""

from dataclasses import replace
from functools import partial

from mgpp import LocalProcesses, RunWriter
from mgpp.training.worker import work


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
