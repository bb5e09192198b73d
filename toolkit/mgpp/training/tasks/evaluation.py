"""Going through a split with a model: deterministic, without dropout and gradients."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedModel

from mgpp.training.sharding import reshard_

EVALUATION_BATCH = 128


@contextmanager
def evaluating(model: PreTrainedModel, *, bf16: bool) -> Iterator[None]:
    """The model in evaluation mode, in bfloat16 autocast if `bf16`; afterwards in the mode it was in."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16) if bf16 else nullcontext():
            yield
    finally:
        reshard_(model)
        model.train(was_training)


def batches_by_length(data: Dataset, collate: Callable[[list[Any]], Any]) -> Iterator[tuple[list[Any], Any]]:
    """A split in the order of its rows' lengths: the rows of a batch, and the batch.

    The shortest come first and equal ones in their order, so that the batches are always the same and little is padded.
    """
    lengths = [len(tokens) for tokens in data["input_ids"][:]]
    order = sorted(range(len(data)), key=lengths.__getitem__)
    for start in range(0, len(order), EVALUATION_BATCH):
        rows = [data[row] for row in order[start : start + EVALUATION_BATCH]]
        yield rows, collate(rows)
