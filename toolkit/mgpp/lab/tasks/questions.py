"""Hold questions about texts, and the names that their windows share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OUTSIDE = -1  # in the columns begin and end: a token that is not of the text
POSITIONS = ("start_positions", "end_positions")


@dataclass(frozen=True)
class Question:
    """A question, its text, and the accepted answers as (text, place of the first character).

    Attributes:
        answers: the first one is trained on; none where the text holds no answer.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]


def cls_place(tokenizer: Any, tokens: Sequence[int]) -> int:
    """Return where [CLS] stands, which means "no answer here"; the first token for tokenizers without one."""
    cls = tokenizer.cls_token_id
    return tokens.index(cls) if cls in tokens else 0
