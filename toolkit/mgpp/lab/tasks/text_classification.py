"""Classification of texts or pairs of texts, and regression."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.lab.tasks.base import DataError, Task
from mgpp.lab.tasks.errors import DataWarning

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

    label: str = "label"
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ("accuracy",)
    head = "AutoModelForSequenceClassification"

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.columns = (cls.label,)

    @classmethod
    def head_settings(cls) -> dict[str, Any]:
        """Return the number and the names of the classes, or that it is a regression."""
        return head_for(cls.labels)

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

        # a fingerprint, or the library would hash the tokenizer, which takes longer than a small table
        options = {"remove_columns": table.column_names, "keep_in_memory": True, "new_fingerprint": "tokens"}
        return table.map(_encode, batched=True, **options)

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

    def load_model(self, source: str) -> "PreTrainedModel":
        """Load the pretrained model; draw a fresh head, and warn, if the one it has is of another size.

        Raises:
            RecipeError: if the task can't use such a model, or a weight below the head has another shape.
        """
        import torch
        import transformers

        from mgpp.lab.models.loading import safely

        model, found = getattr(transformers, self.head).from_pretrained(
            source,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **self.head_settings(),
            **safely(source),
        )
        if resized := sorted(each[0] for each in found["mismatched_keys"]):
            self._check_head(model, resized)
        if model.config.pad_token_id is None:  # without one GPT-2 reads one text at a time
            model.config.pad_token_id = self.tokenizer.pad_token_id
        return model

    def _check_head(self, model: "PreTrainedModel", resized: Sequence[str]) -> None:
        name = model.config.name_or_path
        if below := [key for key in resized if key.startswith(f"{model.base_model_prefix}.")]:
            raise RecipeError(f"model={name!r}: {below[0]} has another shape than its config.json says")
        warnings.warn(
            f"model={name!r}: its head has another size than the task's {model.num_labels}; it gets a fresh one",
            DataWarning,
            stacklevel=2,
        )

    def predicted(self, logits: Any) -> Any:
        """Return what the logits of a batch say: classes, or scores."""
        return logits.argmax(-1) if self.labels else logits.float().squeeze(-1)

    def evaluate(self, model: "PreTrainedModel", split: str, *, bf16: bool = False) -> dict[str, float]:
        """Return the metrics of a split with their standard errors where known, the mean loss, and n."""
        from mgpp.lab.tasks.evaluation import batches_by_length, evaluating, in_turns
        from mgpp.lab.tasks.metrics import scores

        def _predict(_: Any, batch: Any) -> tuple[list[Any], list[Any], float]:
            output = model(**batch.to(model.device))
            return self.predicted(output.logits).tolist(), batch["labels"].tolist(), float(output.loss)

        predictions, labels, loss = list[Any](), list[Any](), 0.0
        data = self.splits[split]
        with evaluating(model, bf16=bf16):
            for rows, (predicted, known, mean) in in_turns(batches_by_length(data, self.collate), _predict):
                predictions += predicted
                labels += known
                loss += mean * len(rows)
        return scores(self.metrics, labels, predictions) | {"loss": loss / len(data), "n": len(data)}


def head_for(labels: Sequence[str]) -> dict[str, Any]:
    """Return what the model's configuration says of a head for these labels; for none, of a regression.

    Example:
        >>> head_for(["no", "yes"])["label2id"]
        {'no': 0, 'yes': 1}
    """
    if not labels:
        return {"num_labels": 1, "problem_type": "regression"}
    names = dict(enumerate(labels))
    kind = {"num_labels": len(names), "problem_type": "single_label_classification"}
    return {**kind, "id2label": names, "label2id": {name: i for i, name in names.items()}}
