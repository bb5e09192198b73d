import json

import numpy as np
import pandas as pd
import pytest
import torch
from small_models import small_bert, small_deberta
from transformers import AutoTokenizer

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks import TASKS, DataError, TaskSettings

TEXTS = ["A man plays.", "The quick fox, jumping over dogs, likes Paris.", "dull", 'She said "no", then left.']
METRICS = {
    "cola": "matthews",
    "sst2": "accuracy",
    "mrpc": "f1",
    "stsb": "spearman",
    "qqp": "f1",
    "mnli": "accuracy",
    "qnli": "accuracy",
    "rte": "accuracy",
    "wnli": "accuracy",
}
SETTINGS = {"max_length": 24}
GLUE = {name.removeprefix("glue-"): task for name, task in TASKS.items() if name.startswith("glue-")}


@pytest.fixture(scope="module", params=["bert", "deberta"])
def model_folder(request, tmp_path_factory):
    build = {"bert": small_bert, "deberta": small_deberta}[request.param]
    return build(tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory):
    return small_bert(tmp_path_factory.mktemp("bert"))


def table(name, n=12, labels=None):
    """Rows as the hub has them."""
    task = GLUE[name]
    rows = {column: [TEXTS[(i + j) % 4] for i in range(n)] for j, column in enumerate(task.texts)}
    if labels is None:
        labels = [i % len(task.labels) for i in range(n)] if task.labels else [i % 11 / 2 for i in range(n)]
    return pd.DataFrame(rows | {"label": labels, "idx": range(n)})


def write(folder, name, kind="parquet", **splits):
    folder.mkdir(exist_ok=True)
    middle = ["validation_matched", "validation_mismatched"] if name == "mnli" else ["validation"]
    tables = {split: table(name) for split in ("train", *middle)} | splits
    for split, rows in tables.items():
        match kind:
            case "parquet":
                rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")
            case "csv":
                rows.to_csv(folder / f"{split}.csv", index=False)
            case "jsonl":
                rows.to_json(folder / f"{split}.jsonl", orient="records", lines=True)
    return folder


def load(name, model_folder, data):
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    return TASKS[f"glue-{name}"](tokenizer, TaskSettings(data=data, **SETTINGS))


@pytest.mark.parametrize("name", GLUE)
def test_every_task_loads_trains_a_step_and_evaluates(name, model_folder, tmp_path):
    task = load(name, model_folder, write(tmp_path, name))
    model = task.load_model(str(model_folder))
    assert model.dtype == torch.float32
    assert model.config.num_labels == (len(GLUE[name].labels) or 1)
    batch = task.collate([task.splits["train"][i] for i in range(5)])
    loss = model(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert batch["input_ids"].shape[1] <= 24
    found = task.evaluate(model, "validation")
    assert task.metric == METRICS[name]
    assert task.higher_is_better
    assert found["n"] == 12
    assert all(-1 <= found[metric] <= 1 for metric in task.metrics)
    assert found == task.evaluate(model, "validation")
    assert "test" not in task.splits


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
@pytest.mark.parametrize("name", ["sst2", "stsb", "mnli"])
def test_formats_are_alike(name, kind, bert_folder, tmp_path):
    first = load(name, bert_folder, write(tmp_path / "a", name))
    other = load(name, bert_folder, write(tmp_path / "b", name, kind))
    for split, rows in first.splits.items():
        assert other.splits[split].to_list() == rows.to_list()
    assert first.data_sha256 != other.data_sha256


def test_pairs_are_two_segments_in_the_order_of_the_columns(bert_folder, tmp_path):
    task = load("qnli", bert_folder, write(tmp_path, "qnli"))
    row = task.splits["train"][0]
    assert task.tokenizer.decode(row["input_ids"]).replace(" ", "").startswith("[CLS]amanplays.[SEP]thequick")
    assert row["token_type_ids"][0] == 0
    assert row["token_type_ids"][-1] == 1


def test_labels_may_be_names(bert_folder, tmp_path):
    names = GLUE["wnli"].labels
    rows = table("wnli", labels=[names[i % 2] for i in range(12)])
    task = load("wnli", bert_folder, write(tmp_path, "wnli", "csv", train=rows))
    assert task.splits["train"]["labels"][:] == [0, 1] * 6
    assert task.labels == names == ("not_entailment", "entailment")


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("rte", 2),
        ("rte", -1),
        ("rte", "maybe"),
        ("stsb", 5.5),
        ("stsb", -1),
        ("stsb", float("inf")),
    ],
)
def test_a_label_out_of_range_is_named(name, label, bert_folder, tmp_path):
    labels = table(name)["label"].astype(object)
    labels[3] = label
    data = write(tmp_path, name, "csv", train=table(name, labels=labels))
    with pytest.raises(DataError, match=f"row 3 .*'train'.*label='{label}'"):
        load(name, bert_folder, data)


