"""The processes of one training: which one this is, waiting for the others, and what they may not be."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from accelerate import PartialState
from transformers import TrainingArguments
from transformers.training_args import OptimizerNames

from mgpp.lab.recipes.recipe import Recipe, RecipeError

TIMEOUT = 1800  # seconds that a process waits for another, as in the Trainer


def is_distributed() -> bool:
    """Whether this process trains together with others."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """The number of this process among those of the training, from 0.

    Example:
        >>> rank()
        0
    """
    return dist.get_rank() if is_distributed() else 0


def is_main() -> bool:
    """Whether this process is the one that writes.

    Example:
        >>> is_main()
        True
    """
    return rank() == 0


def barrier() -> None:
    """Wait until all processes of the training have come here."""
    if is_distributed():
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process run a block before the others do, so that they find made what it makes.

    Example:
        >>> with main_first():
        ...     made = True
    """
    if not is_main():
        barrier()
    try:
        yield
    finally:
        if is_main():
            barrier()


def meet(trainer: Mapping[str, Any]) -> None:
    """Find the other processes, if a launcher such as torchrun has started this one with others, and wait for them.

    Args:
        trainer: the recipe's section; `ddp_timeout` are the seconds that one process waits for another.

    Raises:
        RecipeError: if an engine is asked for that the masks can't reach into.
    """
    _check_engines()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        # accelerate would load the weights in the main process alone, but the Pruner looks at them in all
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
        seconds = trainer.get("ddp_timeout", TIMEOUT)
        on_cpu = trainer.get("use_cpu", False) or not torch.accelerator.is_available()
        PartialState(cpu=on_cpu, timeout=timedelta(seconds=seconds), backend=trainer.get("ddp_backend"))
        barrier()


def part() -> None:
    """Take leave of the other processes, before this one ends: torch may crash if it must do so while Python closes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def _check_engines() -> None:
    if _is_set("ACCELERATE_USE_DEEPSPEED"):
        raise RecipeError(
            "DeepSpeed keeps the weights that it trains to itself, where masks don't reach; train with DDP, or FSDP2: "
            "trainer.fsdp=true"
        )
    if _is_set("ACCELERATE_USE_MEGATRON_LM") or int(os.environ.get("PARALLELISM_CONFIG_TP_SIZE", "1")) > 1:
        raise RecipeError("tensor parallel matrices are not cut into blocks of rows; train with DDP, or FSDP2 alone")


class Silence:
    """In place of a writer, for a process that is not the main one: takes everything and writes nothing.

    Example:
        >>> with Silence() as writer:
        ...     writer.metrics({"step": 0})
    """

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def asks_for_shards(arguments: TrainingArguments) -> bool:
    """Whether the recipe, or accelerate's launcher, asks for a model that is sharded."""
    return bool(arguments.fsdp) or _is_set("ACCELERATE_USE_FSDP")


def check_launch(arguments: TrainingArguments, recipe: Recipe) -> None:
    """Refuse what does not train as one process would.

    Raises:
        RecipeError: with the way out.
    """
    count = arguments.world_size
    if arguments.n_gpu > 1:
        raise RecipeError(
            f"one process sees {arguments.n_gpu} GPUs; start one process for each: torchrun --nproc-per-node "
            f"{arguments.n_gpu} -m mgpp train ..., or set CUDA_VISIBLE_DEVICES=0"
        )
    if asks_for_shards(arguments):
        _check_shards(arguments)
    if recipe.batch_size % count:
        fits = sorted({max(count, recipe.batch_size // count * count), -(-recipe.batch_size // count) * count})
        raise RecipeError(
            f"batch_size={recipe.batch_size} is the batch of all {count} processes together, and must be a multiple of "
            f"{count}, such as {' or '.join(map(str, fits))}"
        )
    if count > 1 and arguments.train_sampling_strategy == "batch_rebalance":
        raise RecipeError("trainer.train_sampling_strategy='batch_rebalance' makes other batches with every number of "
                          "processes; leave it out")  # fmt: skip


def _check_shards(arguments: TrainingArguments) -> None:
    if arguments.world_size == 1:
        raise RecipeError("trainer.fsdp shards a model over several processes; start them: torchrun --nproc-per-node 2")
    if arguments.optim == OptimizerNames.ADAFACTOR:
        raise RecipeError(
            "trainer.optim='adafactor' can't work on shards; leave it out, for AdamW, or train without trainer.fsdp"
        )
    version = (arguments.fsdp_plugin_args or {}).get("fsdp_version") or os.environ.get("FSDP_VERSION", "1")
    if int(version) != 2:
        raise RecipeError(
            "FSDP1 flattens the matrices that are pruned; use FSDP2: trainer.fsdp_config={version: 2}, or accelerate "
            "launch --fsdp_version 2"
        )


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "false").lower() in ("true", "1")
