"""Run a model over a split: deterministic, without dropout and gradients, shared out among all processes."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from mgpp.lab.training.sharding import reshard_
from mgpp.pruning.sharded.peers import Peers

EVALUATION_BATCH = 128


@contextmanager
def evaluating(model: PreTrainedModel, *, bf16: bool) -> Iterator[None]:
    """Put the model in evaluation mode, in bfloat16 autocast if `bf16`; afterwards restore its mode."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(model.device.type, torch.bfloat16) if bf16 else nullcontext():
            yield
    finally:
        reshard_(model)
        model.train(was_training)


def batches_by_length(
    data: Dataset, collate: Callable[[list[Any]], Any], size: int | None = None
) -> Iterator[tuple[list[Any], Any]]:
    """Yield the rows and the tensors of each batch of a split, in the order of the rows' lengths.

    The shortest come first and equal ones in their order, so that the batches are always the same and little is padded.
    """
    lengths = [len(tokens) for tokens in data["input_ids"][:]]
    order = sorted(range(len(data)), key=lengths.__getitem__)
    size = size or EVALUATION_BATCH
    for start in range(0, len(order), size):
        rows = [data[row] for row in order[start : start + size]]
        yield rows, collate(rows)


def in_turns(
    batches: Iterable[tuple[Any, Any]], work: Callable[[Any, Any], Any], peers: Peers | None = None
) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of every batch and what `work` returns for it, in order, in every process.

    The processes take the batches in turns: of each `peers.count` batches, one each, at the same time, because a
    sharded model runs only if all processes call it. If fewer batches are left, several processes work on the last one.

    Args:
        batches: rows, of any kind, and a batch; the same in all processes.
        work: whose result JSON can hold; a tuple may come back as a list.
        peers: the processes; by default all.

    Example:
        >>> list(in_turns([("first row", 1), ("second row", 2)], lambda rows, batch: batch * 10))
        [('first row', 10), ('second row', 20)]
    """
    peers = peers or Peers.everyone()
    left = iter(batches)
    while some := list(islice(left, peers.count)):
        mine = some[min(peers.index, len(some) - 1)]
        results = exchange(peers, work(*mine))
        yield from ((rows, result) for (rows, _), result in zip(some, results, strict=False))


def exchange(peers: Peers, result: Any) -> list[Any]:
    """Gather a result of every process, in the order of the processes; sent as JSON, which keeps floats exactly.

    Example:
        >>> exchange(Peers(), {"loss": 0.1})
        [{'loss': 0.1}]
    """
    if not peers.are_many:
        return [result]
    own = np.frombuffer(json.dumps(result).encode(), np.uint8)
    ends = peers.table([len(own)])[:, 0].cumsum()
    return [json.loads(part.tobytes()) for part in np.split(peers.join(own), ends[:-1])]
