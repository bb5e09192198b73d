"""What the prior, the pruning and the log cost in a real training, and what a step of it costs with less care."""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import textbook
from transformers import DataCollatorWithPadding, Trainer

from mgpp import Observer, Pruner, load_recipe, train
from mgpp.lab.tasks.text_classification import TextClassification
from mgpp.lab.training.provenance import native_bf16

PARTS = (
    ("prior", Pruner, "before_step"),
    ("pruning", Pruner, "after_step"),
    ("logging", Observer, "measure"),
    ("logging", Observer, "write"),
    ("training", Trainer, "train"),
)


def timed(spent: Counter, part: str, function):
    def call(*args, **kwargs):
        start = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            spent[part] += time.perf_counter() - start

    return call


def run(name: str, steps: int, *patches, **overrides: Any) -> dict[str, float]:
    """Train by the recipe `name` for some steps of all its phases, and say where the seconds went.

    Evaluations are left out, since how often one evaluates is a choice.
    """
    spent: Counter = Counter()
    recipe = replace(load_recipe(name, method="mgpp"), max_steps=steps, save_model=False, **overrides)
    with ExitStack() as stack, TemporaryDirectory() as folder:
        for each in patches:
            stack.enter_context(each)
        for part, owner, method in PARTS:
            stack.enter_context(patch.object(owner, method, timed(spent, part, getattr(owner, method))))
        stack.enter_context(patch.object(TextClassification, "evaluate", lambda *args, **kwargs: {}))
        stack.enter_context(patch("mgpp.lab.training.train.final_metrics", lambda *args: {}))
        stack.enter_context(patch.object(Pruner, "audit", lambda self: 0))
        train(recipe, Path(folder) / "run", progress=False)
    return {part: value / steps for part, value in spent.items()}


def shares(steps: int, recipe: str = "reviews", **overrides: Any) -> dict[str, dict[str, float]]:
    """Seconds a step of each part, ours and the textbook's, in the same training."""

    slow = (
        patch.object(Pruner, "before_step", textbook.before_step),
        patch.object(Pruner, "after_step", textbook.after_step),
        patch("mgpp.pruning.observer.layer_rows", textbook.layer_rows),
        patch("mgpp.pruning.observer.signed_counts", textbook.signed_counts),
    )
    return {"ours": run(recipe, steps, **overrides), "textbook": run(recipe, steps, *slow, **overrides)}


def steps_with_less_care(steps: int, recipe: str = "reviews", **overrides: Any) -> dict[str, float]:
    """Seconds of a training step, from careless batches to those of the recipe."""

    def pad_to_the_limit(task: TextClassification) -> DataCollatorWithPadding:
        return DataCollatorWithPadding(task.tokenizer, padding="max_length", max_length=load_recipe(recipe).max_length)

    fixed = patch.object(TextClassification, "collate", property(pad_to_the_limit))
    random = {"trainer": {"train_sampling_strategy": "random"}, "precision": "fp32"} | overrides
    found = {
        "every text padded to the limit": run(recipe, steps, fixed, **random),
        "padded to the longest of a random batch": run(recipe, steps, **random),
        "batches of similar lengths": run(recipe, steps, **{"precision": "fp32"} | overrides),
    }
    if native_bf16():
        found["batches of similar lengths, bf16 autocast"] = run(recipe, steps, **{"precision": "bf16"} | overrides)
    return {name: spent["training"] for name, spent in found.items()}
