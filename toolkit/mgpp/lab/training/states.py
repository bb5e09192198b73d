"""States of optimizers, schedules and generators in files without code: tensors as safetensors, the rest as JSON."""

import errno
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

# What JSON does not know stands in it as an object with one of these keys; what else has keys in $, as a list of items.
_TENSOR, _ARRAY, _TUPLE, _ITEMS = "$tensor", "$array", "$tuple", "$items"


def save_state(path: Path, state: Any) -> None:
    """Write nested data to `path`.json and its tensors to `path`.safetensors.

    Raises:
        TypeError: if it holds something else than tensors, arrays, mappings, sequences, numbers and text.

    Example:
        >>> import tempfile, torch
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
    """Read what `save_state` wrote; tensors come to the CPU."""
    tensors = load_file(path.with_name(f"{path.name}.safetensors"))
    return _decode(json.loads(path.with_name(f"{path.name}.json").read_text(encoding="utf-8")), tensors)


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors.

    Raises:
        OSError: if the system refuses, where safetensors has an error of its own.

    Example:
        >>> import torch
        >>> save_tensors({"w": torch.ones(2)}, Path("no/such/folder/w.safetensors"))
        Traceback (most recent call last):
        ...
        FileNotFoundError: [Errno 2] No such file or directory: 'no/such/folder/w.safetensors'
    """
    try:
        content = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
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
