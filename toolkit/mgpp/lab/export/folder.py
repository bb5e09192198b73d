"""Write and read the folder of an export and `mgpp.json`, the record of its files."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mgpp.lab.export.packed import ExportError, unpack_tensors
from mgpp.runs.files import sha256, whole_folder

RECORD = "mgpp.json"
FORMAT_VERSION = 1
PACKED = ".packed.safetensors"


def check_place(to: Path, *, replace: bool = False) -> None:
    """Raise ExportError unless `to` is new, empty, or an export that may be replaced."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not (to / RECORD).is_file():
        raise ExportError(f"{to} is neither empty nor an export; choose another folder: --to DIR")
    if not replace:
        raise ExportError(f"{to} holds another export; choose another folder or replace it: --to DIR or --replace")


def write_record(folder: Path, **facts: Any) -> None:
    """Write mgpp.json: the facts, and the size and hash of each file of weights in `folder`."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.glob("*.safetensors"))
    }
    record = {"format": FORMAT_VERSION, **facts, "files": files}
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of an export, after checking the hash of each file of weights.

    Raises:
        ExportError: if the folder holds no export or one of a newer format, or a file is missing or damaged.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        json.dumps(record, allow_nan=False)  # what is no number in JSON could not be written again
        version, hashes = record["format"], {name: facts["sha256"] for name, facts in record["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder / RECORD} is not the record of an export: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ExportError(f"{folder / RECORD} has format {version!r}; this version reads format {FORMAT_VERSION}")
    for name, expected in hashes.items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise ExportError(f"{folder / name} is missing or damaged: its sha256 is not the one in {RECORD}")
    return record


def load_packed(folder: str | Path) -> dict[str, Tensor]:
    """Return the weights of a packed export as a state dict, bit for bit those of the plain export.

    Their names are those on disk, which differ from the parameters' names in some models: load them with
    `from_pretrained`.

    Args:
        folder: that `export(..., format="packed")` wrote.

    Raises:
        ExportError: if it holds no packed export, or a file in it is missing or damaged.

    Example:
        >>> from transformers import AutoConfig, BertForSequenceClassification
        >>> config = AutoConfig.from_pretrained("packed-model")  # doctest: +SKIP
        >>> state = load_packed("packed-model")  # doctest: +SKIP
        >>> BertForSequenceClassification.from_pretrained(None, config=config, state_dict=state)  # doctest: +SKIP
    """
    record = read_record(Path(folder))
    if record.get("layout") != "packed":
        raise ExportError(f"{folder} holds no packed weights: layout={record.get('layout')!r}")
    return read_weights(Path(folder) / name for name in record["files"])


def unpack(folder: str | Path, to: str | Path, *, replace: bool = False) -> Path:
    """Write the plain folder of a packed export, which transformers loads by itself.

    Args:
        folder: that `export(..., format="packed")` wrote.
        to: the new folder; it must not exist yet, or be empty.
        replace: overwrite an export that `to` holds.

    Raises:
        ExportError: as `load_packed`, or if `to` is in use.

    Example:
        >>> unpack("packed-model", "plain-model")  # doctest: +SKIP
    """
    folder, to = Path(folder), Path(to)
    check_place(to, replace=replace)
    weights, record = load_packed(folder), read_record(folder)
    with whole_folder(to) as plain:
        shutil.copytree(
            folder, plain, ignore=shutil.ignore_patterns(".*", "*.safetensors*", RECORD), dirs_exist_ok=True
        )
        save_torch_state_dict(weights, plain, max_shard_size="50GB")
        facts = {key: value for key, value in record.items() if key not in ("format", "files")}
        write_record(plain, **facts | {"layout": "plain"})
    return to


def read_weights(files: Iterable[Path]) -> dict[str, Tensor]:
    """Return the tensors of safetensors files, unpacked.

    Raises:
        ExportError: if a file is damaged.
    """
    tensors: dict[str, Tensor] = {}
    for file in files:
        try:
            tensors |= unpack_tensors(load_file(file))
        except (SafetensorError, ExportError) as error:
            raise ExportError(f"{file} is damaged: {error}") from error
    return tensors
