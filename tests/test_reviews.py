import math

import pytest
import torch

from mgpp.lab.tasks import TASKS, TaskSettings, reviews


@pytest.fixture(scope="module")
def table():
    return reviews.read()


def test_counts(table):
    assert len(table) == 12_808 - 56
    assert table["film"].nunique() == 507  # of 508, one film is listed twice under two names
    assert not table["text"].duplicated().any()
    assert set(table["label"]) == {0, 1}


def test_no_film_is_in_two_parts(table):
    assert (table.groupby("film")["split"].nunique() == 1).all()
    shares = table["split"].value_counts(normalize=True)
    assert shares["train"] == pytest.approx(0.75, abs=0.03)
    assert shares["validation"] > 0.05
    assert shares["test"] > 0.12


def test_accuracy_by_hand(tiny_bert):
    from transformers import AutoTokenizer

    from mgpp.lab.models.packages import MINILM

    task = TASKS["reviews"](AutoTokenizer.from_pretrained(MINILM.locate().parent), TaskSettings(max_length=16))
    with torch.no_grad():
        tiny_bert.classifier.weight.zero_()
        tiny_bert.classifier.bias.copy_(torch.tensor([0.0, 1.0]))  # always says fresh
    tiny_bert.train()
    found = task.evaluate(tiny_bert, "test")
    share = sum(task.splits["test"]["labels"]) / len(task.splits["test"])
    assert found["accuracy"] == share
    assert found["accuracy_se"] == pytest.approx(math.sqrt(share * (1 - share) / len(task.splits["test"])))
    assert found["loss"] == pytest.approx(share * math.log1p(math.exp(-1)) + (1 - share) * math.log1p(math.e), rel=1e-5)
    assert tiny_bert.training
    assert max(len(row) for row in task.splits["train"]["input_ids"]) == 16
