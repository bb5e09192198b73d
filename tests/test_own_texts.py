"""The task `text-classification`: data of one's own, in any form."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from conftest import make_tiny_bert
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from transformers import AutoTokenizer

from mgpp.lab.cli import main
from mgpp.lab.dry_run import plan_of
from mgpp.lab.models.packages import MINILM
from mgpp.lab.recipes.recipe import RecipeError, load_recipe
from mgpp.lab.tasks import DataError, TaskSettings, find_task
from mgpp.lab.tasks.errors import DataWarning
from mgpp.lab.tasks.own_columns import choose_label, choose_texts
from mgpp.lab.tasks.own_labels import Target, split_rows
from mgpp.lab.training.train import train

KINDS = ["praise", "bug", "question", "refund"]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(MINILM.locate().parent)


def table(labels=KINDS, rows=80):
    kinds = [labels[i % len(labels)] for i in range(rows)]
    return pd.DataFrame({"text": [f"a mail about {kind}, number {i}" for i, kind in enumerate(kinds)], "label": kinds})


def write(frame, file):
    match file.suffix:
        case ".csv":
            frame.to_csv(file, index=False)
        case ".jsonl":
            file.write_text("\n".join(json.dumps(row) for row in frame.to_dict("records")), encoding="utf-8")
        case ".parquet":
            frame.to_parquet(file)
        case _:
            Dataset.from_pandas(frame).save_to_disk(file)
    return file


def read(data, tokenizer, **settings):
    return find_task("text-classification")(tokenizer, TaskSettings(data=data, **settings))


@pytest.fixture
def read_whole(tokenizer, tmp_path):
    """Reads a frame as all three splits, so that nothing is split off."""

    def _read(frame, others=None, kind="jsonl", **settings):
        for split in ("train", "validation", "test"):
            write(frame if others is None or split == "train" else others, tmp_path / f"{split}.{kind}")
        return read(tmp_path, tokenizer, **settings)

    return _read


@pytest.mark.parametrize("name", ["my.csv", "my.jsonl", "my.parquet", "saved"])
def test_any_file_is_read_split_and_its_labels_sorted(tokenizer, tmp_path, name):
    file = write(table(), tmp_path / name)
    with pytest.warns(DataWarning, match="split_seed"):
        task = read(file, tokenizer)
    assert task.labels == ("bug", "praise", "question", "refund")
    assert task.metrics == ("accuracy", "macro_f1")
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 64, "validation": 8, "test": 8}
    assert np.bincount(task.splits["test"]["labels"]).tolist() == [2, 2, 2, 2]
    texts = [tokenizer.decode(ids) for split in task.splits.values() for ids in split["input_ids"]]
    assert len(set(texts)) == 80
    assert task.head_settings()["id2label"] == dict(enumerate(task.labels))
    with pytest.warns(DataWarning):
        again, other = read(file, tokenizer), read(file, tokenizer, split_seed=1)
    assert again.splits["test"]["input_ids"][:] == task.splits["test"]["input_ids"][:]
    assert other.splits["test"]["input_ids"][:] != task.splits["test"]["input_ids"][:]
    assert again.data_sha256 == task.data_sha256


def test_only_the_split_that_is_missing_is_split_off(tokenizer, tmp_path):
    write(table(), tmp_path / "train.csv")
    write(table(rows=12), tmp_path / "dev.jsonl")
    with pytest.warns(DataWarning, match="test"):
        task = read(tmp_path, tokenizer)
    assert {split: len(rows) for split, rows in task.splits.items()} == {"train": 72, "validation": 12, "test": 8}


def test_a_saved_data_set_keeps_the_order_of_its_classes(tokenizer, tmp_path):
    features = Features(
        {"premise": Value("string"), "hypothesis": Value("string"), "label": ClassLabel(names=["no", "maybe"])}
    )
    rows = {"premise": ["a", "b"], "hypothesis": ["c", "d"], "label": [0, 1]}
    data = Dataset.from_dict(rows, features=features)
    DatasetDict({"train": data, "validation": data, "test": data}).save_to_disk(tmp_path / "saved")
    task = read(tmp_path / "saved", tokenizer)
    assert task.texts == ("premise", "hypothesis")
    assert task.labels == ("no", "maybe")
    assert task.splits["train"]["labels"][:] == [0, 1]
    assert tokenizer.decode(task.splits["train"]["input_ids"][0]) == "[CLS] a [SEP] c [SEP]"


@pytest.mark.parametrize(
    ("values", "problem", "names", "number"),
    [
        (["b", "a"], "classification", ("a", "b"), 1),
        ([7, -1, 10], "classification", ("-1", "7", "10"), 1),
        (["10", "9"], "classification", ("9", "10"), 1),
        ([True, False], "classification", ("False", "True"), 1),
        ([0.5, 1.0], "regression", (), 0.5),
        (["2.0", "3"], "regression", (), 2.0),
        (["1e-3", "3"], "regression", (), 1e-3),
        ([["b", "a"], [], ["c"]], "multi-label", ("a", "b", "c"), [1, 1, 0]),
        (['["b", "a"]', '["c"]'], "multi-label", ("a", "b", "c"), [1, 1, 0]),
        ([[2, 5], [5]], "multi-label", ("2", "5"), [1, 1]),
        ([[1, 0, 0], [1, 1, 0]], "multi-label", ("0", "1", "2"), [1, 0, 0]),
    ],
)
def test_labels_are_what_they_look_like(values, problem, names, number):
    target = Target.of(values)
    assert (target.problem, target.names, target.number(values[0])) == (problem, names, number)


def test_the_recipe_decides_where_it_says_so():
    assert Target.of([1, 2, 3], "regression").number(2) == 2.0
    assert Target.of([1.0, 2.0], "classification").names == ("1", "2")
    assert choose_label(["a", "label", "b"], "a") == "a"
    assert choose_texts(["a", "b", "label"], ["b", "a"], "label") == ("b", "a")
    assert choose_label(["id", "text", "verdict"], None) == "verdict"
    assert choose_texts(["id", "words", "verdict"], None, "verdict") == ("words",)


@pytest.mark.parametrize(
    ("names", "settings", "field"),
    [
        (["x", "y2", "z"], {}, "label"),
        (["text", "label"], {"label": "lable"}, "text.label"),
        (["text", "label"], {"columns": ["txet"]}, "text.columns"),
        (["x", "y2", "label"], {}, "text.columns"),
    ],
)
def test_columns_that_can_not_be_told_are_asked_for(read_whole, names, settings, field):
    with pytest.raises(DataError, match=field):
        read_whole(pd.DataFrame({name: ["a", "b"] for name in names}), **settings)


def test_a_label_that_train_lacks_is_an_error_that_names_it(read_whole):
    with pytest.raises(DataError, match="complaint"):
        read_whole(table(), table(["bug", "complaint"]))
    with pytest.raises(DataError, match="label"):
        read_whole(table(["bug"]))


def test_rare_labels_stay_in_train():
    rows = split_rows(["a"] * 30 + ["b"] * 30 + ["c"], ["validation", "test"], seed=3)
    assert 60 in rows["train"]
    assert (len(rows["validation"]), len(rows["test"])) == (6, 6)
    assert sorted(row for chosen in rows.values() for row in chosen) == list(range(61))


@pytest.mark.parametrize("data", [None, "nowhere.csv"])
def test_data_that_are_not_there_are_asked_for(tokenizer, tmp_path, data):
    with pytest.raises(DataError, match="data"):
        read(data and tmp_path / data, tokenizer)
    with pytest.raises(DataError, match="data"):
        read(tmp_path, tokenizer)


def test_packaged_texts_name_the_task_for_own_data(tokenizer, tmp_path):
    for name, other in (("reviews", "text-classification"), ("film-qa", "squad"), ("reviews-lm", "clm")):
        with pytest.raises(DataError, match=f"data.*{other}"):
            find_task(name)(tokenizer, TaskSettings(data=tmp_path))


@pytest.mark.parametrize(
    ("labels", "problem", "metric"),
    [
        (KINDS, "single_label_classification", "accuracy"),
        ([0.5, 1.5, 4.0], "regression", "spearman"),
        ([["a"], ["a", "b"], []], "multi_label_classification", "micro_f1"),
    ],
)
def test_a_model_with_another_head_gets_a_fresh_one_and_is_measured(read_whole, tmp_path, labels, problem, metric):
    task = read_whole(table(labels))
    folder = tmp_path / "model"
    make_tiny_bert(num_labels=7).save_pretrained(folder)
    with pytest.warns(DataWarning, match="head"):
        model = task.load_model(str(folder))
    assert model.config.problem_type == problem
    assert model.config.num_labels == max(len(task.labels), 1)
    found = task.evaluate(model, "test")
    assert task.metric == metric
    assert {metric, "loss", "n"} <= found.keys()
    assert np.isfinite(list(found.values())).all()


def test_another_size_below_the_head_is_an_error(read_whole, tmp_path):
    task, folder = read_whole(table()), tmp_path / "model"
    make_tiny_bert(num_labels=4).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(RecipeError, match="intermediate"):
        task.load_model(str(folder))


def test_multi_label_predictions_are_scored(read_whole):
    task = read_whole(table([["a"], ["b"]]))
    model = make_tiny_bert(num_labels=2, problem_type="multi_label_classification")
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.tensor([5.0, -5.0]))  # always a, never b
    assert task.evaluate(model, "test")["micro_f1"] == 0.5
    assert task.evaluate(model, "test")["macro_f1"] == pytest.approx(1 / 3)


@pytest.mark.filterwarnings("default::mgpp.lab.tasks.errors.DataWarning")
def test_the_command_trains_on_a_file(tiny_model_folder, tmp_path):
    file = write(table().rename(columns={"text": "body", "label": "kind"}), tmp_path / "my.csv")
    short = ["max_steps=6", "threads=1", "log.every=2", "log.histograms_every=6", "log.evaluate_every=6"]
    words = ["text-classification", "--data", str(file), "--model", str(tiny_model_folder)]
    words += [word for setting in short for word in ("--set", setting)]
    done = CliRunner().invoke(main, ["train", *words, "--out", str(tmp_path / "run")], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "split_seed" in done.output
    config = json.loads((tmp_path / "run" / "checkpoints" / "final" / "config.json").read_text())
    assert list(config["label2id"]) == sorted(KINDS)
    planned = CliRunner().invoke(main, ["train", *words, "--dry-run"], catch_exceptions=False)
    assert "64 to train on" in planned.output


def test_a_dry_run_counts_the_labels(tiny_model_folder, tmp_path):
    recipe = load_recipe(
        "text-classification", model=str(tiny_model_folder), data=str(write(table(), tmp_path / "my.csv"))
    )
    with pytest.warns(DataWarning):
        plan = plan_of(recipe)
    assert (plan.examples, plan.parameters) == (64, make_tiny_bert(num_labels=4).num_parameters())


def test_runs_of_other_seeds_share_their_data(tiny_model_folder, tmp_path):
    file = write(table(), tmp_path / "my.csv")
    settings = {"model": str(tiny_model_folder), "data": str(file), "max_steps": 4, "save_model": False, "threads": 1}
    settings |= {"sparsity.warmup": 1, "sparsity.frozen": 1}
    runs = []
    for seed in (0, 1):
        recipe = load_recipe("text-classification", seed=seed, **settings)
        with pytest.warns(DataWarning):
            runs.append(train(recipe, tmp_path / f"{seed}", progress=False))
    assert runs[0].info["sha256"] == runs[1].info["sha256"]
    assert runs[0].info["examples"] == {"train": 64, "validation": 8, "test": 8}
