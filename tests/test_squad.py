import itertools
import json
import math
import re
import string
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_models import small_bert, small_deberta
from transformers import AutoTokenizer

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks import TASKS, DataError, TaskSettings
from mgpp.lab.tasks.question_answering import LONGEST_ANSWER, QuestionAnswering, best_span
from mgpp.lab.tasks.questions import OUTSIDE, Question
from mgpp.lab.tasks.squad_metrics import best_of, exact_match, f1, normalize
from mgpp.lab.tasks.windows import locate, windows

LONG = (
    " ".join(f"The fox number {i} jumps over the lazy dog." for i in range(20)) + " It was written in Paris, they say."
)
CONTEXTS = ["A man is playing a guitar on stage.", LONG, "It was written in Paris by a woman of 27 years.", LONG]
ANSWERS = [("guitar", 19), ("Paris", LONG.index("Paris")), ("a woman", 27), None]
SETTINGS = TaskSettings(max_length=64, stride=16)


@pytest.fixture(scope="module", params=["bert", "deberta"])
def model_folder(request, tmp_path_factory):
    build_model = {"bert": small_bert, "deberta": small_deberta}[request.param]
    return build_model(tmp_path_factory.mktemp(request.param), [*CONTEXTS, "Who wrote it?"] * 3)


@pytest.fixture(scope="module")
def tokenizer(model_folder):
    return AutoTokenizer.from_pretrained(model_folder)


def rows(unanswerable):
    """SQuAD's rows as the hub has them."""
    found = []
    for i, (context, answer) in enumerate(zip(CONTEXTS, ANSWERS, strict=True)):
        texts = [answer] if answer else []
        if not texts and not unanswerable:
            continue
        answers = {"text": [text for text, _ in texts], "answer_start": [start for _, start in texts]}
        row = {"id": f"q{i}", "title": "t", "context": context, "question": "  Who wrote it?", "answers": answers}
        found.append(row)
    return found


def write(folder, kind, unanswerable=False):
    for split in ("train", "validation"):
        table = pd.DataFrame(rows(unanswerable))
        match kind:
            case "parquet":
                table.to_parquet(folder / f"{split}.parquet")
            case "jsonl":
                table.to_json(folder / f"{split}.jsonl", orient="records", lines=True)
            case "csv":
                table["answers"] = table["answers"].map(json.dumps)
                table.to_csv(folder / f"{split}.csv", index=False)
    return folder


def tiny_task(tokenizer, questions, unanswerable=False):
    class Tiny(QuestionAnswering):
        def read(self):
            return {"validation": questions}, "0"

    Tiny.unanswerable = unanswerable
    return Tiny(tokenizer, SETTINGS)


class Says(torch.nn.Module):
    """A model whose logits a function of the window's tokens gives, as (place, start, end); zero elsewhere."""

    def __init__(self, logits):
        super().__init__()
        self.logits, self.device = logits, torch.device("cpu")

    def forward(self, input_ids, **rest):
        starts, ends = torch.zeros(2, *input_ids.shape)
        for row, tokens in enumerate(input_ids.tolist()):
            for place, start, end in self.logits(tokens):
                starts[row, place] += start
                ends[row, place] += end
        return SimpleNamespace(loss=torch.tensor(1.0), start_logits=starts, end_logits=ends)


# loading, training a step, evaluating


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("name", ["squad", "squad-v2"])
def test_every_format_loads_trains_a_step_and_evaluates(name, kind, tokenizer, model_folder, tmp_path):
    task = TASKS[name](tokenizer, TaskSettings(64, 16, data=write(tmp_path, kind, name == "squad-v2")))
    model = task.load_model(str(model_folder))
    batch = task.collate([task.splits["train"][i] for i in range(5)])
    assert {"start_positions", "end_positions", "input_ids"} <= set(batch) <= {*tokenizer.model_input_names, *batch}
    assert "begin" not in batch
    loss = model(**batch).loss
    loss.backward()
    assert torch.isfinite(loss)
    model.train()
    found = task.evaluate(model, "validation")
    assert model.training
    assert found["n"] == (4 if name == "squad-v2" else 3)
    assert 0 <= found["exact_match"] <= found["f1"] <= 1
    assert found["loss"] > 0
    assert task.metric == "f1"
    assert task.higher_is_better
    assert ("f1_has_answer" in found) == (name == "squad-v2")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_question_without_an_answer_needs_v2(tokenizer, tmp_path):
    write(tmp_path, "jsonl", unanswerable=True)
    with pytest.raises(DataError, match="'q3'.*squad-v2"):
        TASKS["squad"](tokenizer, TaskSettings(64, 16, data=tmp_path))


