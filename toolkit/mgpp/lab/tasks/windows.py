"""Cut windows from a text that is too long for the model, for extractive question answering.

A question and its text become one or more windows of at most `max_length` tokens: [CLS] question [SEP] part of the text
[SEP]. Neighbouring windows share `stride` tokens of the text. A window that does not hold the whole answer is trained
to point at [CLS], and so is a question without an answer (Devlin et al. 2019, sections 4.2 and 4.3).
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.errors import DataError
from mgpp.lab.tasks.questions import OUTSIDE, POSITIONS, Question, cls_place

CHUNK = 1000  # questions that are tokenized at a time


def windows(tokenizer: Any, questions: Sequence[Question], max_length: int, stride: int) -> Dataset:
    """Cut questions and texts into windows of at most `max_length` tokens that share `stride` tokens of the text.

    Columns: those of the tokenizer; start_positions and end_positions, the answer's first and last token, both [CLS]'s
    where the window does not hold the answer; question, the number of the question; begin and end, the characters of
    the text that a token stands for, `OUTSIDE` for other tokens.

    Raises:
        RecipeError: if a question leaves no room for the text.
        DataError: if an answer is not in its text.
    """
    _check_room(tokenizer, questions, max_length, stride)
    parts = [range(first, min(first + CHUNK, len(questions))) for first in range(0, len(questions), CHUNK)]
    return concatenate_datasets(
        [Dataset.from_dict(_windows(tokenizer, questions, part, max_length, stride)) for part in parts]
    )


def _windows(
    tokenizer: Any, questions: Sequence[Question], numbers: Sequence[int], max_length: int, stride: int
) -> dict[str, list[Any]]:
    """Return the columns of the windows of the questions with these numbers."""
    encoded = tokenizer(
        [questions[i].question for i in numbers],
        [questions[i].context for i in numbers],
        truncation="only_second",
        max_length=max_length,
        stride=stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    columns: dict[str, list[Any]] = {name: encoded[name] for name in tokenizer.model_input_names if name in encoded}
    spans = {i: _answer_span(questions[i]) for i in numbers}
    samples = [numbers[sample] for sample in encoded["overflow_to_sample_mapping"]]
    neighbours = zip([None, *samples[:-1]], samples, [*samples[1:], None], strict=True)
    rest: list[dict[str, Any]] = []
    for window, (before, question, after) in enumerate(neighbours):
        begin, end = _characters(encoded, window)
        ends = {"first": before != question, "last": after != question}
        cls = cls_place(tokenizer, encoded["input_ids"][window])
        positions = answer_tokens(begin, end, spans[question], **ends) or (cls, cls)
        rest.append({**dict(zip(POSITIONS, positions, strict=True)), "question": question, "begin": begin, "end": end})
    return columns | {name: [row[name] for row in rest] for name in rest[0]}


def _characters(encoded: Any, window: int) -> NDArray:
    """Return the characters of the text that each token of a window stands for, begin and end, or `OUTSIDE`."""
    of_text = np.array([part == 1 for part in encoded.sequence_ids(window)])
    return np.where(of_text, np.array(encoded["offset_mapping"][window]).T, OUTSIDE).astype(np.int32)


def _check_room(tokenizer: Any, questions: Sequence[Question], max_length: int, stride: int) -> None:
    special = tokenizer.num_special_tokens_to_add(pair=True)
    tokens = tokenizer([question.question for question in questions], add_special_tokens=False)["input_ids"]
    longest = max(range(len(questions)), key=lambda i: len(tokens[i]))
    room = max_length - special - len(tokens[longest])
    if room <= stride:
        raise RecipeError(
            f"max_length={max_length} leaves {max(room, 0)} tokens of text beside the question "
            f"{questions[longest].id!r}, and windows share text.stride={stride}; raise max_length or lower text.stride"
        )


def _answer_span(question: Question) -> tuple[int, int] | None:
    """Return the characters of the answer to train on, from the first to behind the last; None without an answer."""
    if not question.answers:
        return None
    answer, place = question.answers[0]
    span = locate(question.context, answer, place)
    if span is None:
        raise DataError(f"the question {question.id!r} has the answer {answer!r}, which is not in its context")
    return span


def locate(context: str, answer: str, place: int) -> tuple[int, int] | None:
    """Return the characters of an answer, without white space around it: at `place`, or else where it stands nearest.

    Example:
        >>> locate("in Paris, not in Paris", " Paris", 2), locate("in Paris", "Paris", 0), locate("in Paris", "Rome", 3)
        ((3, 8), (3, 8), None)
    """
    place += len(answer) - len(answer.lstrip())
    answer = answer.strip()
    starts = [match.start() for match in re.finditer(re.escape(answer), context)] if answer else []
    if not starts:
        return None
    nearest = min(starts, key=lambda start: abs(start - place))
    return nearest, nearest + len(answer)


def answer_tokens(
    begin: NDArray, end: NDArray, span: tuple[int, int] | None, *, first: bool = False, last: bool = False
) -> tuple[int, int] | None:
    """Return the first and the last token that touch the characters of `span`; None if some are not in the window.

    Args:
        begin: the first character of each token, `OUTSIDE` for tokens that are not of the text.
        end: the character behind its last one.
        span: of the answer.
        first: the window is the text's first: no token stands for the characters before it, such as a stripped accent.
        last: it is the text's last: no token stands for the characters after it.

    Example:
        >>> begin, end = np.array([-1, 0, 3, 8, -1]), np.array([-1, 2, 8, 9, -1])  # [CLS] in Paris . [SEP]
        >>> answer_tokens(begin, end, (3, 8)), answer_tokens(begin, end, (3, 12))
        ((2, 2), None)
    """
    inside = np.flatnonzero(begin != OUTSIDE)
    if span is None or not inside.size:
        return None
    if (begin[inside[0]] > span[0] and not first) or (end[inside[-1]] < span[1] and not last):
        return None
    touching = inside[(end[inside] > span[0]) & (begin[inside] < span[1])]
    return (int(touching[0]), int(touching[-1])) if touching.size else None
