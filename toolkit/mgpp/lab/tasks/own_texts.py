"""Define the task `text-classification`: labels or scores of any texts, read from files of one's own.

Columns, labels and splits are taken as they are found, unless the recipe's section `text` says otherwise.
"""

import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgpp.lab.recipes.recipe import did_you_mean
from mgpp.lab.tasks.base import DataError, register
from mgpp.lab.tasks.errors import DataWarning
from mgpp.lab.tasks.text_classification import TextClassification, head_for

if TYPE_CHECKING:
    from datasets import Dataset

PAIRS = [("sentence1", "sentence2"), ("question1", "question2"), ("premise", "hypothesis"), ("question", "sentence")]
PAIRS += [("text1", "text2"), ("text_a", "text_b"), ("query", "document"), ("question", "context")]
SINGLES = ("text", "sentence", "review", "content", "body", "document", "comment", "message", "tweet", "utterance")
NEITHER = {"", "id", "idx", "index", "unnamed: 0", "__index_level_0__"}  # columns of row numbers
LABELS = ("label", "labels", "target", "class", "category", "score", "rating", "stars", "sentiment", "intent", "y")
ONE_IN = 10  # rows of the train split become one row of a split that is missing
METRICS = {"regression": ("spearman", "pearson"), "multi-label": ("micro_f1", "macro_f1")}


@register("text-classification")
class OwnTexts(TextClassification):
    """What do texts, or pairs of texts, have: one of several labels, several labels at once, or a score?"""

    required = ("train",)

    @classmethod
    def check_data(cls, data: Path | None) -> None:
        """Raise DataError unless there is a file or a folder to read."""
        if data is None:
            raise DataError("task='text-classification' reads data of your own; name a file or a folder: --data my.csv")
        if not data.exists():
            raise DataError(f"data={str(data)!r} does not exist")

    def read(self) -> tuple[dict[str, Any], str]:
        """Read all splits, find columns and labels, and split off what is missing."""
        from mgpp.lab.tasks.sources import checked, read_own

        data, settings = Path(str(self.settings.data)), self.settings
        found, sha256 = read_own(data)
        names = found["train"].column_names
        self.label = choose_label(names, settings.label, settings.columns or ())
        self.texts = choose_texts(names, settings.columns, self.label)
        where = f"data={str(data)!r}: the split"
        tables = {
            split: checked(table, self.texts, [self.label], f"{where} {split!r}") for split, table in found.items()
        }
        values = _values(tables["train"], self.label)
        classes = _class_names(tables["train"], self.label)
        self.target = Target.of(values, settings.problem, classes.names if classes else ())
        self.labels = self.target.names
        self.metrics = METRICS.get(self.target.problem, ("accuracy", "macro_f1")[: 1 + (len(self.labels) > 2)])
        if missing := [split for split in ("validation", "test") if split not in tables]:
            tables |= self._split(tables["train"], values, missing)
        return tables, sha256

    def _split(self, train: "Dataset", values: Sequence[Any], missing: Sequence[str]) -> dict[str, "Dataset"]:
        seed = self.settings.split_seed
        rows = split_rows(self.target.groups(values), missing, seed)
        if not all(rows.values()):
            raise DataError(
                f"data={str(self.settings.data)!r}: {len(train)} rows are too few to split; add the splits "
                f"{' and '.join(missing)}"
            )
        warnings.warn(
            f"data={str(self.settings.data)!r} has no split {' and no split '.join(missing)}: one in {ONE_IN} of its "
            f"{len(train):,} train rows becomes each, drawn by text.split_seed={seed}; {len(rows['train']):,} are left",
            DataWarning,
            stacklevel=2,
        )
        return {split: train.select(chosen) for split, chosen in rows.items()}

    def head_settings(self) -> dict[str, Any]:  # type: ignore[override]
        """Return the number and the names of the labels that were found, and the kind of problem."""
        kind = {"problem_type": "multi_label_classification"} if self.target.problem == "multi-label" else {}
        return head_for(self.labels) | kind

    def _labels(self, table: "Dataset", split: str) -> list[Any]:
        numbers = []
        for row, value in enumerate(_values(table, self.label)):
            try:
                numbers.append(self.target.number(value))
            except (ValueError, TypeError):
                known = f"known are {', '.join(self.labels)}" if self.labels else "the labels are scores"
                raise DataError(
                    f"row {row} of the split {split!r} has {self.label}={value!r:.80}, which is no label of the train "
                    f"split; {known:.400}"
                ) from None
        return numbers

    def predicted(self, logits: Any) -> Any:
        """Return what the logits of a batch say: classes, scores, or for each label whether it holds."""
        return (logits > 0).long() if self.target.problem == "multi-label" else super().predicted(logits)


