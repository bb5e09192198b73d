"""Tell what the labels of one's own data are: classes, several labels at once, or scores; and split rows by them."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mgpp.lab.tasks.errors import DataError

ONE_IN = 10  # rows of the train split become one row of a split that is missing


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