def test_texts_longer_than_the_model_reads_are_refused(bert_folder, tmp_path):
    with pytest.raises(RecipeError, match="max_length=129"):
        TASKS["glue-rte"](AutoTokenizer.from_pretrained(bert_folder), TaskSettings(max_length=129, data=tmp_path))


def test_hidden_test_labels_make_no_test_split_and_known_ones_do(bert_folder, tmp_path):
    hidden, known = table("cola", labels=[-1] * 12), table("cola", 7)
    assert set(load("cola", bert_folder, write(tmp_path, "cola", test=hidden)).splits) == {"train", "validation"}
    assert len(load("cola", bert_folder, write(tmp_path, "cola", test=known)).splits["test"]) == 7
    known.loc[2, "label"] = -1
    with pytest.raises(DataError, match="row 2 .*'test'.*label=-1"):
        load("cola", bert_folder, write(tmp_path, "cola", test=known))


def test_mnli_is_evaluated_matched_and_mismatched(bert_folder, tmp_path):
    matched, mismatched = table("mnli", 8, labels=[0, 0, 0, 0, 0, 0, 1, 2]), table("mnli", 4, labels=[0, 1, 1, 2])
    splits = {"validation_matched": matched, "validation_mismatched": mismatched, "test_matched": table("mnli", 3)}
    task = load("mnli", bert_folder, write(tmp_path, "mnli", **splits))
    model = always_says(0, task.load_model(str(bert_folder)))
    found = task.evaluate(model, "validation")
    assert (found["accuracy"], found["n"]) == (0.75, 8)
    assert (found["accuracy_mismatched"], found["n_mismatched"]) == (0.25, 4)
    assert found["accuracy_mismatched_se"] == pytest.approx(np.sqrt(0.25 * 0.75 / 4))
    assert "accuracy_mismatched" not in task.evaluate(model, "test")
    assert set(task.splits) == {"train", "validation", "validation_mismatched", "test"}


def test_regression_by_hand(bert_folder, tmp_path):
    task = load("stsb", bert_folder, write(tmp_path, "stsb"))
    model = task.load_model(str(bert_folder))
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.fill_(2)
    found = task.evaluate(model, "validation")
    scores = np.array(task.splits["validation"]["labels"][:])
    assert found["loss"] == pytest.approx(np.square(scores - 2).mean())
    assert found["spearman"] == found["pearson"] == 0  # constant predictions


def test_a_collapsed_model_gives_numbers(bert_folder, tmp_path):
    for name in ("cola", "mrpc"):
        task = load(name, bert_folder, write(tmp_path / name, name))
        found = task.evaluate(always_says(0, task.load_model(str(bert_folder))), "validation")
        assert found[task.metric] == 0
        assert json.loads(json.dumps(found, allow_nan=False)) == found


def always_says(number, model):
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.zero_()
        model.classifier.bias[number] = 1
    return model


def test_the_model_knows_the_names_of_its_classes(bert_folder, tmp_path):
    task = load("rte", bert_folder, write(tmp_path, "rte"))
    assert task.load_model(str(bert_folder)).config.id2label == {0: "entailment", 1: "not_entailment"}


def test_bf16_evaluation_restores_the_mode(bert_folder, tmp_path):
    for name in ("rte", "stsb"):
        task = load(name, bert_folder, write(tmp_path / name, name))
        model = task.load_model(str(bert_folder)).train()
        assert task.evaluate(model, "validation", bf16=True)["loss"] == pytest.approx(
            task.evaluate(model, "validation")["loss"], rel=0.05
        )
        assert model.training
