"""Read the text of notebooks: its sentences, and which of its questions lack an answer."""

import re
from collections.abc import Iterator

TABLE_OR_HEADING = re.compile(r"^[ ]*[|#].*$", re.MULTILINE)
TAG = re.compile(r"<[^>]+>")
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
ITEM = re.compile(r"^\s*(?:-|\d+\.) ", re.MULTILINE)
ANSWER = re.compile(r"<details><summary>Answer</summary>.+</details>")


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of Markdown, without tables, headings, marks and addresses.

    Example:
        >>> list(sentences("# Title\\n- One *word*. Two\\n- Three"))
        ['One word.', 'Two', 'Three']
    """
    plain = TAG.sub("\n\n", TABLE_OR_HEADING.sub("", text))
    plain = ITEM.sub("\n\n", LINK.sub(r"\1", plain)).replace("*", "").replace("`", "")
    for paragraph in re.split(r"\n\s*\n", plain):
        yield from (part for part in re.split(r"(?<=[.?!])\)? +", " ".join(paragraph.split())) if part)


def words(sentence: str) -> int:
    """Count the words and numbers of a sentence."""
    return sum(any(character.isalnum() for character in part) for part in sentence.split())


def unanswered(questions: str) -> list[str]:
    """List the numbered questions that have no answer folded away below them."""
    parts = re.split(r"^(?=\d+\. )", questions, flags=re.MULTILINE)[1:]
    return [part for part in parts if not ANSWER.search(part)]