def choose_label(names: Sequence[str], asked: str | None, texts: Sequence[str] = ()) -> str:
    """Return the column of the label: the one asked for, one with a usual name, or the only one beside the texts.

    Raises:
        DataError: if there is no such column, or it can't be told.

    Example:
        >>> choose_label(["id", "body", "Category"], None)
        'Category'
    """
    if asked is not None:
        return _known(asked, names, "text.label")
    usual = {name.lower(): name for name in names if name not in texts and name.lower() not in NEITHER}
    beside = usual.keys() - {*SINGLES, *(column for pair in PAIRS for column in pair)}
    chosen = next((name for name in LABELS if name in usual), beside.pop() if len(beside) == 1 else None)
    if chosen is None:
        raise DataError(f"which column is the label? There are {', '.join(names)}; say: --set text.label=NAME")
    return usual[chosen]


def choose_texts(names: Sequence[str], asked: Sequence[str] | None, label: str) -> tuple[str, ...]:
    """Return the columns of one or two texts: those asked for, those with usual names, or the only one left.

    Raises:
        DataError: if there are no such columns, or they can't be told.

    Example:
        >>> choose_texts(["Premise", "Hypothesis", "label"], None, "label")
        ('Premise', 'Hypothesis')
    """
    if asked is not None:
        if len(asked) not in (1, 2):
            raise DataError(f"text.columns={list(asked)!r} must name one or two columns")
        return tuple(_known(name, names, "text.columns") for name in asked)
    usual = {name.lower(): name for name in names if name != label and name.lower() not in NEITHER}
    for columns in (*PAIRS, *((single,) for single in SINGLES)):
        if all(column in usual for column in columns):
            return tuple(usual[column] for column in columns)
    if len(usual) != 1:
        raise DataError(f"which columns are texts? There are {', '.join(names)}; say: --set 'text.columns=[NAME]'")
    return tuple(usual.values())


def _known(name: str, names: Sequence[str], key: str) -> str:
    if name not in names:
        raise DataError(f"{key}={name!r} is not a column of the data{did_you_mean(name, names)}")
    return name


def _class_names(table: "Dataset", column: str) -> Any:
    """Return the feature that names the classes of a column, None if the data set names none."""
    feature = table.features[column]
    feature = getattr(feature, "feature", feature)  # of the items of a list
    return feature if hasattr(feature, "int2str") else None


def _values(table: "Dataset", column: str) -> list[Any]:
    """Return the labels of a table, by their names where the data set names its classes."""
    named, values = _class_names(table, column), table[column][:]
    if named is None:
        return values
    return [list(map(named.int2str, each)) if isinstance(each, list) else named.int2str(each) for each in values]


