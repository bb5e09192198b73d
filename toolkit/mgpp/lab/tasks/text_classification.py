"""Classification of texts or pairs of texts, and regression: tokenized sets, the head, and the metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, PreTrainedModel

from mgpp.lab.models.loading import safely
from mgpp.lab.tasks.evaluation import batches_by_length, evaluating, in_turns
from mgpp.lab.tasks.metrics import scores


@dataclass(frozen=True)
class TextClassification:
    """A data set ready to train and evaluate on.

    Attributes:
        tokenizer: of the model.
        labels: names of the classes; none for regression.
        splits: "train", "validation" and, where its labels are known, "test", with columns input_ids, attention_mask
            and labels.
        data_sha256: hash of the data.
        metrics: names in `metrics.METRICS`; the first one decides.
        companions: split -> suffix -> another split that is evaluated with it, its metrics under names with the suffix.
    """

    higher_is_better: ClassVar[bool] = True

    tokenizer: Any
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset] = field(repr=False)
    data_sha256: str
    metrics: tuple[str, ...] = ("accuracy",)
    companions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """The metric that decides."""
        return self.metrics[0]

    @property
    def collate(self) -> DataCollatorWithPadding:
        """Pads a batch to its longest text."""
        return DataCollatorWithPadding(self.tokenizer)

    def load_model(self, source: str) -> PreTrainedModel:
        """The pretrained encoder in float32 with a fresh head, drawn from torch's random state."""
        if not self.labels:
            head: dict[str, Any] = {"num_labels": 1, "problem_type": "regression"}
        else:
            names = dict(enumerate(self.labels))
            head = {"num_labels": len(names), "id2label": names, "label2id": {name: i for i, name in names.items()}}
        return AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32, **head, **safely(source))

    def evaluate(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> dict[str, float]:
        """The metrics on a split, standard errors where they are known, mean loss, and n.

        Deterministic: fixed batches in the order of lengths, no dropout, the model's mode restored.
        """
        with evaluating(model, bf16=bf16):
            found = self._measure(model, self.splits[split])
            for suffix, companion in self.companions.get(split, {}).items():
                measured = self._measure(model, self.splits[companion])
                found |= {_suffixed(name, suffix): value for name, value in measured.items()}
        return found

    def _measure(self, model: PreTrainedModel, data: Dataset) -> dict[str, float]:
        def _predict(_: Any, batch: Any) -> tuple[list[float], list[float], float]:
            output = model(**batch.to(model.device))
            predicted = output.logits.argmax(-1) if self.labels else output.logits.float().squeeze(-1)
            return predicted.tolist(), batch["labels"].tolist(), float(output.loss)

        predictions, labels, loss = [], [], 0.0
        for rows, found in in_turns(batches_by_length(data, self.collate), _predict):
            predictions += found[0]
            labels += found[1]
            loss += found[2] * len(rows)
        measured = scores(self.metrics, np.array(labels), np.array(predictions))
        return measured | {"loss": loss / len(data), "n": len(data)}


def _suffixed(name: str, suffix: str) -> str:
    """The suffix after the metric's name, before that of its standard error.

    Example:
        >>> _suffixed("accuracy", "mismatched"), _suffixed("accuracy_se", "mismatched")
        ('accuracy_mismatched', 'accuracy_mismatched_se')
    """
    metric = name.removesuffix("_se")
    return f"{metric}_{suffix}{name[len(metric) :]}"
