"""Make several processes train like one: the same batches, the same loss, the same order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer

from mgpp.lab.training.sharding import environment_kept, prepare_sharding
from mgpp.pruning.sharded.peers import Peers

SHARE = "share_of_the_loss"


class ParallelTrainer(Trainer):
    """The Trainer, whose several processes have the batches and losses of one.

    Every process draws the same batches in the same order, collates each of them whole, and keeps its own rows. A loss
    is a mean over the rows, or the predicted tokens, of a process; it is weighted so that the mean over the processes
    is the mean over the batch. Random draws of the model, such as dropout, depend on seed, process and step only; the
    generators that order the data are the same in all processes.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        if self.args.world_size > 1:
            place = self.args.process_index, self.args.world_size
            self.data_collator = Rows(self.data_collator, *place, _predicts_next(self.model))

    def create_accelerator_and_postprocess(self) -> None:
        """Create the Trainer's accelerator, which shards on CPUs, too."""
        with environment_kept():
            super().create_accelerator_and_postprocess()
        prepare_sharding(self)

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of all batches; the collator selects the rows of this process."""
        loader: Any = super().get_train_dataloader()
        if self.args.world_size > 1:
            sampler = loader.batch_sampler
            sampler.num_processes, sampler.process_index, sampler.even_batches = 1, 0, False
            if loader.worker_init_fn is not None:  # workers draw what those of the first process do
                loader.worker_init_fn.keywords["rank"] = 0
        return loader

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[Any] | None:
        sampler: Any = super()._get_train_sampler(train_dataset)
        if self.args.world_size > 1 and getattr(sampler, "generator", self) is None:
            sampler.generator = torch.default_generator  # what None means; accelerate would replace it by another
        return sampler

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        """Run one forward and backward pass. If the loss of any rank is NaN, return NaN on all ranks."""
        if self.args.world_size == 1:
            return super().training_step(*args, **kwargs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._seed())
            loss = super().training_step(*args, **kwargs)
        is_broken = not bool(loss.isfinite().all())
        return loss * torch.nan if Peers.everyone().sum([is_broken])[0] else loss

    def _seed(self) -> int:
        """Another number for every process and each of its batches."""
        step, batches = getattr(self, "_drawn", (-1, 0))
        self._drawn = (self.state.global_step, batches + 1 if step == self.state.global_step else 0)
        key = (self.args.seed, self.args.process_index, *self._drawn)
        return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Return the loss of this process's rows, weighted by their share of the batch."""
        share = inputs.pop(SHARE, None)
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        return loss if share is None else loss * share


@dataclass(frozen=True)
class Rows:
    """Collate a whole batch and keep the rows of one process.

    Args:
        collate: makes the batch.
        index: number of this process.
        count: number of processes.
        next_token: whether a token's label is the one after it, so that the first label of a row predicts nothing.

    Example:
        >>> rows = Rows(torch.utils.data.default_collate, index=1, count=2)
        >>> batch = rows([{"labels": 0}, {"labels": 1}, {"labels": 2}])
        >>> batch["labels"], batch["share_of_the_loss"]  # a third of the mean over the batch, times 2 processes
        (tensor([2]), tensor(0.6667))
    """

    collate: Callable[[list[Any]], Any]
    index: int
    count: int
    next_token: bool = False

    def __call__(self, rows: list[Any]) -> Any:
        """Return this process's part of the batch of these rows, with its share of the loss."""
        batch = self.collate(rows)
        counts = count_items(batch, len(rows), self.next_token)
        mine = torch.arange(len(rows)).tensor_split(self.count)[self.index]
        own, total = counts[mine].sum(), counts.sum()
        if not own:  # a mean over nothing would be NaN: take the whole batch with a share of 0
            mine = torch.arange(len(rows))
        for name, tensor in batch.items():
            batch[name] = tensor[mine]
        batch[SHARE] = self.count * own / total
        return batch


def count_items(batch: Mapping[str, Tensor], rows: int, next_token: bool = False) -> Tensor:
    """Count, row by row, the losses that the mean averages: one a row, or one for each token that is predicted.

    Example:
        >>> count_items({"labels": torch.tensor([[5, -100], [6, 7]])}, rows=2)
        tensor([1., 2.])
    """
    labels = batch.get("labels")
    if labels is None or labels.ndim == 1 or labels.is_floating_point():
        return torch.ones(rows)
    return (labels[:, 1:] if next_token else labels).ne(-100).sum(1).float()


def _predicts_next(model: Any) -> bool:
    """Whether a model shifts its labels by itself, as causal language models do."""
    name = type(model).__name__
    return not model.config.is_encoder_decoder and ("CausalLM" in name or "LMHead" in name)
