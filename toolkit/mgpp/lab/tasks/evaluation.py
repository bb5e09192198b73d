"""Going through a split with a model: deterministic, without dropout and gradients, by all processes in turns."""

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


def in_turns(
    batches: Iterable[tuple[Any, Any]], work: Callable[[Any, Any], Any], peers: Peers | None = None
) -> Iterator[tuple[Any, Any]]:
    """The rows of every batch, and what `work` makes of rows and batch, in their order, in every process.

    The processes of a training take the batches in turns: of each `peers.count` of them, one each, all at once, so that
    a sharded model, whose parts are on all of them, is asked for by all. Where fewer are left, the last one is worked
    on several times.

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
    """What every process has, in the order of the processes; sent as JSON, which keeps floats exactly.

    Example:
        >>> exchange(Peers(), {"loss": 0.1})
        [{'loss': 0.1}]
    """
    if not peers.are_many:
        return [result]
    own = np.frombuffer(json.dumps(result).encode(), np.uint8)
    ends = peers.table([len(own)])[:, 0].cumsum()
    return [json.loads(part.tobytes()) for part in np.split(peers.join(own), ends[:-1])]
