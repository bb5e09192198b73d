"""What a task is: tokenized sets, a collator, a head, a metric. `train` knows nothing else of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datasets import Dataset
from transformers import PreTrainedModel

from mgpp.lab.recipes.recipe import RecipeError


@dataclass(frozen=True)
class TaskSettings:
    """How texts become tokens, and where they come from.

    Attributes:
        max_length: longest input, in tokens; a summary's source, a window of question answering.
        stride: tokens that two windows of one long text share (question answering).
        target_length: longest summary, in tokens.
        beams: of the beam search that writes a summary.
        data: folder of local files in the hub's format (parquet, csv, jsonl, txt; a file or folder a split); None: the
            hub.

    Example:
        >>> TaskSettings(max_length=384).stride
        128
    """

    max_length: int = 64
    stride: int = 128
    target_length: int = 128
    beams: int = 4
    data: Path | None = None


def check_length(field: str, length: int, tokenizer: Any) -> None:
    """Refuse texts longer than what the model reads, as far as its tokenizer knows.

    Raises:
        RecipeError: with the name of the `field` to lower.
    """
    if length > tokenizer.model_max_length:
        raise RecipeError(f"{field}={length} exceeds the {tokenizer.model_max_length} tokens of the model; lower it")


def check_padding(tokenizer: Any) -> None:
    """Refuse a tokenizer that can't bring the texts of a batch to one length, as GPT-2's.

    Raises:
        RecipeError: if it has no token for that.
    """
    if tokenizer.pad_token is None:
        raise RecipeError(
            f"the task pads its texts to one length, and the tokenizer of model={tokenizer.name_or_path!r} has no "
            "token for that; give it a pad_token, or take another model"
        )


class Task(Protocol):
    """A data set ready to train and evaluate on."""

    @property
    def tokenizer(self) -> Any:
        """Of the model."""

    @property
    def splits(self) -> Mapping[str, Dataset]:
        """By name: "train", "validation", and "test" where its labels are known; rows as the collator takes them."""

    @property
    def data_sha256(self) -> str:
        """Hash of the data."""

    @property
    def metric(self) -> str:
        """The name of the metric that decides, a key of what `evaluate` returns."""

    @property
    def higher_is_better(self) -> bool:
        """False for perplexity."""

    @property
    def collate(self) -> Callable[[list[Any]], Any]:
        """Rows to a batch of tensors, with labels."""

    def load_model(self, source: str) -> PreTrainedModel:
        """The pretrained model with this task's head."""

    def evaluate(self, model: PreTrainedModel, split: str, *, bf16: bool = False) -> dict[str, float]:
        """Metrics on a split, with n (examples), and where it is known `<metric>_se`, the metric's standard error.

        Where several processes train, all must call it: they share out the split.
        """
