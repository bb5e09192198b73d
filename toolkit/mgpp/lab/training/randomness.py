"""The random generators of a process: their states, and blocks of code that leave them as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """The states of Python's, numpy's and torch's generators, those of the GPUs included.

    Example:
        >>> state = random_state()
        >>> first = torch.rand(1)
        >>> set_random_state(state)
        >>> torch.equal(torch.rand(1), first)
        True
    """
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  # what others draw from, not we
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back into a state; those of devices that are not here are passed over."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state.get("cuda", [])) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Run a block whose random draws the rest of the program does not notice.

    Example:
        >>> before = torch.get_rng_state()
        >>> with undisturbed():
        ...     _ = torch.rand(1)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
