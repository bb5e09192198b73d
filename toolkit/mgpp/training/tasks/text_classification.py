"""Text classification: tokenized sets, the head, and accuracy with its standard error."""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, DataCollatorWithPadding, PreTrainedModel

EVALUATION_BATCH = 128


@dataclass(frozen=True)
class TextClassification:
    """A data set ready to train and evaluate on.

    Attributes:
        tokenizer: of the model.
        labels: names of the classes.
        splits: "train", "validation" and "test", with columns input_ids, attention_mask and labels.
        data_sha256: hash of the file that the data came from.
    """

    tokenizer: Any
    labels: tuple[str, ...]
    splits: Mapping[str, Dataset] = field(repr=False)
    data_sha256: str

    @property
    def collate(self) -> DataCollatorWithPadding:
        """Pads a batch to its longest text."""
        return DataCollatorWithPadding(self.tokenizer)

    def load_model(self, source: str) -> PreTrainedModel:
        """The pretrained encoder with a fresh classification head, drawn from torch's random state."""
        names = dict(enumerate(self.labels))
        return AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=len(names), id2label=names, label2id={label: i for i, label in names.items()}
        )

    def evaluate(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> dict[str, float]:
        """Accuracy on a split, its binomial standard error sqrt(a(1-a)/n), mean loss, and n.

        Deterministic: fixed batches in the order of lengths, no dropout, the model's mode restored.
        """
        was_training = model.training
        model.eval()
        correct, loss, data = 0, 0.0, self.splits[split]
        cast = torch.autocast(model.device.type, torch.bfloat16) if bf16 else nullcontext()
        with torch.no_grad(), cast:
            for batch in self._batches(data):
                batch = batch.to(model.device)
                output = model(**batch)
                correct += int((output.logits.argmax(-1) == batch["labels"]).sum())
                loss += float(output.loss) * len(batch["labels"])
        model.train(was_training)
        accuracy = correct / len(data)
        standard_error = math.sqrt(accuracy * (1 - accuracy) / len(data))
        return {"accuracy": accuracy, "accuracy_se": standard_error, "loss": loss / len(data), "n": len(data)}

    def _batches(self, data: Dataset) -> Iterator[Any]:
        order = sorted(range(len(data)), key=lambda i: len(data[i]["input_ids"]))
        for start in range(0, len(order), EVALUATION_BATCH):
            yield self.collate([data[i] for i in order[start : start + EVALUATION_BATCH]])
