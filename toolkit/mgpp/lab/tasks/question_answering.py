"""Extractive question answering: the answer is a span of a text, or, where allowed, there is none."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from transformers import AutoModelForQuestionAnswering, DataCollatorWithPadding, PreTrainedModel

from mgpp.lab.models.loading import safely
from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.base import check_length, check_padding
from mgpp.lab.tasks.evaluation import batches_by_length, evaluating, in_turns
from mgpp.lab.tasks.metrics import share_se
from mgpp.lab.tasks.squad_metrics import best_of, exact_match, f1
from mgpp.lab.tasks.windows import OUTSIDE, POSITIONS, Question, cls_place, windows

LONGEST_ANSWER = 30  # tokens, as in the published evaluations of BERT


@dataclass(frozen=True)
class QuestionAnswering:
    """Windows ready to train on, and the questions that they come from.

    Attributes:
        tokenizer: of the model.
        questions: split -> its questions.
        splits: split -> its windows, rows of `windows`; "train", "validation" and, where there is one, "test".
        data_sha256: hash of the data.
        unanswerable: whether a question may have no answer (SQuAD v2); then the model may say so.
    """

    metric: ClassVar[str] = "f1"
    higher_is_better: ClassVar[bool] = True

    tokenizer: Any
    questions: Mapping[str, Sequence[Question]] = field(repr=False)
    splits: Mapping[str, Dataset] = field(repr=False)
    data_sha256: str
    unanswerable: bool = False

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Pads a batch to its longest window; what the model does not read stays behind."""
        names = (*self.tokenizer.model_input_names, *POSITIONS)
        pad = DataCollatorWithPadding(self.tokenizer)

        def _collate(rows: list[Any]) -> Any:
            return pad([{name: row[name] for name in names if name in row} for row in rows])

        return _collate

    def load_model(self, source: str) -> PreTrainedModel:
        """The pretrained encoder in float32 with a fresh span head, drawn from torch's random state."""
        return AutoModelForQuestionAnswering.from_pretrained(source, dtype=torch.float32, **safely(source))

    def evaluate(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> dict[str, float]:
        """F1 and exact match of a split's answers, from 0 to 1, with standard errors, loss, and n, the questions.

        Where questions may have no answer, also F1 and exact match of those with one (`f1_has_answer`) and of those
        without (`f1_no_answer`). The loss is the mean over windows.
        """
        answers, loss = self.predict(model, split, bf16=bf16)
        questions = self.questions[split]
        found = _scores(questions, answers)
        if self.unanswerable:
            for name, has in (("has_answer", True), ("no_answer", False)):
                part = [i for i, question in enumerate(questions) if bool(question.answers) == has]
                if part:
                    measured = _scores([questions[i] for i in part], [answers[i] for i in part])
                    found |= {f"{key}_{name}": value for key, value in measured.items() if not key.endswith("_se")}
        return found | {"loss": loss}

    def predict(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> tuple[list[str], float]:
        """The answers to a split's questions, "" for none, and the mean loss.

        A span scores the sum of its start's and its end's logit, and the best of all a question's windows wins, at most
        `LONGEST_ANSWER` tokens long. No answer scores the two logits of [CLS], the least over the windows, and wins
        only if it is above the best span and there may be none.
        """
        data, questions = self.splits[split], self.questions[split]
        best: list[tuple[float, str]] = [(-math.inf, "")] * len(questions)
        none, loss = [math.inf] * len(questions), 0.0

        def _answer(rows: Any, batch: Any) -> tuple[list[tuple[tuple[float, str], float]], float]:
            output = model(**batch.to(model.device))
            logits = [part.float().cpu().numpy() for part in (output.start_logits, output.end_logits)]
            each = zip(rows, *logits, strict=True)
            found = [self._in_window(window, starts, ends, questions) for window, starts, ends in each]
            return found, float(output.loss)

        with evaluating(model, bf16=bf16):
            for rows, (found, mean) in in_turns(batches_by_length(data, self.collate), _answer):
                loss += mean * len(rows)
                for window, (span, null) in zip(rows, found, strict=True):
                    i = window["question"]
                    best[i], none[i] = max(best[i], tuple(span)), min(none[i], null)
        silent = [self.unanswerable and null > score for (score, _), null in zip(best, none, strict=True)]
        return ["" if no else text for (_, text), no in zip(best, silent, strict=True)], loss / len(data)

    def _in_window(
        self, window: Mapping[str, Any], starts: NDArray, ends: NDArray, questions: Sequence[Question]
    ) -> tuple[tuple[float, str], float]:
        """The best span of a window, and the score of no answer."""
        cls = cls_place(self.tokenizer, window["input_ids"])
        span = best_span(starts, ends, window, questions[window["question"]].context)
        return span, float(starts[cls] + ends[cls])


def build(
    tokenizer: Any,
    questions: Mapping[str, Sequence[Question]],
    data_sha256: str,
    *,
    max_length: int,
    stride: int,
    unanswerable: bool = False,
) -> QuestionAnswering:
    """The task on questions by split.

    Raises:
        RecipeError: if a question leaves no room for the text, windows are longer than what the model reads, or the
            tokenizer can't say where its tokens stand, or can't pad.
        DataError: if an answer is not in its text.
    """
    if not tokenizer.is_fast:
        raise RecipeError(f"the tokenizer {type(tokenizer).__name__} gives no places of its tokens; use a fast one")
    check_length("max_length", max_length, tokenizer)
    check_padding(tokenizer)
    splits = {split: windows(tokenizer, part, max_length, stride) for split, part in questions.items()}
    return QuestionAnswering(tokenizer, questions, splits, data_sha256, unanswerable)


def best_span(starts: NDArray, ends: NDArray, window: Mapping[str, Any], context: str) -> tuple[float, str]:
    """The best answer in a window: its score, the sum of start's and end's logit, and its text.

    Every span of the text of up to `LONGEST_ANSWER` tokens is a candidate.

    Args:
        starts: logit of each token to be the first, (tokens of the window or more).
        ends: logit to be the last, (the same).
        window: a row of `windows`.
        context: the question's text.
    """
    begin, end = np.array(window["begin"]), np.array(window["end"])
    starts, ends = (np.where(begin != OUTSIDE, logits[: len(begin)], -np.inf) for logits in (starts, ends))
    behind = np.concatenate([ends, np.full(LONGEST_ANSWER - 1, -np.inf)])
    sums = starts[:, None] + np.lib.stride_tricks.sliding_window_view(behind, LONGEST_ANSWER)  # (first, last - first)
    first, further = np.unravel_index(sums.argmax(), sums.shape)
    text = context[begin[first] : end[min(first + further, len(end) - 1)]].strip()
    return float(sums[first, further]), text


def _scores(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, float]:
    """Mean F1 and exact match, the best over the accepted answers of each question, with standard errors."""
    accepted = [tuple(text for text, _ in question.answers) for question in questions]
    pairs = list(zip(answers, accepted, strict=True))
    overlaps = np.array([best_of(f1, answer, texts) for answer, texts in pairs])
    exact = float(np.mean([best_of(exact_match, answer, texts) for answer, texts in pairs]))
    n = len(pairs)
    return {
        "f1": float(overlaps.mean()),
        "f1_se": float(overlaps.std()) / math.sqrt(n),
        "exact_match": exact,
        "exact_match_se": share_se(exact, n),
        "n": n,
    }
