"""Read what was packed: as tensors, or as the plain folder that it was made from."""

import shutil
from pathlib import Path

from torch import Tensor

from mgpp.lab.export.checkpoint import copy_settings, read_tensors, write_index
from mgpp.lab.export.folder import place_of, read_record, whole_folder, write_record
from mgpp.lab.export.packed import ExportError, unpack_tensors
from mgpp.lab.training.states import save_tensors

SUFFIX = ".packed.safetensors"


def load_packed(folder: str | Path) -> dict[str, Tensor]:
    """The weights of a packed export, as a state dict: those of the plain export, bit for bit.

    Nothing is executed, whoever made the folder.

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
    tensors: dict[str, Tensor] = {}
    for file in _packed_files(Path(folder)):
        tensors |= unpack_tensors(read_tensors(file))
    return tensors


def unpack(folder: str | Path, to: str | Path, *, replace: bool = False) -> Path:
    """Write the plain transformers folder that a packed export stands for.

    Args:
        folder: that `export(..., format="packed")` wrote.
        to: the new folder; it must not exist yet, or be empty.
        replace: delete an export that `to` holds, instead of refusing.

    Raises:
        ExportError: as `load_packed`, or if `to` holds other files or can't be written.

    Example:
        >>> unpack("packed-model", "plain-model")  # doctest: +SKIP
    """
    folder, to, size = Path(folder), place_of(to), 0
    names: dict[str, str] = {}
    record = read_record(folder)
    with whole_folder(to, replace=replace) as making:
        for file in _packed_files(folder):
            tensors = unpack_tensors(read_tensors(file))
            plain = file.name.removesuffix(SUFFIX) + ".safetensors"
            save_tensors(tensors, making / plain)
            names |= dict.fromkeys(tensors, plain)
            size += sum(tensor.nbytes for tensor in tensors.values())
        write_index(making, names, size)
        copy_settings(folder, making)
        if (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", making / "README.md")
        facts = {key: value for key, value in record.items() if key in ("dtype", "targets", "zeros", "bytes")}
        write_record(making, **{**facts, "layout": "plain"})
    return to


def _packed_files(folder: Path) -> list[Path]:
    files = [folder / name for name in read_record(folder)["files"] if name.endswith(SUFFIX)]
    if not files:
        raise ExportError(f"{folder} holds no packed weights; a plain export needs no unpacking")
    return files
