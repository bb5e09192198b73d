import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mgpp.lab.models import made_models
from mgpp.lab.models.made_models import MADE_MODELS, MadeGpt2, locate, train_tokenizer
from mgpp.lab.tasks import TASKS, TaskSettings, reviews_lm
from mgpp.lab.tasks.reviews import split_of
from mgpp.pruning.targets import prunable_weights

TINY = MadeGpt2(vocabulary=300, length=32, width=16, layers=1, heads=2, epochs=1, batch_size=8, learning_rate=1e-2)


@pytest.fixture(scope="module")
def table():
    return reviews_lm.read()


@pytest.fixture(scope="module")
def few_films(table):
    """The texts of a few films, so that training takes no time."""
    films = sorted(table["film"].unique())[:20]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reviews_lm, "read", lambda: table[table["film"].isin(films)])
        patch.setitem(MADE_MODELS, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def made(few_films, tmp_path_factory):
    return locate("tiny", tmp_path_factory.mktemp("made"), progress=False)


def test_counts(table):
    assert len(table) == 13_905 - 70  # 69 are duplicates or missing, one more is the missing text itself
    assert not table["text"].isna().any()
    assert not table["text"].duplicated().any()
    assert table["split"].value_counts().to_dict() == {"train": 10_517, "test": 2_171, "validation": 1_147}


def test_no_film_is_in_two_parts(table):
    assert (table.groupby("film")["split"].nunique() == 1).all()
    assert (table["film"].map(split_of) == table["split"]).all()


def test_texts_end_with_the_end_of_text_token(few_films):
    tokenizer = train_tokenizer(["a film"], 300, 64)
    task = TASKS["reviews-lm"](tokenizer, TaskSettings(max_length=32))
    assert list(task.splits) == ["train", "validation", "test"]
    texts = reviews_lm.read()
    first = texts["text"][texts["split"] == "test"].iloc[:2].tolist()
    tokens = [token for block in task.splits["test"]["input_ids"][:] for token in block]
    assert tokenizer.decode(tokens).startswith("<|endoftext|>".join([*first, ""]))


def test_the_tokenizer_is_always_the_same_and_loses_nothing(table, tmp_path):
    texts = table["text"].iloc[:300]
    tokenizer = train_tokenizer(texts, 400, 128)
    assert len(tokenizer) == 400
    assert train_tokenizer(texts, 400, 128).get_vocab() == tokenizer.get_vocab()
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in ("Amélie, 8½ — “naïve”!", "  two  blanks\n\n\ttab"):
        tokens = loaded(text)["input_ids"]
        assert tokens == tokenizer(text)["input_ids"]
        assert loaded.decode(tokens, clean_up_tokenization_spaces=False) == text
    assert loaded.model_max_length == 128
    assert (loaded.eos_token, loaded.eos_token_id) == ("<|endoftext|>", 0)


def test_the_model_is_made_once_and_the_same_again(made, tmp_path, capsys, monkeypatch):
    assert [path.name for path in made.parent.iterdir()] == [f"tiny-{TINY.fingerprint}"]
    again = locate("tiny", tmp_path, progress=True)
    assert "trained on the film texts first, once" in capsys.readouterr().err
    assert (again / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
    monkeypatch.setattr(made_models, "make", None)
    assert locate("tiny", made.parent) == made
    assert capsys.readouterr().err == ""


def test_the_made_model_has_learned_and_says_how_well(made):
    task = TASKS["reviews-lm"](AutoTokenizer.from_pretrained(made), TaskSettings(max_length=32))
    model = task.load_model(str(made))
    facts = json.loads((made / "made.json").read_text())
    assert facts["settings"]["seed"] == 0
    assert task.evaluate(model, "test") == facts["test"]
    torch.manual_seed(0)
    untrained = AutoModelForCausalLM.from_config(model.config)
    assert facts["validation"]["perplexity"] < 0.5 * task.evaluate(untrained, "validation")["perplexity"]


def test_an_interrupted_making_leaves_nothing(few_films, tmp_path, monkeypatch):
    def fail(settings, folder, *, progress):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(made_models, "make", fail)
    with pytest.raises(KeyboardInterrupt):
        locate("tiny", tmp_path, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_other_settings_are_another_model():
    assert MadeGpt2(seed=1).fingerprint != MadeGpt2().fingerprint == MADE_MODELS["reviews-gpt2"].fingerprint


def test_the_size_that_the_docstring_says():
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(MadeGpt2().config())
    assert sum(weight.numel() for weight in model.parameters()) == 2_590_848
    assert sum(weight.numel() for weight in prunable_weights(model).values()) == 1_769_472
    assert "2,590,848" in MadeGpt2.__doc__
    assert "1,769,472" in MadeGpt2.__doc__
