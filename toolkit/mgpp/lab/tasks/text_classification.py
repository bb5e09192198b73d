"""Classification of texts or pairs of texts, and regression."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mgpp.lab.tasks.base import DataError, Task

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import DataCollatorWithPadding, PreTrainedModel


class TextClassification(Task):
    """Which of the `labels` do the texts of a row have? Without labels: which score?

    Rows of `splits` have the tokenizer's own columns (input_ids, attention_mask, …) and `labels`. In the data a label
    is a class's name or its number.

    Attributes:
        texts: the columns of one or two texts; pairs are cut to `max_length` tokens, the longer text first.
        label: the column of the label.
        labels: names of the classes, in the order of their numbers; none for regression.
    """

    label: ClassVar[str] = "label"
    labels: ClassVar[tuple[str, ...]] = ()
    metrics: ClassVar[tuple[str, ...]] = ("accuracy",)
    head = "AutoModelForSequenceClassification"

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.columns = (cls.label,)

    @classmethod
    def head_settings(cls) -> dict[str, Any]:
        """Return the number and the names of the classes, or that it is a regression."""
        if not cls.labels:
            return {"num_labels": 1, "problem_type": "regression"}
        names = dict(enumerate(cls.labels))
        return {"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}}

    def encode(self, tables: Mapping[str, "Dataset"]) -> dict[str, "Dataset"]:
        """Tokenize the texts and read the labels of each split."""
        return {
            split: self._tokens(table).add_column("labels", self._labels(table, split))
            for split, table in tables.items()
        }

    def _tokens(self, table: "Dataset") -> "Dataset":
        def _encode(rows: dict[str, list[str]]) -> dict[str, Any]:
            texts = (rows[column] for column in self.texts)
            return dict(self.tokenizer(*texts, truncation=True, max_length=self.settings.max_length))

        return table.map(_encode, batched=True, remove_columns=table.column_names, keep_in_memory=True)

    def _labels(self, table: "Dataset", split: str) -> list[float]:
        labels = [self.label_number(value) for value in table[self.label]]
        if None in labels:
            row = labels.index(None)
            known = ", ".join(f"{i} ({name})" for i, name in enumerate(self.labels)) or "numbers in the task's range"
            raise DataError(
                f"row {row} of the split {split!r} has {self.label}={table[self.label][row]!r}; known are {known}"
            )
        return labels  # type: ignore[return-value]

    @classmethod
    def label_number(cls, value: Any) -> float | None:
        """Return the number of a label that is given by name or number; None if it is none of the task's."""
        if value in cls.labels:
            return cls.labels.index(value)
        try:
            number = float(value)
        except (TypeError, ValueError):
            return None
        if not cls.labels:
            return number if math.isfinite(number) else None
        return int(number) if number in range(len(cls.labels)) else None

    @property
    def collate(self) -> "DataCollatorWithPadding":
        """Pads a batch to its longest text."""
        from transformers import DataCollatorWithPadding

        return DataCollatorWithPadding(self.tokenizer)

    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return the metrics of a split with their standard errors where known, the mean loss, and n."""
        from mgpp.lab.tasks.evaluation import batches_by_length, evaluating, in_turns
        from mgpp.lab.tasks.metrics import scores

        def _predict(_: Any, batch: Any) -> tuple[list[float], list[float], float]:
            output = model(**batch.to(model.device))
            predicted = output.logits.argmax(-1) if self.labels else output.logits.float().squeeze(-1)
            return predicted.tolist(), batch["labels"].tolist(), float(output.loss)

        predictions, labels, loss = [], [], 0.0
        data = self.splits[split]
        with evaluating(model, bf16=bf16):
            for rows, (predicted, known, mean) in in_turns(batches_by_length(data, self.collate), _predict):
                predictions += predicted
                labels += known
                loss += mean * len(rows)
        return scores(self.metrics, labels, predictions) | {"loss": loss / len(data), "n": len(data)}
