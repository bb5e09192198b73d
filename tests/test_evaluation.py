"""Going through a split in turns: everything once, in order, the same in every process."""

import json
import math

import pytest
import torch
from small_models import small_bart, small_bert
from together import together
from transformers import AutoTokenizer

from mgpp.lab.tasks import TASKS, TaskSettings, evaluation, summarization
from mgpp.lab.tasks.evaluation import exchange, in_turns
from mgpp.pruning.sharded.peers import Peers

TEXTS = [f"a {'very ' * (i % 5)}quick fox number {i} likes the lazy dog" for i in range(7)]


@pytest.fixture
def place(tmp_path):
    """Small models, and questions and documents to evaluate them on."""
    small_bert(tmp_path / "bert")
    small_bart(tmp_path / "bart")
    spans = [{"text": ["fox"], "answer_start": [text.index("fox")]} for text in TEXTS]
    questions = [
        {"id": str(i), "title": "", "context": text, "question": "who ?", "answers": span}
        for i, (text, span) in enumerate(zip(TEXTS, spans, strict=True))
    ]
    documents = [{"id": str(i), "document": text, "summary": text[-12:]} for i, text in enumerate(TEXTS)]
    for name, rows in (("questions", questions), ("documents", documents)):
        (tmp_path / name).mkdir()
        for split in ("train", "validation", "test"):
            lines = "\n".join(map(json.dumps, rows))
            (tmp_path / name / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return tmp_path


def test_a_process_alone_does_everything_in_order():
    did = []
    results = in_turns([("a", 1), ("b", 2), ("c", 3)], lambda rows, batch: did.append(rows) or batch * 2)
    assert list(results) == [("a", 2), ("b", 4), ("c", 6)]
    assert did == ["a", "b", "c"]
    assert list(in_turns([], None)) == []


def _in_three(index, place):
    did = []
    batches = [(f"rows {i}", i) for i in range(7)]
    results = list(in_turns(batches, lambda rows, batch: did.append(batch) or {rows: [batch / 3, math.nan]}))
    assert [rows for rows, _ in results] == [rows for rows, _ in batches]
    assert [list(result) for _, result in results] == [[rows] for rows, _ in batches]
    assert [result[rows][0] for rows, result in results] == [i / 3 for i in range(7)]
    assert did == {0: [0, 3, 6], 1: [1, 4, 6], 2: [2, 5, 6]}[index]  # of the last one there is only one
    assert exchange(Peers.everyone(), "x" * index) == ["", "x", "xx"]
    evaluation.EVALUATION_BATCH = summarization.EVALUATION_BATCH = 2
    for task, model, data in (("squad", "bert", "questions"), ("xsum", "bart", "documents")):
        _evaluated_alike(TASKS[task], place / model, place / data)


def _evaluated_alike(load, source, data):
    task = load(AutoTokenizer.from_pretrained(source), TaskSettings(32, data=data, stride=4, target_length=5, beams=2))
    torch.manual_seed(0)
    model = task.load_model(str(source))
    together_found, everyone = task.evaluate(model, "validation"), Peers.everyone
    Peers.everyone = Peers
    alone = task.evaluate(model, "validation")
    Peers.everyone = everyone
    assert together_found == alone


@pytest.mark.slow
def test_processes_take_turns_and_all_know_everything(place):
    together(3, _in_three, place)
