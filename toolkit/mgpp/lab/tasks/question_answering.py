"""Define extractive question answering: the answer is a span of a text, or, where allowed, there is none."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.tasks.base import Task
from mgpp.lab.tasks.questions import OUTSIDE, POSITIONS, Question, cls_place

if TYPE_CHECKING:
    from datasets import Dataset
    from numpy.typing import NDArray
    from transformers import PreTrainedModel

LONGEST_ANSWER = 30  # tokens, as in the published evaluations of BERT


class QuestionAnswering(Task):
    """Where in a text is the answer to a question? Long texts are cut into windows, see `windows.windows`.

    Subclasses override `read` to return {split: list of Question} and the hash of the data.

    Attributes:
        unanswerable: whether a question may have no answer (SQuAD v2); then the model may say so.
        n_windows: published number of training windows of bert-base-uncased at max_length 384 and stride 128.
        questions: split -> its questions; `splits` has their windows.
    """

    metrics = ("f1", "exact_match")
    head = "AutoModelForQuestionAnswering"
    unanswerable: ClassVar[bool] = False
    n_windows: ClassVar[int | None] = None

    @classmethod
    def known_examples(cls) -> int | None:
        """Return None: windows must be cut to be counted."""
        return None

    @classmethod
    def expected_examples(cls, max_length: int) -> int | None:
        """Return the published number of windows; other tokenizers and lengths give other numbers."""
        return cls.n_windows

    def encode(self, tables: Mapping[str, Sequence[Question]]) -> dict[str, "Dataset"]:
        """Cut the texts into windows.

        Raises:
            RecipeError: if a question leaves no room for the text.
            DataError: if an answer is not in its text.
        """
        from mgpp.lab.tasks.windows import windows

        self.questions = tables
        length, stride = self.settings.max_length, self.settings.stride
        return {split: windows(self.tokenizer, part, length, stride) for split, part in tables.items()}

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Pads a batch to its longest window; columns that the model does not read are left out."""
        from transformers import DataCollatorWithPadding

        names = (*self.tokenizer.model_input_names, *POSITIONS)
        pad = DataCollatorWithPadding(self.tokenizer)
        return lambda rows: pad([{name: row[name] for name in names if name in row} for row in rows])

    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return F1 and exact match of a split's answers with standard errors, the loss, and n, the questions.

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

    def predict(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> tuple[list[str], float]:
        """Return the answers to a split's questions, "" for none, and the mean loss.

        A span scores the sum of its start's and its end's logit, and the best of all a question's windows wins, at most
        `LONGEST_ANSWER` tokens long. No answer scores the two logits of [CLS], the least over the windows, and wins
        only if it is above the best span and there may be none.
        """
        from mgpp.lab.tasks.evaluation import batches_by_length, evaluating, in_turns

        data, questions = self.splits[split], self.questions[split]
        best: list[tuple[float, str]] = [(-math.inf, "")] * len(questions)
        none, loss = [math.inf] * len(questions), 0.0

        def _answer(rows: Any, batch: Any) -> tuple[list[tuple[tuple[float, str], float]], float]:
            output = model(**batch.to(model.device))
            logits = [part.float().cpu().numpy() for part in (output.start_logits, output.end_logits)]
            found = []
            for window, starts, ends in zip(rows, *logits, strict=True):
                cls = cls_place(self.tokenizer, window["input_ids"])
                span = best_span(starts, ends, window, questions[window["question"]].context)
                found.append((span, float(starts[cls] + ends[cls])))
            return found, float(output.loss)

        with evaluating(model, bf16=bf16):
            for rows, (found, mean) in in_turns(batches_by_length(data, self.collate), _answer):
                loss += mean * len(rows)
                for window, (span, null) in zip(rows, found, strict=True):
                    i = window["question"]
                    best[i], none[i] = max(best[i], tuple(span)), min(none[i], null)
        silent = [self.unanswerable and null > score for (score, _), null in zip(best, none, strict=True)]
        return ["" if no else text for (_, text), no in zip(best, silent, strict=True)], loss / len(data)


def best_span(starts: "NDArray", ends: "NDArray", window: Mapping[str, Any], context: str) -> tuple[float, str]:
    """Return the best answer in a window: its score, the sum of start's and end's logit, and its text.

    Every span of the text of up to `LONGEST_ANSWER` tokens is a candidate.

    Args:
        starts: logit of each token to be the first, (tokens of the window or more).
        ends: logit to be the last, (the same).
        window: a row of `windows`.
        context: the question's text.
    """
    import numpy as np

    begin, end = np.array(window["begin"]), np.array(window["end"])
    starts, ends = (np.where(begin != OUTSIDE, logits[: len(begin)], -np.inf) for logits in (starts, ends))
    behind = np.concatenate([ends, np.full(LONGEST_ANSWER - 1, -np.inf)])
    sums = starts[:, None] + np.lib.stride_tricks.sliding_window_view(behind, LONGEST_ANSWER)  # (first, last - first)
    first, further = np.unravel_index(sums.argmax(), sums.shape)
    text = context[begin[first] : end[min(first + further, len(end) - 1)]].strip()
    return float(sums[first, further]), text


def _scores(questions: Sequence[Question], answers: Sequence[str]) -> dict[str, float]:
    """Return mean F1 and exact match, the best over the accepted answers of each question, with standard errors."""
    import numpy as np

    from mgpp.lab.tasks.metrics import share_se
    from mgpp.lab.tasks.squad_metrics import best_of, exact_match, f1

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
