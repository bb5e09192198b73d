import json
from dataclasses import replace

import pytest
from no_network import no_network  # noqa: F401
from small_models import small_bert, small_gpt2

from mgpp import RecipeError, load_recipe
from mgpp.lab.examples import RUNNING_TEXT, count_examples, known_examples
from mgpp.lab.tasks import reviews
from mgpp.lab.tasks.sources import DataError

pytestmark = pytest.mark.usefixtures("no_network")


def write_rte(folder, train=5, validation=3):
    """Local files in the hub's format: all sentences of the same words."""
    folder.mkdir(exist_ok=True)
    row = {"sentence1": "A man is playing.", "sentence2": "The crowd likes it.", "label": 1}
    for split, count in (("train", train), ("validation", validation)):
        (folder / f"{split}.jsonl").write_text("\n".join([json.dumps(row)] * count))
    return folder


def with_data(name, folder, **overrides):
    """A recipe with texts from a folder."""
    return replace(load_recipe(name, **overrides), data=str(folder))


def test_published_sizes():
    examples = count_examples(load_recipe("glue-mnli-bert"))
    assert (examples.train, examples.validation, examples.final) == (392_702, 9_815 + 9_832, 9_815 + 9_832)
    assert (examples.source, examples.target, examples.origin) == (128, 0, "the published size")
    assert "upper bound" in examples.assumption


def test_what_is_known_without_a_tokenizer_is_exact():
    assert known_examples("reviews", None) == (reviews.read()["split"] == "train").sum()
    assert (known_examples("xsum", None), known_examples("mlm", None), known_examples("xsum", "here")) == (
        204_045,
        None,
        None,
    )


def test_question_answering_trains_on_windows():
    assert count_examples(load_recipe("squad-bert")).train == 88_524


def test_summaries_have_a_length_of_their_own():
    recipe = load_recipe("xsum-bart", **{"text.target_length": 50})
    assert (count_examples(recipe).source, count_examples(recipe).target) == (recipe.max_length, 50)


def test_packaged_texts_are_counted():
    examples = count_examples(load_recipe("reviews"))
    assert (examples.train, examples.validation, examples.final) == (9_706, 1_046, 3_046)
    assert examples.origin == "counted"
    assert 20 < examples.source < 40  # of at most 64


def test_a_folder_of_ones_own_is_counted(tmp_path):
    model, data = small_bert(tmp_path / "model"), write_rte(tmp_path / "data")
    examples = count_examples(with_data("glue-rte-bert", data, model=str(model)))
    assert (examples.train, examples.validation, examples.final, examples.origin) == (5, 3, 3, "counted")
    assert examples.source < 128


def test_without_the_tokenizer_the_published_size_stands_in(tmp_path):
    recipe = with_data("glue-rte-bert", write_rte(tmp_path / "data"), model="some/model")
    examples = count_examples(recipe)
    assert examples.train == 2_490
    assert examples.origin.startswith("the published size; data='")
    assert examples.origin.endswith("were not counted: the tokenizer of model='some/model' is not here")
    with pytest.raises(DataError, match="nowhere' is no folder"):
        count_examples(with_data("glue-rte-bert", tmp_path / "nowhere", model="some/model"))


def test_a_folder_that_is_none_is_refused_before_anything_else(tmp_path):
    recipe = with_data("glue-rte-bert", tmp_path / "nowhere", model=str(small_bert(tmp_path / "m")))
    with pytest.raises(DataError, match="nowhere"):
        count_examples(recipe)


def test_running_text_is_assumed_until_it_is_given(tmp_path):
    examples = count_examples(load_recipe("clm-gpt2"))
    assert examples.train == 118_000_000 // 512 == RUNNING_TEXT["clm"]["train"] // 512
    assert "assumed: 118,000,000 tokens" in examples.origin
    assert (examples.validation, examples.final) == (250_000 // 512, 250_000 // 512 + 282_000 // 512)
    for split in ("train", "validation"):
        (tmp_path / f"{split}.jsonl").write_text("\n".join([json.dumps({"text": "What a film, dull again!"})] * 40))
    model = small_gpt2(tmp_path / "model")
    counted = count_examples(with_data("clm-gpt2", tmp_path, model=str(model), max_length=16))
    assert (counted.origin, counted.source) == ("counted", 16)
    assert 0 < counted.train < 200


def test_an_unknown_task_is_named():
    with pytest.raises(RecipeError, match="task='glue-mnly' is unknown; did you mean 'glue-mnli'"):
        count_examples(load_recipe("reviews", task="glue-mnly"))


def test_packaged_texts_need_a_tokenizer():
    with pytest.raises(RecipeError, match="can't be counted without the tokenizer of model='some/model'"):
        count_examples(load_recipe("reviews", model="some/model"))
