import json
import math

import numpy as np
import pytest
import torch
from datasets import Dataset
from small_models import TEXTS, small_bart, small_bert, small_deberta, small_gpt2
from transformers import AutoTokenizer, Trainer, TrainingArguments

from mgpp.architectures import kind_of
from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks import TASKS, DataError, TaskSettings, language_modeling, sources
from mgpp.lab.tasks.language_modeling import blocks, hold_out, perplexity
from mgpp.pruning.targets import prunable_weights

LENGTH = 16


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    return small_gpt2(tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return small_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Texts with an empty one, and one that ends with a line break."""
    folder = tmp_path_factory.mktemp("texts")
    for split, times in (("train", 12), ("validation", 5), ("test", 5)):
        rows = [{"text": text} for text in (*TEXTS, "", "A line.\n") * times]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def load(name, source, data, length=LENGTH):
    return TASKS[name](AutoTokenizer.from_pretrained(source), TaskSettings(max_length=length, data=data))


def test_blocks_are_the_text_from_end_to_end(gpt2, data):
    task = load("clm", gpt2, data)
    running = "".join(f"{text}\n" for text in (*TEXTS, "", "A line.") * 5)
    tokens = task.tokenizer(running)["input_ids"]
    # the text is cut between texts before it is tokenized, which here changes no token
    found = task.splits["test"]["input_ids"][:]
    assert [token for block in found for token in block] == tokens[: len(tokens) // LENGTH * LENGTH]
    assert {len(block) for block in found} == {LENGTH}


def test_masked_blocks_begin_and_end_as_bert_reads(bert, data):
    task = load("mlm", bert, data)
    tokenizer = task.tokenizer
    found = task.splits["test"]["input_ids"][:]
    assert {(len(block), block[0], block[-1]) for block in found} == {
        (LENGTH, tokenizer.cls_token_id, tokenizer.sep_token_id)
    }
    inner = [token for block in found for token in block[1:-1]]
    tokens = tokenizer(" ".join((*TEXTS, "", "A line.") * 5), add_special_tokens=False)["input_ids"]
    assert inner == tokens[: len(inner)]
    assert len(tokens) - len(inner) < LENGTH - 2


def test_the_short_block_of_each_thousand_texts_is_dropped(gpt2):
    tokenizer = AutoTokenizer.from_pretrained(gpt2)
    end = tokenizer.eos_token
    found = blocks(Dataset.from_dict({"text": [""] * 1500}), tokenizer, 300, end=end)
    assert found["input_ids"][:] == [[tokenizer.eos_token_id] * 300] * (3 + 1)  # 1000 // 300 + 500 // 300


def test_causal_perplexity_is_the_models_own_loss(gpt2, data):
    task = load("clm", gpt2, data)
    model = task.load_model(gpt2)
    model.train()
    found = task.evaluate(model, "validation")
    assert model.training
    assert task.evaluate(model, "validation") == found
    model.eval()
    with torch.no_grad():
        losses = [float(model(**task.collate([row])).loss) for row in task.splits["validation"]]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["loss_se"] == pytest.approx(np.std(losses, ddof=1) / math.sqrt(len(losses)), rel=1e-3)
    assert found["perplexity"] == math.exp(found["loss"])
    assert found["perplexity_se"] == found["perplexity"] * found["loss_se"]
    assert found["n"] == len(losses)
    assert (task.metric, task.higher_is_better) == ("perplexity", False)


def test_a_model_that_knows_nothing_has_the_vocabulary_as_perplexity(gpt2, bert, data):
    for name, folder in (("clm", gpt2), ("mlm", bert)):
        task = load(name, folder, data)
        model = task.load_model(folder)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.zero_()
        assert task.evaluate(model, "test")["perplexity"] == pytest.approx(model.config.vocab_size, rel=1e-4)


@pytest.mark.parametrize("make", [small_bert, small_deberta])
def test_two_masked_evaluations_agree_bit_for_bit_and_leave_the_random_state_alone(make, data, tmp_path):
    make(tmp_path)
    task = load("mlm", tmp_path, data)
    model = task.load_model(tmp_path)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = task.evaluate(model, "validation")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert task.evaluate(model, "validation") == first


def test_masked_loss_is_over_the_chosen_tokens_and_other_batches_and_seeds_choose_anew(bert, data):
    task = load("mlm", bert, data)
    model = task.load_model(bert).eval()
    (batch,) = task._batches(task.splits["validation"])
    share = float((batch["labels"] != -100).float().mean())
    assert 0.08 < share < 0.2
    with torch.no_grad():
        assert task.evaluate(model, "validation")["loss"] == pytest.approx(float(model(**batch).loss), rel=1e-5)
    rows = [task.splits["train"][i] for i in range(8)]
    first, again, other_batch = task.collate(rows), task.collate(rows), task.collate(rows[::-1])
    assert torch.equal(first["labels"], again["labels"])  # so that a stopped training can go on
    assert not torch.equal(first["labels"], other_batch["labels"].flip(0))
    torch.manual_seed(7)
    assert not torch.equal(first["labels"], task.collate(rows)["labels"])
    special = (first["labels"] == task.tokenizer.cls_token_id) | (first["labels"] == task.tokenizer.sep_token_id)
    assert not special.any()


def test_models_that_see_what_they_predict_are_refused(bert, gpt2, data):
    """transformers loads BERT as a causal model, too, and only warns."""
    assert load("clm", gpt2, data).load_model(gpt2)
    with pytest.raises(RecipeError, match="mlm"):
        load("clm", bert, data).load_model(bert)


@pytest.mark.parametrize("name", ["clm", "mlm"])
def test_models_of_two_halves_are_refused(name, data, tmp_path):
    """In training BART's decoder would be given the labels, in evaluation the masked text."""
    bart = small_bart(tmp_path)
    with pytest.raises(RecipeError, match="encoder and a decoder"):
        load(name, bart, data).load_model(bart)


def test_evaluation_in_small_batches_is_the_same(gpt2, data, monkeypatch):
    task = load("clm", gpt2, data)
    model = task.load_model(gpt2)
    whole = task.evaluate(model, "test")
    monkeypatch.setattr(language_modeling, "EVALUATION_TOKENS", LENGTH)
    assert task.evaluate(model, "test") == pytest.approx(whole, rel=1e-5)


def test_perplexity_by_hand():
    found = perplexity([2.0, 4.0], [1, 1])  # mean losses 2 and 4: 3 ± 1
    assert found == pytest.approx(
        {"loss": 3, "loss_se": 1, "perplexity": math.exp(3), "perplexity_se": math.exp(3), "n": 2}
    )
    # blocks of 1 and 3 tokens: loss 8/4 = 2, residuals 2 - 2 and 6 - 6, so no spread
    assert perplexity([2.0, 6.0], [1, 3])["loss_se"] == 0
    assert perplexity([3.0], [3]) == {"loss": 1.0, "perplexity": math.e, "n": 1}
    assert perplexity([1e6], [1])["perplexity"] == math.inf


def test_the_standard_error_is_the_spread_of_repeated_samples():
    random = np.random.default_rng(0)
    counts = random.integers(1, 9, size=(400, 200))
    sums = counts * 2.0 + np.sqrt(counts) * random.normal(size=counts.shape)
    found = [perplexity(s.tolist(), c.tolist()) for s, c in zip(sums, counts, strict=True)]
    for name in ("loss", "perplexity"):
        spread = np.std([f[name] for f in found], ddof=1)
        assert np.mean([f[f"{name}_se"] for f in found]) == pytest.approx(spread, rel=0.1)


@pytest.mark.parametrize(("name", "kind"), [("clm", "gpt2"), ("mlm", "bert")])
def test_a_few_steps_of_the_trainer_lower_the_perplexity(name, kind, data, tmp_path, request):
    source = request.getfixturevalue(kind)
    task = load(name, source, data)
    model = task.load_model(source)
    before = task.evaluate(model, "validation")["perplexity"]
    arguments = TrainingArguments(
        str(tmp_path / "out"),
        max_steps=5,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        train_sampling_strategy="group_by_length",
    )
    Trainer(model, arguments, train_dataset=task.splits["train"], data_collator=task.collate).train()
    assert task.evaluate(model, "validation")["perplexity"] < before


def test_what_is_prunable_in_gpt2_are_all_matrices_of_attention_and_feed_forward(gpt2, data):
    model = load("clm", gpt2, data).load_model(gpt2)
    found = prunable_weights(model)
    matrices = {name for name, weight in model.named_parameters() if weight.dim() == 2 and ".h." in name}
    assert set(found) == matrices
    assert len(found) == 2 * 4
    assert "other" not in {kind_of(name) for name in found}


def test_what_is_wrong_is_said_with_the_way_out(gpt2, bert, data, tmp_path):
    with pytest.raises(RecipeError, match="max_length=256"):
        load("clm", gpt2, data, length=256)
    with pytest.raises(RecipeError, match="mask token"):
        load("mlm", gpt2, data)
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps({"text": "short"}))
    with pytest.raises(RecipeError, match="max_length=128.*train"):
        load("mlm", bert, tmp_path, length=128)
    (tmp_path / "train.jsonl").write_text(json.dumps({"words": "short"}))
    with pytest.raises(DataError, match="'text'"):
        load("clm", gpt2, tmp_path)


def test_from_the_hub_come_wikitext_and_wikipedia_cut_in_three(gpt2, bert, monkeypatch):
    asked = []
    texts = Dataset.from_dict({"text": list(TEXTS) * 100})

    def read(name, config, *, required=("train", "validation"), optional=("test",), **rest):
        asked.append((name, config))
        return dict.fromkeys((*required, *optional), texts), "hash"

    monkeypatch.setattr(sources, "read_splits", read)
    assert list(load("clm", gpt2, None).splits) == ["train", "validation", "test"]
    task = load("mlm", bert, None)
    assert asked == [("Salesforce/wikitext", "wikitext-103-raw-v1"), ("wikimedia/wikipedia", "20231101.en")]
    assert list(task.splits) == ["train", "validation", "test"]
    assert task.data_sha256 == "hash"
    assert [len(part) for part in hold_out(texts).values()] == [396, 2, 2]