@pytest.mark.parametrize(
    "answers",
    ["{}", '{"text": [12], "answer_start": [0]}', '{"text": ["a"], "answer_start": []}', '{"text": "a"}', "[1]"],
)
def test_broken_answers_are_named(answers, tokenizer, tmp_path):
    write(tmp_path, "csv")
    pd.DataFrame(rows(False)[:1]).assign(answers=answers).to_csv(tmp_path / "train.csv", index=False)
    with pytest.raises(DataError, match="row 0 .*'train': answers="):
        TASKS["squad"](tokenizer, TaskSettings(64, 16, data=tmp_path))


# windows


def test_windows_cover_the_text_and_share_the_stride(tokenizer):
    data = windows(tokenizer, [Question("q", "Who wrote it?", LONG, ())], 64, 16)
    assert len(data) > 3
    texts = [[(b, e) for b, e in zip(row["begin"], row["end"], strict=True) if b != OUTSIDE] for row in data]
    whole = tokenizer(LONG, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert texts[0] + [token for text in texts[1:] for token in text[16:]] == [tuple(token) for token in whole]
    for before, after in itertools.pairwise(texts):
        assert before[-16:] == after[:16]
    assert all(len(row["input_ids"]) <= 64 for row in data)
    assert all(row["input_ids"][0] == tokenizer.cls_token_id for row in data)
    assert data["question"][:] == [0] * len(data)


def test_only_windows_with_the_whole_answer_point_at_it(tokenizer):
    answer = ("Paris", LONG.index("Paris"))
    data = windows(tokenizer, [Question("q", "Who wrote it?", LONG, (answer,))], 64, 16)
    held = [row for row in data if row["start_positions"]]
    assert 1 <= len(held) < len(data)
    for row in held:
        found = LONG[row["begin"][row["start_positions"]] : row["end"][row["end_positions"]]]
        assert found.strip() == "Paris"
    for row in data:
        if row not in held:
            assert row["start_positions"] == row["end_positions"] == 0
            assert max(row["end"]) < answer[1] + len("Paris")


ACCENT, MARK, NO_WIDTH = "\u0301", "\ufeff", "\u200b"  # BERT's tokenizer drops them


@pytest.mark.parametrize(
    "context", [f"It was Jose{ACCENT}", f"It was Jose{ACCENT}.", f"{MARK}Jose", f"{NO_WIDTH}Jose{ACCENT} it was"]
)
def test_characters_at_the_ends_of_a_text_that_the_tokenizer_drops_lose_no_answer(context, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(small_bert(tmp_path, ["It was Jose."]))
    begin = context.index("Jose")
    whole = context[0 if begin < 3 else begin :].removesuffix(".").removesuffix(" it was")
    (row,) = windows(tokenizer, [Question("q", "Who?", context, ((whole, context.index(whole)),))], 64, 16)
    first, last = row["start_positions"], row["end_positions"]
    assert context[row["begin"][first] : row["end"][last]].startswith("Jose")


def test_a_text_that_no_token_stands_for_has_no_answer(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(small_bert(tmp_path, ["It was Jose."]))
    (row,) = windows(tokenizer, [Question("q", "Who?", NO_WIDTH, ((NO_WIDTH, 0),))], 64, 16)
    assert row["start_positions"] == row["end_positions"] == 0


def test_a_long_answer_may_be_in_no_window(tokenizer):
    data = windows(tokenizer, [Question("q", "Who?", LONG, ((LONG[:400], 0),))], 64, 16)
    assert set(data["start_positions"]) == set(data["end_positions"]) == {0}


@pytest.mark.parametrize(
    ("answer", "place"), [(" guitar ", 18), ("guitar", 17), ("guitar", 19), ("a guitar on stage.", 17), ("A man", 0)]
)
def test_answers_with_spaces_or_a_little_off_are_found(answer, place, tokenizer):
    (row,) = windows(tokenizer, [Question("q", "What?", CONTEXTS[0], ((answer, place),))], 64, 16)
    found = CONTEXTS[0][row["begin"][row["start_positions"]] : row["end"][row["end_positions"]]]
    assert found.strip() == answer.strip()


def test_the_nearest_place_is_taken():
    assert locate("aa b aa b aa", "aa", 6) == (5, 7)
    assert locate("a.b axb", "a.b", 4) == (0, 3)
    assert locate("text", "", 0) is None


def test_an_answer_that_is_nowhere_is_an_error(tokenizer):
    with pytest.raises(DataError, match="'q7'.*'Rome'"):
        windows(tokenizer, [Question("q7", "Where?", CONTEXTS[0], (("Rome", 3),))], 64, 16)


def test_a_question_that_leaves_no_room_is_an_error(tokenizer):
    with pytest.raises(RecipeError, match="max_length=16.*'q'.*text.stride=16"):
        windows(tokenizer, [Question("q", "Who wrote it?", LONG, ())], 16, 16)
    with pytest.raises(RecipeError, match="max_length=24 leaves 0"):
        windows(tokenizer, [Question("q", "Who wrote it? " * 20, LONG, ())], 24, 4)


def test_windows_longer_than_the_model_reads_are_refused(tokenizer):
    with pytest.raises(RecipeError, match="max_length=129"):
        TASKS["squad"](tokenizer, TaskSettings(max_length=129))


def test_many_questions_keep_their_numbers(tokenizer, monkeypatch):
    monkeypatch.setattr("mgpp.lab.tasks.windows.CHUNK", 2)
    questions = [
        Question(str(i), "Who?", text, (answer,) if answer else ())
        for i, (text, answer) in enumerate(zip(CONTEXTS * 2, ANSWERS * 2, strict=True))
    ]
    in_parts = windows(tokenizer, questions, 64, 16)
    monkeypatch.undo()
    assert in_parts.to_list() == windows(tokenizer, questions, 64, 16).to_list()
    assert sorted(set(in_parts["question"])) == list(range(8))


# decoding


def reference_span(starts, ends, window, context):
    """Every pair, one after the other."""
    best = (-math.inf, "")
    for first, last in itertools.product(range(len(window["begin"])), repeat=2):
        inside = all(window["begin"][i] != OUTSIDE for i in (first, last))
        if inside and first <= last < first + LONGEST_ANSWER and starts[first] + ends[last] > best[0]:
            best = (starts[first] + ends[last], context[window["begin"][first] : window["end"][last]].strip())
    return best


@given(st.integers(0, 10_000))
def test_the_best_span_is_the_best_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    n, question = rng.integers(4, 60), rng.integers(1, 3)
    begin = np.where(np.arange(n) < question, OUTSIDE, 2 * np.arange(n))
    begin[-1] = OUTSIDE
    window = {"begin": begin, "end": np.where(begin == OUTSIDE, OUTSIDE, begin + 2)}
    context = "".join(rng.choice(list(string.ascii_lowercase), 2 * n))
    starts, ends = rng.normal(size=(2, n + rng.integers(0, 5)))
    score, text = best_span(starts, ends, window, context)
    expected = reference_span(starts[:n], ends[:n], window, context)
    assert (score, text) == (pytest.approx(expected[0]), expected[1])


def test_the_best_window_of_a_question_wins(tokenizer):
    place = LONG.index("Paris")
    questions = [
        Question("short", "Who?", CONTEXTS[0], (("guitar", 19),)),
        Question("long", "Who?", LONG, (("Paris", place),)),
    ]
    task = tiny_task(tokenizer, questions)
    data = task.splits["validation"]
    right = {tuple(row["input_ids"]): row for row in data if row["start_positions"]}
    assert len(right) == 2

    def logits(tokens):
        row = right.get(tuple(token for token in tokens if token != tokenizer.pad_token_id))
        if row:
            return [(row["start_positions"], 3, 0), (row["end_positions"], 0, 3)]
        return [(0, 50, 50), (len(tokens) - 20, 2, 2)]  # CLS is no answer, and a worse span

    (answers, loss), found = task.predict(Says(logits), "validation"), task.evaluate(Says(logits), "validation")
    assert answers == ["guitar", "Paris"]
    assert loss == 1
    assert found == {"f1": 1, "f1_se": 0, "exact_match": 1, "exact_match_se": 0, "n": 2, "loss": 1}


@pytest.mark.parametrize(("cls", "expected"), [(5.9, "guitar"), (6.1, "")])
def test_no_answer_wins_only_above_the_best_span(cls, expected, tokenizer):
    questions = [Question("q", "Who?", CONTEXTS[0], (("guitar", 19),))]
    task = tiny_task(tokenizer, questions, unanswerable=True)
    (row,) = task.splits["validation"]

    def logits(tokens):
        return [(row["start_positions"], 3, 0), (row["end_positions"], 0, 3), (0, cls / 2, cls / 2)]

    assert task.predict(Says(logits), "validation")[0] == [expected]
    assert tiny_task(tokenizer, questions).predict(Says(logits), "validation")[0] == ["guitar"]


def test_no_answer_scores_the_least_of_the_windows(tokenizer):
    task = tiny_task(tokenizer, [Question("q", "Who?", LONG, ())], unanswerable=True)
    windows_of_it = [tuple(row["input_ids"]) for row in task.splits["validation"]]

    def logits(tokens):
        first = tuple(token for token in tokens if token != tokenizer.pad_token_id) == windows_of_it[0]
        return [(0, -1, -1)] if first else [(0, 9, 9)]

    assert task.predict(Says(logits), "validation")[0] != [""]  # spans score 0, no answer -2


def test_v2_scores_by_hand(tokenizer):
    questions = [
        Question("a", "Who?", "A man is playing a guitar.", (("a guitar", 17), ("guitar", 19))),
        Question("b", "Who?", "The quick brown fox.", (("quick brown fox", 4),)),
        Question("c", "Who?", "The lazy dog.", ()),
        Question("d", "Who?", "Paris.", ()),
    ]
    task = tiny_task(tokenizer, questions, unanswerable=True)
    answers = ["the guitar", "brown fox.", "", "Paris"]  # F1 1, 2·1·(2/3)/(5/3), 1, 0
    task = SimpleNamespace(predict=lambda *_, **__: (answers, 0.5), questions=task.questions, unanswerable=True)
    found = type(tiny_task(tokenizer, questions)).evaluate(task, None, "validation")
    f1s = np.array([1, 0.8, 1, 0])
    assert found["f1"] == pytest.approx(f1s.mean())
    assert found["f1_se"] == pytest.approx(f1s.std() / 2)
    assert found["exact_match"] == 0.5
    assert found["exact_match_se"] == 0.25
    assert (found["f1_has_answer"], found["exact_match_has_answer"], found["n_has_answer"]) == (0.9, 0.5, 2)
    assert (found["f1_no_answer"], found["exact_match_no_answer"], found["n_no_answer"]) == (0.5, 0.5, 2)
    assert found["loss"] == 0.5


# scores of one answer


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "overlap"),
    [
        ("The Eiffel Tower!", "eiffel tower", 1, 1),
        ("an  apple", "apple", 1, 1),
        ("Theatre", "atre", 0, 0),
        ("Anna", "na", 0, 0),
        ("U.S.", "us", 1, 1),
        ("1,000 people", "1000", 0, 2 / 3),
        ("dog dog cat", "dog", 0, 0.5),
        ("big dog", "small dog", 0, 0.5),
        ("", "", 1, 1),
        ("the", "", 1, 1),
        ("", "dog", 0, 0),
    ],
)
def test_scores_of_one_answer(answer, accepted, exact, overlap):
    assert exact_match(answer, accepted) == exact
    assert f1(answer, accepted) == f1(accepted, answer) == pytest.approx(overlap)


def test_the_best_of_the_accepted_answers_counts():
    assert best_of(f1, "brown fox", ["fox", "quick brown fox", "dog"]) == pytest.approx(0.8)
    assert best_of(exact_match, "Paris", ["the", "Paris"]) == 1
    assert best_of(exact_match, "", ["the", "Paris"]) == 0
    assert best_of(exact_match, "", ["the"]) == best_of(f1, "", []) == 1


@given(st.text(), st.text())
def test_scores_are_shares_and_exact_matches_are_full_ones(answer, accepted):
    assert 0 <= exact_match(answer, accepted) <= f1(answer, accepted) <= 1
    assert exact_match(answer, f"the {answer.upper().lower()}!") == exact_match(answer, answer.upper().lower())


@given(st.text())
def test_normalizing_leaves_words_without_articles_and_punctuation(text):
    words = normalize(text).split(" ")
    assert not set(string.punctuation) & set("".join(words))
    assert not {"a", "an", "the"} & set(words)
    assert words == re.split(r"\s+", " ".join(words))
