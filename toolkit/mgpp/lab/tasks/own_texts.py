"""Define the task `text-classification`: labels or scores of any texts, read from files of one's own.

Columns, labels and splits are taken as they are found, unless the recipe's section `text` says otherwise.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mgpp.lab.tasks.base import DataError, register
from mgpp.lab.tasks.errors import DataWarning
from mgpp.lab.tasks.own_columns import choose_label, choose_texts
from mgpp.lab.tasks.own_labels import ONE_IN, Target, split_rows
from mgpp.lab.tasks.text_classification import TextClassification, head_for

if TYPE_CHECKING:
    from datasets import Dataset

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
