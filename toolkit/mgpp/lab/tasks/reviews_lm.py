"""Define the task `reviews-lm`: what comes next in a text about a film? Causal language modelling without a hub.

All texts of the packaged file, reviews and plots, without duplicates; split by film like the task `reviews`, so that no
film is in two parts. Each text ends with the tokenizer's end-of-text token, or a line break where it has none.
Perplexity counts tokens of the tokenizer in use, so models with different tokenizers can't be compared by it.
"""

from typing import TYPE_CHECKING, Any

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks.base import register
from mgpp.lab.tasks.language_modeling import LanguageModeling
from mgpp.lab.tasks.reviews import by_split, read_corpus

if TYPE_CHECKING:
    import pandas as pd


def read() -> "pd.DataFrame":
    """Read the texts without duplicates: columns text, film, split.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    return read_corpus().drop_duplicates("text", ignore_index=True)[["text", "film", "split"]]


@register("reviews-lm")
class ReviewsLm(LanguageModeling):
    """What comes next in a text about a film?"""

    embedded, for_own_data = True, "clm"

    @property
    def end(self) -> str:
        """The tokenizer's end-of-text token."""
        return self.tokenizer.eos_token or "\n"

    def read(self) -> tuple[dict[str, Any], str]:
        """Read the packaged texts."""
        return by_split(read(), "text"), REVIEWS.sha256
