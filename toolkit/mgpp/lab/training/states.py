"""Save and load the states of a checkpoint without pickle: tensors as safetensors, the rest as JSON."""

import errno
import json
import os
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mgpp.pruning.sharded.shards import part_of

# What JSON does not know is an object with one of these keys. A mapping with other keys than text is a list of items.
_TENSOR, _ARRAY, _TUPLE, _ITEMS = "$tensor", "$array", "$tuple", "$items"


class CheckpointError(RuntimeError):
    """A checkpoint is damaged, or belongs to another training."""


def save_state(path: Path, state: Any) -> None:
    """Write nested data to `path`.json and its tensors to `path`.safetensors.

    Raises:
        TypeError: if it holds anything but tensors, arrays, mappings, sequences, numbers and text.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "optimizer"
        >>> save_state(path, {"state": {0: {"momentum": torch.ones(2)}}, "betas": (0.9, 0.999)})
        >>> load_state(path)
        {'state': {0: {'momentum': tensor([1., 1.])}}, 'betas': (0.9, 0.999)}
    """
    tensors: dict[str, Tensor] = {}
    text = json.dumps(_encode(state, tensors))
    save_tensors(tensors, path.with_name(f"{path.name}.safetensors"))
    path.with_name(f"{path.name}.json").write_text(text, encoding="utf-8")


def load_state(path: Path) -> Any:
    """Read what `save_state` wrote, with tensors on the CPU."""
    tensors = load_file(path.with_name(f"{path.name}.safetensors"))
    return _decode(json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8")), tensors)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors.

    Raises:
        OSError: in place of safetensors' own error, if the system refuses to write.

    Example:
        >>> save_tensors({"w": torch.ones(2)}, Path("no/such/folder/w.safetensors"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: [Errno 2] No such file or directory: 'no/such/folder/w.safetensors'
    """
    content = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    try:
        save_file(content, path, metadata={"format": "pt"})  # without it transformers does not load the file
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code), str(path)) from error


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    match value:
        case Tensor():
            known = (key for key, each in tensors.items() if each is value)  # one tensor in two places is stored once
            key = next(known, str(len(tensors)))
            tensors[key] = value
            return {_TENSOR: key}
        case np.ndarray():
            return {_ARRAY: [value.dtype.str, value.tolist()]}
        case tuple():
            return {_TUPLE: [_encode(each, tensors) for each in value]}
        case list():
            return [_encode(each, tensors) for each in value]
        case Mapping() if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _encode(each, tensors) for key, each in value.items()}
        case Mapping():
            return {_ITEMS: [[_encode(key, tensors), _encode(each, tensors)] for key, each in value.items()]}
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"a {type(value).__name__} can't be written to a checkpoint: {value!r}")


def _decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    match value:
        case list():
            return [_decode(each, tensors) for each in value]
        case {"$tensor": key}:
            return tensors[key]
        case {"$array": [kind, numbers]}:
            return np.array(numbers, dtype=np.dtype(kind))
        case {"$tuple": items}:
            return tuple(_decode(each, tensors) for each in items)
        case {"$items": items}:
            return {_decode(key, tensors): _decode(each, tensors) for key, each in items}
        case dict():
            return {key: _decode(each, tensors) for key, each in value.items()}
    return value


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Return a model's parameters and buffers by name; a tensor with several names has the first of them."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state


@torch.no_grad()
def fill_(own: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Copy saved tensors into those of the same names, or into the local part of sharded ones.

    Raises:
        CheckpointError: if names or shapes differ.
    """
    parts = {name: part_of(tensor) for name, tensor in own.items()}
    strange = parts.keys() ^ saved.keys()
    strange |= {name for name in parts.keys() & saved.keys() if parts[name].shape != saved[name].shape}
    if strange:
        raise CheckpointError(f"the checkpoint is of another model: {min(strange)} does not fit")
    for name, part in parts.items():
        part.copy_(saved[name])


def random_state() -> dict[str, Any]:
    """Return the states of the generators of Python, numpy and torch, on the CPU and on GPUs.

    Example:
        >>> state = random_state()
        >>> first = torch.rand(1)
        >>> set_random_state(state)
        >>> torch.equal(torch.rand(1), first)
        True
    """
    state = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),  # noqa: NPY002  # what other libraries draw from
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Restore the generators' states, except those of devices that are not here."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and len(state.get("cuda", [])) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Run a block without an effect on the random draws after it.

    Example:
        >>> before = torch.get_rng_state()
        >>> with random_state_kept():
        ...     _ = torch.rand(1)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)
