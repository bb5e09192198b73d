"""Windows on a text that is too long for the model, for extractive question answering.

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
from mgpp.lab.tasks.base import DataError
from mgpp.lab.tasks.question_answering import OUTSIDE, POSITIONS, Question, cls_place

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
    spans = [_answer_span(question) for question in questions]
    parts = [range(first, min(first + CHUNK, len(questions))) for first in range(0, len(questions), CHUNK)]
    return concatenate_datasets(
        [Dataset.from_dict(_windows(tokenizer, questions, spans, part, max_length, stride)) for part in parts]
    )


def _windows(
    tokenizer: Any,
    questions: Sequence[Question],
    spans: Sequence[tuple[int, int] | None],
    numbers: Sequence[int],
    max_length: int,
    stride: int,
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
    samples = [numbers[sample] for sample in encoded["overflow_to_sample_mapping"]]
    characters = [_characters(encoded, window) for window in range(len(samples))]
    known = _within_tokens(spans, samples, characters)
    rest: list[dict[str, Any]] = []
    for window, (question, (begin, end)) in enumerate(zip(samples, characters, strict=True)):
        cls = cls_place(tokenizer, encoded["input_ids"][window])
        first, last = answer_tokens(begin, end, known[question]) or (cls, cls)
        positions = dict(zip(POSITIONS, (first, last), strict=True))
        rest.append({**positions, "question": question, "begin": begin, "end": end})
    return columns | {name: [row[name] for row in rest] for name in rest[0]}


def _characters(encoded: Any, window: int) -> NDArray:
    """Return the characters of the text that each token of a window stands for, begin and end, or `OUTSIDE`."""
    of_text = np.array([part == 1 for part in encoded.sequence_ids(window)])
    return np.where(of_text, np.array(encoded["offset_mapping"][window]).T, OUTSIDE).astype(np.int32)


def _within_tokens(
    spans: Sequence[tuple[int, int] | None], samples: Sequence[int], characters: Sequence[NDArray]
) -> dict[int, tuple[int, int] | None]:
    """Return the answers without characters at the ends of the text that no token stands for.

    Such are accents that the tokenizer strips.

    Args:
        spans: of all questions.
        samples: the question of each window.
        characters: of each window.
    """
    covered: dict[int, list[int]] = {question: [] for question in samples}
    for question, (begin, end) in zip(samples, characters, strict=True):
        inside = begin != OUTSIDE
        covered[question] += [int(begin[inside].min()), int(end[inside].max())] if inside.any() else []
    return {question: _clipped(spans[question], covered[question]) for question in samples}


def _clipped(span: tuple[int, int] | None, covered: Sequence[int]) -> tuple[int, int] | None:
    if span is None or not covered:
        return None
    first, last = max(span[0], min(covered)), min(span[1], max(covered))
    return (first, last) if first < last else None


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


def answer_tokens(begin: NDArray, end: NDArray, span: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return the first and the last token that touch the characters of `span`; None if some are not in the window.

    Args:
        begin: the first character of each token, `OUTSIDE` for tokens that are not of the text.
        end: the character behind its last one.
        span: of the answer.

    Example:
        >>> begin, end = np.array([-1, 0, 3, 8, -1]), np.array([-1, 2, 8, 9, -1])  # [CLS] in Paris . [SEP]
        >>> answer_tokens(begin, end, (3, 8)), answer_tokens(begin, end, (3, 12))
        ((2, 2), None)
    """
    inside = np.flatnonzero(begin != OUTSIDE)
    if span is None or not inside.size or begin[inside[0]] > span[0] or end[inside[-1]] < span[1]:
        return None
    touching = inside[(end[inside] > span[0]) & (begin[inside] < span[1])]
    return (int(touching[0]), int(touching[-1])) if touching.size else None
