"""The files of a model's folder that an export reads: safetensors, and the settings that go with them; nothing else."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mgpp.lab.export.packed import ExportError

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
COPIED = (
    *("tokenizer.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt", "vocab.json", "merges.txt"),
    *("spiece.model", "spm.model", "sentencepiece.bpe.model"),
)
CODE = ("auto_map", "custom_pipelines")  # where settings name code, which is not exported


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a model, one or the parts that its index names.

    Raises:
        ExportError: if there are none.
    """
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise ExportError(f"{folder} holds no {WEIGHTS}; other files of weights are not read, since they can hold code")
    names = read_json(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names:
        raise ExportError(f"{folder / INDEX} is damaged: it has no weight_map")
    return [_beside(folder, name) for name in sorted({str(name) for name in names.values()})]


def _beside(folder: Path, name: str) -> Path:
    if Path(name).name != name or not name.endswith(".safetensors") or not (folder / name).is_file():
        raise ExportError(f"{folder / INDEX} names {name!r}, which is no safetensors file beside it")
    return folder / name


def read_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        ExportError: if it is damaged.
    """
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise ExportError(f"{file} can't be read as safetensors: {error}; bring the whole file back") from None


def write_index(folder: Path, names: Mapping[str, str], size: int) -> None:
    """The index of a model in several files, where it is in several."""
    if len(set(names.values())) > 1:
        index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(names.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def copy_settings(source: Path, to: Path, dtype: str | None = None) -> None:
    """Configuration and tokenizer; what in them points to code is left out.

    Args:
        source: a model's folder.
        to: another.
        dtype: what the configuration shall say of the weights, where they were cast.

    Raises:
        ExportError: if there is no configuration, or a file is no JSON.
    """
    if not (source / "config.json").is_file():
        raise ExportError(f"{source} holds no config.json, so that nobody could load the model")
    for name in SETTINGS:
        if (source / name).is_file():
            settings = {key: value for key, value in read_json(source / name).items() if key not in CODE}
            if dtype is not None and name == "config.json":
                settings["dtype"] = dtype
            (to / name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    for name in COPIED:
        if (source / name).is_file():
            (to / name).write_bytes((source / name).read_bytes())


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ExportError: if the file holds none.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise ExportError(f"{file} can't be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ExportError(f"{file} must hold an object, not {type(found).__name__}")
    return found


def sha256(file: Path) -> str:
    """The hash of a file, in hexadecimal.

    Raises:
        ExportError: if it can't be read.
    """
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ExportError(f"{file} can't be read: {error.strerror or error}; see that it may be") from None
