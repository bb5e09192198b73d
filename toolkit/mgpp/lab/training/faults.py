"""What can go wrong while a model trains, in sentences that say what to do."""

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

from mgpp.pruning.sharded.peers import Peers
from mgpp.pruning.sharded.shards import part_of
from mgpp.runs.faults import writing


class DivergedError(RuntimeError):
    """A loss, a gradient or a weight is no finite number."""


class OutOfMemoryError(RuntimeError):
    """The training needs more memory than there is."""


class Terminated(SystemExit):  # no error: somebody wants the process to end
    """The process was asked to end, as a cluster's scheduler does before it kills; its exit status is 143."""

    def __init__(self, words: str):
        super().__init__(words)
        self.code = 128 + signal.SIGTERM


def check_loss(trainer: Any, loss: Tensor) -> None:
    """Nothing, if the loss is a number, or fp16 overflowed and the loss scale can still be lowered.

    Raises:
        DivergedError: else, with the step, and the weight that is no number, if one is not.
    """
    spoiled = Peers.everyone().sum([not math.isfinite(value := loss.item())])[0]  # so that all processes end together
    if spoiled and not _skips_overflows(trainer):
        raise _diverged(trainer, f"the loss is {value}")


def check_gradient(trainer: Any, norm: Any) -> None:
    """Nothing, if the gradient's norm is a number, or fp16 overflowed and the loss scale can still be lowered.

    Raises:
        DivergedError: else, before the optimizer spoils the weights.
    """
    if not math.isfinite(value := float(norm)) and not _skips_overflows(trainer):
        raise _diverged(trainer, f"the gradient's norm is {value}")


def check_weights(trainer: Any) -> None:
    """Nothing, if all weights are numbers.

    Raises:
        DivergedError: else, before they get into a checkpoint.
    """
    if not_finite(trainer.model):
        raise _diverged(trainer, "the training has spoiled the weights")


def not_finite(model: torch.nn.Module) -> list[str]:
    """The names of the parameters that hold infinities or NaN, in any of the processes, which must all ask.

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
    way_out = f" or precision, {precision} now, to fp32" if precision else ""
    return DivergedError(
        f"step {trainer.state.global_step}: {what}{where}; the log is kept. Lower optimizer.learning_rate, "
        f"{arguments.learning_rate:g} now,{way_out} and train again"
    )


@contextmanager
def in_words(folder: str | Path, batch_size: int, max_length: int) -> Iterator[None]:
    """Say of errors in this block, with the run in `folder`, what they mean and what to do.

    Raises:
        OutOfMemoryError: in place of what torch, Python and others raise when memory runs out.
        StorageError: in place of the system's refusals to write.

    Example:
        >>> with in_words("my-run", batch_size=32, max_length=64):
        ...     raise MemoryError
        Traceback (most recent call last):
        ...
        mgpp.lab.training.faults.OutOfMemoryError: my-run: the memory does not suffice. Lower batch_size, 32 now, and
        raise trainer.gradient_accumulation_steps by as much, or lower max_length, 64 now; then train again
    """
    try:
        with writing(folder):
            yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(
            f"{folder}: the memory does not suffice. Lower batch_size, {batch_size} now, and raise "
            f"trainer.gradient_accumulation_steps by as much, or lower max_length, {max_length} now; then train again"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's, that of a GPU, or that of torch's allocator for the CPU.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory")), is_out_of_memory(KeyError())
        (True, False)
    """
    words = r"can't allocate memory|not enough memory|[Cc]annot allocate memory|std::bad_alloc|out of memory"
    return (
        isinstance(error, MemoryError | torch.OutOfMemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or (isinstance(error, RuntimeError) and bool(re.search(words, str(error))))
    )


class Ending:
    """What SIGTERM does: end the process at once, or, while `deferred`, let it save a checkpoint first.

    Args:
        words: what is said in the end.

    Attributes:
        asked: whether SIGTERM came while it was deferred.
    """

    def __init__(self, words: str):
        self.words, self.asked, self._waits = words, False, False

    def __call__(self, *_: Any) -> None:
        """The signal's handler; it may come twice, from a scheduler and from torchrun.

        Raises:
            Terminated: unless it is deferred.
        """
        if not self._waits:
            raise Terminated(self.words)
        self.asked = True

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Note SIGTERM in a block instead of ending, and end after it.

        Raises:
            Terminated: after the block, if SIGTERM came.
        """
        self._waits = True
        try:
            yield
        except RuntimeError as error:  # a process that loads data may have got the signal, too, and be gone
            if not self.asked or "DataLoader worker" not in str(error):
                raise
        finally:
            self._waits = False
        if self.asked:
            raise Terminated(self.words)


@contextmanager
def ending_politely(folder: str | Path) -> Iterator[Ending]:
    """Let SIGTERM end a training as Ctrl-C does: the log is closed, and the message says how to go on.

    Raises:
        Terminated: in place of SIGTERM.
        KeyboardInterrupt: with the same words, for Ctrl-C.
    """
    ending = Ending(f"stopped; go on: mgpp train --resume {folder}")
    before = signal.signal(signal.SIGTERM, ending) if _in_main_thread() else None
    try:
        yield ending
    except KeyboardInterrupt:
        raise KeyboardInterrupt(ending.words) from None
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
