"""SQuAD v1.1 (Rajpurkar et al. 2016) and v2 (2018, with questions that have no answer), in the hub's format.

Columns: id, question, context, and answers with the lists `text` and `answer_start`, empty where there is no answer; in
a csv file, answers is JSON. The public sets are train and validation.
"""

from collections.abc import Mapping
from typing import Any

from datasets import Dataset

from mgpp.lab.tasks.base import TaskSettings
from mgpp.lab.tasks.question_answering import Question, QuestionAnswering, build
from mgpp.lab.tasks.sources import DataError, as_json, read_splits

COLUMNS = ("id", "question", "context", "answers")


def load(tokenizer: Any, settings: TaskSettings) -> QuestionAnswering:
    """SQuAD v1.1: every question has an answer.

    Raises:
        DataError: if the data can't be read, or a question has no answer, or not in its context.
        RecipeError: if lengths and stride leave no room for the texts.

    Example:
        >>> load(tokenizer, TaskSettings(max_length=384)).splits["train"].num_rows  # doctest: +SKIP
    """
    return _load("rajpurkar/squad", tokenizer, settings, unanswerable=False)


def load_v2(tokenizer: Any, settings: TaskSettings) -> QuestionAnswering:
    """SQuAD v2: a question may have no answer, and the model may say so.

    Raises:
        DataError: if the data can't be read, or an answer is not in its context.
        RecipeError: if lengths and stride leave no room for the texts.
    """
    return _load("rajpurkar/squad_v2", tokenizer, settings, unanswerable=True)


def _load(name: str, tokenizer: Any, settings: TaskSettings, *, unanswerable: bool) -> QuestionAnswering:
    found = read_splits(name, columns=COLUMNS, texts=("question", "context"), data=settings.data)
    questions = {split: read_questions(table, split) for split, table in found.tables.items()}
    if not unanswerable:
        for part in questions.values():
            for question in part:
                if not question.answers:
                    raise DataError(f"the question {question.id!r} has no answer; the task squad-v2 takes such")
    return build(
        tokenizer,
        questions,
        found.sha256,
        max_length=settings.max_length,
        stride=settings.stride,
        unanswerable=unanswerable,
    )


def read_questions(table: Dataset, split: str) -> list[Question]:
    """The rows of a split as questions; leading white space of a question is dropped.

    Raises:
        DataError: if answers are not as they should be; it names split and row.
    """
    return [
        Question(str(row["id"]), row["question"].lstrip(), row["context"], _answers(row["answers"], split, number))
        for number, row in enumerate(table)
    ]


def _answers(value: Any, split: str, row: int) -> tuple[tuple[str, int], ...]:
    where = f"row {row} of the split {split!r}: answers"
    value = as_json(value, where)
    try:
        texts = [text for text in value["text"] if isinstance(text, str)]
        if len(texts) < len(value["text"]):
            raise TypeError
        return tuple(zip(texts, map(int, value["answer_start"]), strict=True))
    except (TypeError, KeyError, ValueError):
        kind = dict(value) if isinstance(value, Mapping) else value
        raise DataError(
            f"{where}={kind!r} must hold `text` and `answer_start`, lists of as many texts as places"
        ) from None
