import json

import pytest
import torch
from small_models import TEXTS, small_bart, small_bert
from transformers import AutoTokenizer, Trainer, TrainingArguments

from mgpp.architectures import kind_of
from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks import TASKS, DataError, TaskSettings, rouge, summarization
from mgpp.pruning.targets import prunable_weights

ARTICLES = [text * (1 + i % 3) for i, text in enumerate(TEXTS * 3)]
SUMMARIES = [
    "A fox jumps.\nA dog is lazy.",
    "The crowd likes a guitar.",
    "A woman wrote it in Paris.",
    "A dull film.",
] * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_bart(tmp_path_factory.mktemp("bart"))


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def write_data(folder, columns):
    for split, n in (("train", 12), ("validation", 5), ("test", 4)):
        rows = [dict(zip(columns, pair, strict=True)) for pair in zip(ARTICLES[:n], SUMMARIES[:n], strict=True)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


@pytest.fixture(params=[("xsum", "document", "summary"), ("cnn-dailymail", "article", "highlights")])
def task(request, tmp_path, tokenizer):
    name, *columns = request.param
    data = write_data(tmp_path, columns)
    return TASKS[name](tokenizer, TaskSettings(max_length=24, target_length=8, beams=2, data=data))


def test_lengths_and_references(task, tokenizer):
    assert {split: len(data) for split, data in task.splits.items()} == {"train": 12, "validation": 5, "test": 4}
    assert max(map(len, task.splits["train"]["input_ids"])) == 24
    assert max(map(len, task.splits["train"]["labels"])) == 8
    row = task.splits["train"][0]
    assert row["labels"] == [*tokenizer(SUMMARIES[0])["input_ids"][:7], tokenizer.eos_token_id]
    assert row["reference"] == SUMMARIES[0]


def test_a_batch_pads_labels_with_what_no_loss_counts_and_the_model_shifts_them(task, folder):
    model = task.load_model(folder).eval()
    rows = [task.splits["train"][i] for i in (0, 3)] + [{**task.splits["train"][1], "labels": [0, 9, 2]}]
    batch = task.collate(rows)
    assert set(batch) == {"input_ids", "attention_mask", "labels"}
    assert batch["labels"][2].tolist() == [0, 9, 2] + [-100] * 5
    shifted = model.prepare_decoder_input_ids_from_labels(batch["labels"])
    assert shifted[2].tolist() == [model.config.decoder_start_token_id, 0, 9, 2] + [model.config.pad_token_id] * 4
    with torch.no_grad():
        assert model(**batch).loss == model(**batch, decoder_input_ids=shifted).loss


def test_the_loss_counts_every_token_of_the_references_once(task, folder):
    model = task.load_model(folder)
    found = task.evaluate(model, "validation")
    model.eval()
    total, tokens = 0.0, 0
    with torch.no_grad():
        for row in task.splits["validation"]:
            count = len(row["labels"])
            total, tokens = total + float(model(**task.collate([row])).loss) * count, tokens + count
    assert found["loss"] == pytest.approx(total / tokens, rel=1e-5)
    assert found["n"] == 5


def test_evaluation_is_deterministic_and_keeps_the_mode(task, folder):
    model = task.load_model(folder)
    model.train()
    first = task.evaluate(model, "test")
    assert task.evaluate(model, "test") == first
    assert model.training
    assert {task.metric, f"{task.metric}_se", "rouge1", "rougeL", "rougeLsum", "loss", "n"} <= set(first)
    assert task.higher_is_better


def test_scores_are_of_what_beam_search_writes_in_the_rows_order(task, folder, monkeypatch):
    model = task.load_model(folder)
    heard = {}

    def hear(written, references):
        heard.update(zip(references, written, strict=True))
        return {}

    monkeypatch.setattr(rouge, "rouge", hear)
    task.evaluate(model, "test")
    model.eval()
    for row in task.splits["test"]:
        tokens = torch.tensor([row["input_ids"]])
        written = model.generate(tokens, num_beams=2, do_sample=False, max_new_tokens=8)
        assert written.shape[1] <= 1 + 8
        assert heard[row["reference"]] == task.tokenizer.decode(written[0], skip_special_tokens=True)


def test_a_model_that_copies_the_reference_scores_one(task, folder, monkeypatch):
    model = task.load_model(folder)
    told = {}
    for row in task.splits["test"]:
        told[task.tokenizer.decode(row["labels"], skip_special_tokens=True)] = row["reference"]

    def write(self, model, batch):
        labels = batch["labels"].masked_fill(batch["labels"] == -100, task.tokenizer.pad_token_id)
        return [told[text] for text in task.tokenizer.batch_decode(labels, skip_special_tokens=True)]

    monkeypatch.setattr(summarization.Summarization, "write", write)
    found = task.evaluate(model, "test")
    assert found["rouge1"] == found["rouge2"] == found["rougeLsum"] == pytest.approx(1)


def test_two_steps_of_the_trainer_change_the_loss(task, folder, tmp_path):
    torch.manual_seed(0)
    model = task.load_model(folder)
    before = task.evaluate(model, "validation")["loss"]
    arguments = TrainingArguments(
        str(tmp_path / "out"),
        max_steps=2,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="group_by_length",
    )
    Trainer(model, arguments, train_dataset=task.splits["train"], data_collator=task.collate).train()
    assert task.evaluate(model, "validation")["loss"] < before


def test_what_is_prunable_in_bart_are_all_matrices_of_attention_and_feed_forward(task, folder):
    model = task.load_model(folder)
    found = prunable_weights(model)
    linear = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and "layers" in name
    }
    assert set(found) == linear
    assert len(found) == 2 * (4 + 2) + 2 * (4 + 4 + 2)
    assert "other" not in {kind_of(name) for name in found}


def test_an_encoder_alone_can_not_summarize(task, tmp_path):
    with pytest.raises(ValueError, match="AutoModelForSeq2SeqLM"):
        task.load_model(str(small_bert(tmp_path)))


def test_what_is_wrong_is_said_first(tokenizer, tmp_path, monkeypatch):
    write_data(tmp_path, ("document", "summary"))
    with pytest.raises(RecipeError, match="max_length=129"):
        TASKS["xsum"](tokenizer, TaskSettings(max_length=129, data=tmp_path))
    with pytest.raises(RecipeError, match="target_length=500"):
        TASKS["xsum"](tokenizer, TaskSettings(target_length=500, data=tmp_path))
    with pytest.raises(DataError, match="article"):
        TASKS["cnn-dailymail"](tokenizer, TaskSettings(data=tmp_path))
    monkeypatch.setattr(summarization, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match="rouge-score"):
        TASKS["xsum"](tokenizer, TaskSettings(data=tmp_path))
