"""Fixtures shared by all tests: seeds, closed figures, a tiny BERT, a tiny run."""

import gc
import os
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "agg")

import matplotlib.pyplot as plt
import pytest
import torch
from hypothesis import settings
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

from mgpp.lab.models.packages import MINILM
from mgpp.lab.recipes.recipe import Recipe, load_recipe
from mgpp.lab.tasks import reviews
from mgpp.lab.training.train import train
from mgpp.runs import load_run

collect_ignore = ["benchmarks", "reliability"]  # run by `make bench` and `make reliability`, and in small by tests

# The longest first, so that of several processes none is left alone with a long file at the end.
LONGEST = (
    "any_transformer",
    "methods_and_tasks",
    "launchers",
    "distributed",
    "notebooks",
    "sweep",
    "benchmarks",
    "served",
    "browser",
)
LONGEST += (
    "resume",
    "record",
    "own_texts",
    "shards",
    "faults",
    "trust",
    "workshop",
    "cli",
    "train",
    "failure_gallery",
    "figures",
    "dry_run",
    "movies",
)

# no deadline: a slow machine is no failure; in CI the same examples every time
settings.register_profile("mgpp", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("mgpp")


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(Path(item.nodeid.partition("::")[0]).stem, len(rank)))


def pytest_collection_finish():
    """Take what was imported out of the garbage collector, which trainings call and which else looks at all of it."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_loss_of_power():
    """Don't wait for the disk; what the scripts of `reliability` start does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True)
def _clean_state():
    torch.manual_seed(0)
    yield
    plt.close("all")


def make_tiny_bert(**config) -> BertForSequenceClassification:
    """Two layers, hidden size 32, with MiniLM's vocabulary."""
    settings = {
        "vocab_size": 30522,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "num_labels": 2,
    }
    return BertForSequenceClassification(BertConfig(**settings | config))


@pytest.fixture
def tiny_bert():
    return make_tiny_bert()


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory):
    """A tiny model on disk, in the form that `model:` of a recipe takes."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    torch.manual_seed(0)
    make_tiny_bert().save_pretrained(folder)
    AutoTokenizer.from_pretrained(MINILM.locate().parent).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_recipe(tiny_model_folder) -> Recipe:
    """Thirty steps of pruning on the tiny model."""
    return load_recipe(
        "reviews-quick",
        model=str(tiny_model_folder),
        max_steps=30,
        threads=1,
        precision="fp32",
        **{"log.evaluate_every": 10, "log.histograms_every": 10, "log.trajectories": 20, "log.every": 5},
    )


@pytest.fixture(scope="session")
def _read_few():
    """Reads two hundred reviews of each split, where the package is as it should be."""
    few = reviews.read().groupby("split").head(200)
    return lambda: reviews.REVIEWS.locate() and few


@pytest.fixture
def few_reviews(_read_few, monkeypatch):
    """As if there were no more: a tiny model would be evaluated far longer than it is trained."""
    monkeypatch.setattr(reviews, "read", _read_few)


@pytest.fixture(scope="session")
def tiny_runs_folder(tiny_recipe, _read_few, tmp_path_factory):
    """Logged runs of mgpp, l2 and dense with two seeds of mgpp, on few reviews."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reviews, "read", _read_few)
        for overrides in ({"method": "mgpp"}, {"method": "mgpp", "seed": 1}, {"method": "l2"}, {"method": "dense"}):
            recipe = replace(tiny_recipe, **overrides)
            train(recipe, folder / recipe.run_name, progress=False)
    return folder


@pytest.fixture(scope="session")
def tiny_run(tiny_runs_folder):
    return load_run(tiny_runs_folder / "reviews-quick-mgpp-0.9-seed0")
