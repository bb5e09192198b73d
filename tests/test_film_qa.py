import re

import pytest
import torch
from small_models import small_bert
from transformers import AutoTokenizer

from mgpp.lab.models.packages import MINILM
from mgpp.lab.tasks import TASKS, TaskSettings, film_qa, reviews


@pytest.fixture(scope="module")
def table():
    return film_qa.read()


@pytest.fixture(scope="module")
def task():
    tokenizer = AutoTokenizer.from_pretrained(MINILM.locate().parent)
    return TASKS["film-qa"](tokenizer, TaskSettings(max_length=64, stride=16))


def test_counts(table):
    assert len(table) == 2071
    assert table["film"].nunique() == 596
    assert table["category"].value_counts().to_dict() == {"fresh": 1062, "rotten": 743, "plot": 266}
    assert table["split"].value_counts().to_dict() == {"train": 1591, "validation": 143, "test": 337}


def test_every_answer_is_the_films_title_where_the_text_has_it(table):
    for row in table.itertuples():
        assert row.text[row.start : row.start + len(row.answer)] == row.answer
        assert row.answer.lower() == row.film.replace("_", " ").lower()
        assert row.answer.lower() not in re.findall(r"\w+", row.text[: row.start].lower())
        assert re.search(r"[^\W\d_]", row.answer), "a title without a letter"
    assert not table["text"].duplicated().any()


def test_no_film_is_in_two_parts_and_parts_are_those_of_the_reviews(table):
    assert (table.groupby("film")["split"].nunique() == 1).all()
    parts = reviews.read().drop_duplicates("film").set_index("film")["split"]
    shared = table[table["film"].isin(parts.index)]
    assert len(shared) > 1500
    assert (shared["split"] == shared["film"].map(parts)).all()


def test_windows_point_at_the_title(task, table):
    for split, questions in task.questions.items():
        assert len(questions) == (table["split"] == split).sum()
        held = set()
        for row in task.splits[split]:
            assert len(row["input_ids"]) <= 64
            first, last = row["start_positions"], row["end_positions"]
            question = questions[row["question"]]
            if first:
                held.add(row["question"])
                assert question.context[row["begin"][first] : row["end"][last]] == question.answers[0][0]
        assert len(held) == len(questions), "a title that no window holds"


def test_a_model_trains_and_is_evaluated(task, tmp_path):
    small = TASKS["film-qa"](
        AutoTokenizer.from_pretrained(small_bert(tmp_path)), TaskSettings(max_length=128, stride=32)
    )
    model = small.load_model(str(tmp_path))
    loss = model(**small.collate([small.splits["train"][i] for i in range(4)])).loss
    loss.backward()
    assert torch.isfinite(loss)
    found = small.evaluate(model, "validation")
    assert found["n"] == 143
    assert 0 <= found["exact_match"] <= found["f1"] < 0.5
    assert "f1_no_answer" not in found
