"""The nine tasks of GLUE (Wang et al. 2019), with the columns and the order of labels of `nyu-mll/glue` on the hub.

The metric that decides is the one that Devlin et al. (2019, table 1) report: Matthews' correlation for CoLA, F1 for
MRPC and QQP, Spearman's correlation for STS-B, accuracy for the others, on the matched set for MNLI. GLUE's second
metrics are measured too. The hub hides the labels of the test sets (-1), but for MRPC's: then there is no test split,
and results are of the validation set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from datasets import Dataset

from mgpp.lab.tasks.base import TaskSettings, check_length, check_padding
from mgpp.lab.tasks.sources import DataError, read_splits
from mgpp.lab.tasks.text_classification import TextClassification

HUB = "nyu-mll/glue"
HIDDEN = -1
HIGHEST_SCORE = 5.0  # of STS-B
MATCHED, MISMATCHED = "_matched", "_mismatched"


@dataclass(frozen=True)
class GlueTask:
    """One of the nine.

    Attributes:
        texts: columns of the one or two texts.
        labels: names of the classes by number; none for scores from 0 to 5.
        metrics: the first one decides.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    metrics: tuple[str, ...] = ("accuracy",)


GLUE = {
    "cola": GlueTask(("sentence",), ("unacceptable", "acceptable"), ("matthews", "accuracy")),
    "sst2": GlueTask(("sentence",), ("negative", "positive")),
    "mrpc": GlueTask(("sentence1", "sentence2"), ("not_equivalent", "equivalent"), ("f1", "accuracy")),
    "stsb": GlueTask(("sentence1", "sentence2"), (), ("spearman", "pearson")),
    "qqp": GlueTask(("question1", "question2"), ("not_duplicate", "duplicate"), ("f1", "accuracy")),
    "mnli": GlueTask(("premise", "hypothesis"), ("entailment", "neutral", "contradiction")),
    "qnli": GlueTask(("question", "sentence"), ("entailment", "not_entailment")),
    "rte": GlueTask(("sentence1", "sentence2"), ("entailment", "not_entailment")),
    "wnli": GlueTask(("sentence1", "sentence2"), ("not_entailment", "entailment")),
}


def load(name: str, tokenizer: Any, settings: TaskSettings) -> TextClassification:
    """Tokenize one of the tasks, pairs truncated to `settings.max_length` tokens, the longer text first.

    The splits of MNLI are "train", "validation" (the hub's validation_matched) and "validation_mismatched", which is
    evaluated along with "validation": `accuracy` is of the matched, `accuracy_mismatched` of the mismatched examples.

    Args:
        name: a key of `GLUE`.
        tokenizer: of the model.
        settings: lengths, and a folder of local files in place of the hub; there labels may be names or numbers.

    Raises:
        DataError: if the data can't be read, or a label is none of the task's.
        RecipeError: if texts would be longer than what the model reads, or the tokenizer can't pad.

    Example:
        >>> load("rte", tokenizer, TaskSettings(max_length=128)).metric  # doctest: +SKIP
        'accuracy'
    """
    check_length("max_length", settings.max_length, tokenizer)
    check_padding(tokenizer)
    task = GLUE[name]
    validation = [f"validation{kind}" for kind in (MATCHED, MISMATCHED)] if name == "mnli" else ["validation"]
    test = [split.replace("validation", "test") for split in validation]
    found = read_splits(
        HUB,
        name,
        columns=(*task.texts, "label"),
        texts=task.texts,
        required=("train", *validation),
        optional=test,
        data=settings.data,
    )
    labels = {split: read_labels(table, task, split) for split, table in found.tables.items()}
    splits = {
        split.removesuffix(MATCHED): encode(tokenizer, table, task.texts, labels[split], settings.max_length)
        for split, table in found.tables.items()
        if not _hidden(split, labels[split])
    }
    companions = {split: {"mismatched": split + MISMATCHED} for split in splits if split + MISMATCHED in splits}
    return TextClassification(tokenizer, task.labels, splits, found.sha256, task.metrics, companions)


def read_labels(table: Dataset, task: GlueTask, split: str) -> list[float]:
    """The labels of a split as numbers; -1 where they are hidden.

    Raises:
        DataError: if a label is none of the task's; it names split, row and value.
    """
    number = _class_number(task.labels) if task.labels else _score
    found = []
    for row, value in enumerate(table["label"]):
        label = number(value)
        if label is None or (label == HIDDEN and not split.startswith("test")):
            known = ", ".join(f"{i} ({name})" for i, name in enumerate(task.labels)) or f"0 to {HIGHEST_SCORE}"
            raise DataError(f"row {row} of the split {split!r} has label={value!r}; known are {known}")
        found.append(label)
    return found


def encode(tokenizer: Any, table: Dataset, texts: tuple[str, ...], labels: list[float], max_length: int) -> Dataset:
    """The texts of each row as one input of the model, cut to `max_length` tokens, and the labels.

    Columns are the tokenizer's own (input_ids, attention_mask, for BERT token_type_ids) and labels.
    """

    def _tokens(rows: dict[str, list[str]]) -> dict[str, Any]:
        return dict(tokenizer(*(rows[column] for column in texts), truncation=True, max_length=max_length))

    encoded = table.map(_tokens, batched=True, remove_columns=table.column_names, keep_in_memory=True)
    return encoded.add_column("labels", labels)


def _hidden(split: str, labels: list[float]) -> bool:
    """Whether a test split hides its labels.

    Raises:
        DataError: if it hides some of them.
    """
    hidden = labels.count(HIDDEN)
    if hidden not in (0, len(labels)):
        raise DataError(f"{hidden} of {len(labels)} labels of the split {split!r} are {HIDDEN}; give all or none")
    return hidden > 0


def _class_number(names: tuple[str, ...]) -> Callable[[Any], int | None]:
    numbers: dict[Any, int] = {name: i for i, name in enumerate(names)} | {i: i for i in range(HIDDEN, len(names))}
    return lambda value: numbers.get(value if value in names else _number(value))


def _score(value: Any) -> float | None:
    score = _number(value)
    return score if score is not None and (0 <= score <= HIGHEST_SCORE or score == HIDDEN) else None


def _number(value: Any) -> float | None:
    """The number that a value is or spells.

    Example:
        >>> _number("1"), _number(2.5), _number("positive")
        (1.0, 2.5, None)
    """
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
