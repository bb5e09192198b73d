"""Set up the processes of one training: which one this is, how they find each other, and who writes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self

import torch
import torch.distributed as dist
from accelerate import PartialState

from mgpp.lab.recipes.recipe import RecipeError
from mgpp.pruning.sharded.peers import Peers

TIMEOUT = 1800  # seconds that a process waits for another, as in the Trainer


def rank() -> int:
    """Return the number of this process among those of the training, from 0.

    Example:
        >>> rank()
        0
    """
    return Peers.everyone().index


def is_main() -> bool:
    """Return whether this process is the one that writes.

    Example:
        >>> is_main()
        True
    """
    return rank() == 0


def barrier() -> None:
    """Wait until all processes of the training have come here."""
    if Peers.everyone().are_many:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Run a block in the main process before the others, so that they find what it makes.

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


def init_distributed(trainer: Mapping[str, Any]) -> None:
    """Initialize the process group, if a launcher such as torchrun has started this process with others.

    Args:
        trainer: the recipe's section; `ddp_timeout` is how many seconds one process waits for another.

    Raises:
        RecipeError: if an engine is asked for whose weights the masks can't reach.
    """
    for engine in ("DEEPSPEED", "MEGATRON_LM"):
        if is_set(f"ACCELERATE_USE_{engine}"):
            raise RecipeError(
                f"ACCELERATE_USE_{engine} is set, but {engine} keeps the weights where masks don't reach them; train "
                "with DDP, or with FSDP2: trainer.fsdp=true"
            )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ:
        # accelerate would load the weights in the main process only, but the Pruner reads them in all
        os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
        timeout = timedelta(seconds=trainer.get("ddp_timeout", TIMEOUT))
        on_cpu = trainer.get("use_cpu", False) or not torch.accelerator.is_available()
        PartialState(cpu=on_cpu, timeout=timeout, backend=trainer.get("ddp_backend"))
        barrier()


def shutdown_distributed() -> None:
    """Destroy the process group before exit: torch may crash if it has to do so while Python closes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def is_set(variable: str) -> bool:
    """Return whether an environment variable says true, as accelerate's launcher sets it.

    Example:
        >>> is_set("ACCELERATE_USE_FSDP")
        False
    """
    return os.environ.get(variable, "false").lower() in ("true", "1")


class NullWriter:
    """A writer for all processes but the main one: it takes what a `Writer` takes, and drops it.

    Example:
        >>> with NullWriter() as writer:
        ...     writer.metrics({"step": 0})
    """

    def metrics(self, row: Mapping[str, Any]) -> None:
        """Drop a row."""

    def part(self, frame: str, step: int, rows: Any) -> None:
        """Drop the rows of a frame."""

    def update(self, **info: Any) -> None:
        """Drop what is known of the run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        pass
