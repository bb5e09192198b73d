"""Read packed exports: as tensors, or as the plain folder that transformers loads."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import save_torch_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mgpp.lab.export.folder import RECORD, check_place, read_record, write_record
from mgpp.lab.export.packed import ExportError, unpack_tensors
from mgpp.runs.files import whole_folder

PACKED = ".packed.safetensors"


def load_packed(folder: str | Path) -> dict[str, Tensor]:
    """Return the weights of a packed export as a state dict, bit for bit those of the plain export.

    Args:
        folder: that `export(..., format="packed")` wrote.

    Raises:
        ExportError: if it holds no packed export, or a file in it is missing or damaged.

    Example:
        >>> from transformers import AutoConfig, AutoModelForSequenceClassification
        >>> config = AutoConfig.from_pretrained("packed-model")  # doctest: +SKIP
        >>> model = AutoModelForSequenceClassification.from_config(config)  # doctest: +SKIP
        >>> _ = model.load_state_dict(load_packed("packed-model"))  # doctest: +SKIP
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
        except SafetensorError as error:
            raise ExportError(f"{file} is damaged: {error}") from error
    return tensors
