"""Define SQuAD v1.1 (Rajpurkar et al. 2016) and v2 (2018, with questions that have no answer).

Columns: id, question, context, and answers with the lists `text` and `answer_start`, empty where there is no answer; in
a csv file, answers is JSON. The public sets are train and validation.
"""

import json
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.tasks.base import DataError, register
from mgpp.lab.tasks.question_answering import QuestionAnswering
from mgpp.lab.tasks.questions import Question

if TYPE_CHECKING:
    from datasets import Dataset


@register("squad")
class Squad(QuestionAnswering):
    """SQuAD v1.1: every question has an answer."""

    hub_name = "rajpurkar/squad"
    texts = ("question", "context")
    columns = ("id", "answers")
    sizes: ClassVar = {"train": 87_599, "validation": 10_570}
    n_windows = 88_524  # as published training logs of the transformers examples have it

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the questions of each split.

        Raises:
            DataError: if answers are not as they should be, or missing where the task needs one.
        """
        tables, sha256 = super().read()
        questions = {split: read_questions(table, split) for split, table in tables.items()}
        silent = [question.id for part in questions.values() for question in part if not question.answers]
        if silent and not self.unanswerable:
            raise DataError(f"the question {silent[0]!r} has no answer; use task='squad-v2'")
        return questions, sha256


@register("squad-v2")
class SquadV2(Squad):
    """SQuAD v2: a question may have no answer, and the model may say so."""

    hub_name = "rajpurkar/squad_v2"
    sizes: ClassVar = {"train": 130_319, "validation": 11_873}
    n_windows = 131_754  # approximate, without a log to show
    unanswerable = True


def read_questions(table: "Dataset", split: str) -> list[Question]:
    """Return the rows of a split as questions; leading white space of a question is dropped.

    Raises:
        DataError: if answers are not as they should be; it names split and row.
    """
    return [
        Question(str(row["id"]), row["question"].lstrip(), row["context"], _answers(row["answers"], split, number))
        for number, row in enumerate(table)
    ]


def _answers(value: Any, split: str, row: int) -> tuple[tuple[str, int], ...]:
    where = f"row {row} of the split {split!r}: answers={value!r}"
    try:
        value = json.loads(value) if isinstance(value, str) else value
        texts = [text for text in value["text"] if isinstance(text, str)]
        if len(texts) < len(value["text"]):
            raise TypeError
        return tuple(zip(texts, map(int, value["answer_start"]), strict=True))
    except (TypeError, KeyError, ValueError):
        raise DataError(
            f"{where} must hold `text` and `answer_start`, lists of as many texts as places; in a csv file as JSON"
        ) from None
