"""Handle what can go wrong while a model trains: divergence, too little memory, and signals."""

import errno
import math
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mgpp.lab.recipes.recipe import Recipe
from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import part_of
from mgpp.runs.errors import writing


class DivergedError(RuntimeError):
    """A loss, a gradient or a weight is NaN or infinite."""


class OutOfMemoryError(RuntimeError):
    """The training needs more memory than there is."""


class Terminated(SystemExit):  # no error: somebody wants the process to end
    """The process got SIGTERM, as schedulers send it before they kill; its exit status is 143."""

    def __init__(self, message: str):
        super().__init__(message)
        self.code = 128 + signal.SIGTERM


def check_loss(trainer: Any, loss: Tensor) -> None:
    """Raise DivergedError if the loss is NaN or infinite, unless fp16 can still lower its loss scale.

    The loss is NaN in all processes if it is in one, see `ParallelTrainer.training_step`.
    """
    if not math.isfinite(value := loss.item()) and not _skips_overflows(trainer):
        raise _diverged(trainer, f"the loss is {value}")


def check_gradient(trainer: Any, norm: Any) -> None:
    """Raise DivergedError, before the optimizer spoils the weights, if the norm of the gradient is not finite.

    No error as long as fp16 can still lower its loss scale.
    """
    if not math.isfinite(value := float(norm)) and not _skips_overflows(trainer):
        raise _diverged(trainer, f"the norm of the gradient is {value}")


def check_weights(trainer: Any) -> None:
    """Raise DivergedError if a weight is NaN or infinite, before it is saved in a checkpoint."""
    if not_finite(trainer.model):
        raise _diverged(trainer, "the weights diverged")


def not_finite(model: torch.nn.Module) -> list[str]:
    """Return the names of the parameters that hold infinities or NaN in any process; all processes must call this.

    Example:
        >>> layer = torch.nn.Linear(1, 1)
        >>> _ = torch.nn.init.constant_(layer.bias, math.inf)
        >>> not_finite(layer)
        ['bias']
    """
    weights = dict(model.named_parameters())
    broken = Peers.everyone().sum([not bool(part_of(weight.detach()).isfinite().all()) for weight in weights.values()])
    return [name for name, found in zip(weights, broken, strict=True) if found]


def _skips_overflows(trainer: Any) -> bool:
    scaler = getattr(trainer.accelerator, "scaler", None)
    return scaler is not None and scaler.is_enabled() and scaler.get_scale() >= 1


def _diverged(trainer: Any, what: str) -> DivergedError:
    spoiled, arguments = not_finite(trainer.model), trainer.args
    where = f" and {spoiled[0]} holds infinities or NaN" if spoiled else ""
    precision = "fp16" if arguments.fp16 else "bf16" if arguments.bf16 else None
    other = f", or set precision={precision} to fp32" if precision else ""
    return DivergedError(
        f"step {trainer.state.global_step}: {what}{where}; the log is kept. "
        f"Lower optimizer.learning_rate={arguments.learning_rate:g}{other}, and train again"
    )


@contextmanager
def explain_errors(folder: str | Path, recipe: Recipe) -> Iterator[None]:
    """Replace errors of memory and disk in a block by ones that say what to do.

    Raises:
        OutOfMemoryError: in place of what torch, Python and others raise when memory runs out.
        StorageError: in place of the system's refusals to write into `folder`.

    Example:
        >>> with explain_errors("my-run", Recipe()):
        ...     raise MemoryError
        Traceback (most recent call last):
        ...
        mgpp.lab.training.faults.OutOfMemoryError: my-run: out of memory. Lower batch_size=32 and raise
        trainer.gradient_accumulation_steps, or lower max_length=64, and train again
    """
    try:
        with writing(folder):
            yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{folder}: out of memory. Lower batch_size={recipe.batch_size} and raise "
            f"trainer.gradient_accumulation_steps, or lower max_length={recipe.max_length}, and train again"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory ran out: Python's, a GPU's, or that of torch's allocator for the CPU.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_out_of_memory(KeyError())
        (True, False)
    """
    texts = r"can't allocate memory|not enough memory|[Cc]annot allocate memory|std::bad_alloc|out of memory"
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and bool(re.search(texts, str(error))))
    )


class SigtermHandler:
    """Handle SIGTERM: end the process at once, or, within `deferred`, let it save a checkpoint first.

    Args:
        message: what the user reads in the end.

    Attributes:
        received: whether SIGTERM came within `deferred`.
    """

    def __init__(self, message: str):
        self.message, self.received, self._is_deferred = message, False, False

    def __call__(self, *_: Any) -> None:
        """Raise Terminated, or note the signal within `deferred`; it may come twice, from a scheduler and torchrun."""
        if not self._is_deferred:
            raise Terminated(self.message)
        self.received = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Only note SIGTERM in a block, and raise Terminated after it."""
        self._is_deferred = True
        try:
            yield
        except RuntimeError as error:  # a data loader's process may have got the signal, too, and be gone
            if not self.received or "DataLoader worker" not in str(error):
                raise
        finally:
            self._is_deferred = False
        if self.received:
            raise Terminated(self.message)


@contextmanager
def handle_signals(folder: str | Path) -> Iterator[SigtermHandler]:
    """Let SIGTERM end a training as Ctrl-C does: the log is closed, and the message says how to resume.

    Raises:
        Terminated: in place of SIGTERM.
        KeyboardInterrupt: with the same message, for Ctrl-C.
    """
    handler = SigtermHandler(f"stopped; go on: mgpp train --resume {folder}")
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, handler) if in_main_thread else None
    try:
        yield handler
    except KeyboardInterrupt:
        raise KeyboardInterrupt(handler.message) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
