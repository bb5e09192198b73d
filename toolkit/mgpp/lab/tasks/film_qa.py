"""Define the task `film-qa`: which film is a text about? Question answering offline, from the reviews' package.

The texts are reviews and plot summaries that mention their film's title; the answer is the title where it first stands.
It is made of the corpus of the task `reviews`, split by film in the same way: no title is asked for in two parts.
"""

import re
from typing import TYPE_CHECKING, Any

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks.base import register
from mgpp.lab.tasks.question_answering import QuestionAnswering
from mgpp.lab.tasks.questions import Question
from mgpp.lab.tasks.reviews import SPLITS, read_corpus

if TYPE_CHECKING:
    import pandas as pd

QUESTION = "Which film is this about?"


def read() -> "pd.DataFrame":
    """Read the texts that mention their film: columns text, answer, start (its first character), film, split, category.

    All categories count (fresh, rotten, plot), duplicate texts once. A title is the film's name in the file with spaces
    for underscores, so titles with an apostrophe, a number sign or an article moved to the end are rarely found.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    table = read_corpus().drop_duplicates("text")
    found = [mention(text, film) for text, film in zip(table["text"], table["film"], strict=True)]
    table["answer"] = [match and match.group() for match in found]
    table["start"] = [match and match.start() for match in found]
    table = table.dropna(subset="answer", ignore_index=True).astype({"start": int})
    return table[["text", "answer", "start", "film", "split", "category"]]


def mention(text: str, film: str) -> re.Match[str] | None:
    """Find the first place where a text has a film's title as whole words, in upper or lower case.

    Example:
        >>> mention("Not that 'The Ring', THE RING!", "the_ring").span()
        (10, 18)
        >>> mention("Forsigns, signs", "signs").span(), mention("assigns", "signs")
        ((10, 15), None)
    """
    return re.search(rf"(?<!\w){re.escape(film.replace('_', ' '))}(?!\w)", text, re.IGNORECASE)


@register("film-qa")
class FilmQa(QuestionAnswering):
    """Which film is a text about?"""

    embedded, for_own_data = True, "squad"

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the packaged texts as questions by split."""
        questions: dict[str, list[Question]] = {split: [] for split in SPLITS}
        row: Any
        for row in read().itertuples():
            questions[row.split].append(
                Question(f"film-qa-{row.Index}", QUESTION, row.text, ((row.answer, row.start),))
            )
        return questions, REVIEWS.sha256