@dataclass(frozen=True)
class Target:
    """What a text's label is, and which number a model learns for it.

    Attributes:
        problem: classification, regression or multi-label.
        names: the labels: as the data set names them, or sorted, numbers by their size; none for regression.
        hot: whether a multi-label row is a list of zeros and ones, one for each label.
    """

    problem: str
    names: tuple[str, ...] = ()
    hot: bool = False

    @classmethod
    def of(cls, values: Sequence[Any], problem: str | None = None, names: Sequence[str] = ()) -> "Target":
        """Infer the labels from those of the train split.

        Lists are several labels at once. Numbers with a decimal point are scores. All else are classes.

        Raises:
            DataError: if there are fewer than two labels.

        Example:
            >>> Target.of(["10", "9", "10"]).names, Target.of([0.5, 2.0]).problem
            (('9', '10'), 'regression')
        """
        values = [_parsed(value) for value in values]
        problem = problem or _problem_of(values)
        if problem == "regression":
            return cls(problem)
        hot = problem == "multi-label" and _are_hot(values)
        if hot:
            return cls(problem, tuple(map(str, range(len(values[0])))), hot)
        found = {_name(each) for value in values for each in (value if problem == "multi-label" else [value])}
        if len(found) < 2:
            raise DataError(f"all labels of the train split are {', '.join(found)!r}; a task needs two at least")
        return cls(problem, tuple(names or sorted(found, key=_order)))

    def number(self, value: Any) -> Any:
        """Return the number of a label, the score, or a one for each of the labels that a text has.

        Raises:
            ValueError, TypeError: if it is none of them.
        """
        value = _parsed(value)
        if self.problem == "regression":
            if not math.isfinite(float(value)):
                raise ValueError(value)
            return float(value)
        if self.problem == "classification":
            return self.names.index(_name(value))
        if self.hot:
            if len(value) != len(self.names) or not {*value} <= {0, 1}:
                raise ValueError(value)
            return [float(each) for each in value]
        places = {self.names.index(_name(each)) for each in value}
        return [float(place in places) for place in range(len(self.names))]

    def groups(self, values: Sequence[Any]) -> list[Any]:
        """Return what a split keeps the shares of: a row's label, the rarest of its labels, or nothing for scores."""
        if self.problem == "regression":
            return [0] * len(values)
        numbers = [self.number(value) for value in values]
        if self.problem == "classification":
            return numbers
        counts = Counter(place for row in numbers for place, has in enumerate(row) if has)
        return [
            min((place for place, has in enumerate(row) if has), key=counts.__getitem__, default=-1) for row in numbers
        ]


def _parsed(value: Any) -> Any:
    """Return the list that a text of a CSV file holds as JSON; other values as they are."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _problem_of(values: Sequence[Any]) -> str:
    if all(isinstance(value, list) for value in values):
        return "multi-label"
    texts = [str(value) for value in values]
    number = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
    scores = all(number.fullmatch(text) for text in texts) and any(not text.strip("+- ").isdigit() for text in texts)
    return "regression" if scores else "classification"


def _are_hot(values: Sequence[Any]) -> bool:
    """Return whether lists are of zeros and ones, all of one length."""
    numbers = all(each in (0, 1) and not isinstance(each, str) for value in values for each in value)
    return numbers and len({len(value) for value in values}) == 1 and len(values[0]) > 1


def _name(value: Any) -> str:
    """Return a label as text; a whole number without a decimal point."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _order(name: str) -> tuple[bool, float, str]:
    try:
        return (False, float(name), name)
    except ValueError:
        return (True, 0.0, name)


def split_rows(groups: Iterable[Any], missing: Sequence[str], seed: int) -> dict[str, list[int]]:
    """Draw one in ten rows of each group for each missing split; the first rows of a group stay in "train".

    If the groups are too small for that, rows are drawn from all of them together.

    Example:
        >>> rows = split_rows(["a"] * 20 + ["b"], ["test"], seed=0)
        >>> len(rows["test"]), 20 in rows["train"]
        (2, True)
    """
    import pandas as pd

    shuffled = pd.Series(list(groups)).sample(frac=1, random_state=seed)
    places = (shuffled.groupby(shuffled).cumcount(), pd.Series(range(len(shuffled)), shuffled.index))
    for place in places:
        turn = place % ONE_IN
        rows = {split: sorted(turn.index[turn == ONE_IN - 1 - i]) for i, split in enumerate(missing)}
        if all(rows.values()):
            break
    taken = {row for chosen in rows.values() for row in chosen}
    return {"train": [row for row in range(len(shuffled)) if row not in taken], **rows}
