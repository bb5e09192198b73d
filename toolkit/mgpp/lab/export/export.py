"""Export a run: its pruned model as a folder that others can use, with exactly the zeros that the run promises."""

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from mgpp.lab.export.card import write_card
from mgpp.lab.export.checkpoint import copy_settings, read_tensors, weight_files, write_index
from mgpp.lab.export.folder import place_of, whole_folder, write_record
from mgpp.lab.export.hub import check_name, upload
from mgpp.lab.export.packed import ExportError, pack_tensors, packed_bytes, unpack_tensors
from mgpp.lab.export.unpacking import SUFFIX
from mgpp.lab.recipes.strict import shown
from mgpp.lab.training.states import save_tensors
from mgpp.runs import Run, load_run

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ROW: dict[str, tuple[str, Callable[[Any], bool]]] = {  # of the target table: what stands where, and how to tell
    "name": ("text", lambda name: isinstance(name, str)),
    "layer": ("a whole number from -1", lambda layer: type(layer) is int and layer >= -1),
    "kind": ("text", lambda kind: isinstance(kind, str)),
    "shape": (
        "a list of whole numbers from 1",
        lambda shape: isinstance(shape, list) and all(type(size) is int and size >= 1 for size in shape),
    ),
    "count": ("a whole number from 1", lambda count: type(count) is int and count >= 1),
}


@dataclass
class Exported:
    """What was written: a row a target, and bytes of targets and of the whole model, dense and packed."""

    targets: list[dict[str, Any]] = field(default_factory=list)
    dense: int = 0
    packed: int = 0
    other: int = 0

    @property
    def zeros(self) -> int:
        """In all targets."""
        return sum(row["zeros"] for row in self.targets)

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of weights."""
        whole = {"model_dense": self.dense + self.other, "model_packed": self.packed + self.other}
        return {"targets_dense": self.dense, "targets_packed": self.packed, **whole}


def export(
    run: str | Path | Run,
    to: str | Path,
    *,
    format: Literal["plain", "packed"] = "plain",
    dtype: Literal["float32", "bfloat16"] | None = None,
    replace: bool = False,
    push_to_hub: str | None = None,
) -> Path:
    """Write the pruned model of a finished run into a folder, with tokenizer and model card.

    The zeros of the pruned matrices are true zeros, +0.0, and are counted when they are read and again when they are
    written: as many as the run promises. Nothing of the run is executed, and text of it that reaches the card stays
    text.

    Args:
        run: a run or its folder, with `checkpoints/final`, which git does not keep.
        to: the new folder; it must not exist yet, or be empty.
        format: "plain", which `from_pretrained` loads without this toolkit, or "packed", which takes less room on disk
            and comes back, bit for bit, through `load_packed` and `unpack`.
        dtype: of the weights; None leaves them as they were saved. bfloat16 rounds.
        replace: delete an export that `to` holds, instead of refusing.
        push_to_hub: the name of a repository to upload the folder to, such as "me/my-model".

    Raises:
        RunError: if the run can't be read.
        ExportError: if it is not finished, has no checkpoint, does not hold the zeros it promises, or is damaged; or if
            the folder can't be written, of which nothing is left then.

    Example:
        >>> export("data/local/reviews-mgpp-0.9-seed0", "my-model", format="packed")  # doctest: +SKIP
    """
    run = run if isinstance(run, Run) else load_run(run)
    for name, value, known in (("format", format, ("plain", "packed")), ("dtype", dtype, (None, *DTYPES))):
        if value not in known:
            raise ExportError(f"{name}={value!r} must be one of {', '.join(str(each) for each in known)}")
    if push_to_hub is not None:
        check_name(push_to_hub)
    targets, to = _targets(run), place_of(to)
    with whole_folder(to, replace=replace) as making:
        exported = _write_weights(run, targets, making, format, dtype)
        _check_promise(run, exported.zeros, "the checkpoint")
        _check_promise(run, _zeros_of(making, targets), "the export")
        copy_settings(run.checkpoint, making, dtype)
        facts = {"targets": exported.targets, "zeros": exported.zeros, "bytes": exported.sizes}
        write_record(making, layout=format, dtype=dtype, **facts)
        write_card(making, run, facts)
    if push_to_hub is not None:
        upload(to, push_to_hub)
    return to


def _targets(run: Run) -> dict[str, dict[str, Any]]:
    """The rows of the run's target table, by name, of a run that can be exported."""
    if run.status != "finished":
        way = f"go on with it: mgpp train --resume {run.folder}"
        raise ExportError(f"{run.folder} holds a run that is {run.status!r}, not finished; {way}")
    if not run.checkpoint.is_dir():
        raise ExportError(f"{run.checkpoint} is missing: git keeps no weights; train again: {train_again(run)}")
    table = run.info.get("targets")
    rows = table.get("table") if isinstance(table, dict) else None
    if not isinstance(rows, list) or not rows:
        raise ExportError(f"{run.folder}/run.json has no table of targets; a newer run has")
    if fault := _fault_of(rows):
        raise ExportError(f"{run.folder}/run.json is damaged: {fault}; train again: {train_again(run)}")
    return {row["name"]: row for row in rows}


def _fault_of(rows: list[Any]) -> str | None:
    """What is wrong with a table of targets, in words; None if nothing is."""
    for number, row in enumerate(rows):
        place = f"targets.table[{number}]"
        if not isinstance(row, dict):
            return f"{place}={shown(row)} must be keys and values"
        for key, (kind, fits) in ROW.items():
            if not fits(row.get(key)):
                return f"{place}.{key}={shown(row.get(key))} must be {kind}"
    return None if len({row["name"] for row in rows}) == len(rows) else "targets.table has a name twice"


def train_again(run: Run) -> str:
    """The command that makes a run again, with its model.

    Example:
        >>> train_again(Run(Path("old"), {"recipe": {"name": "reviews", "method": "l2", "save_model": False}}))
        'mgpp train reviews --set method=l2 --out NEW-FOLDER'
    """
    from mgpp.lab.recipes.recipe import load_recipe, recipe_from, recipe_names

    name = str(run.recipe.get("name"))
    known = name in recipe_names()
    usual = dict(_flat((load_recipe(name) if known else recipe_from({})).as_dict()))
    asked = dict(_flat({**run.recipe, "save_model": True}))
    changed = {key: value for key, value in asked.items() if value != usual.get(key, value)}
    values = {key: value if isinstance(value, str) else json.dumps(value) for key, value in changed.items()}
    words = [f"--set {shlex.quote(f'{key}={value}')}" for key, value in values.items()]
    return " ".join(["mgpp train", name if known else "RECIPE.yaml", *words, "--out NEW-FOLDER"])


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _write_weights(run: Run, targets: Mapping[str, Any], to: Path, layout: str, dtype: str | None) -> Exported:
    """Every file of the checkpoint as one of the export, so that only one is held in memory."""
    exported = Exported()
    names: dict[str, str] = {}
    for file in weight_files(run.checkpoint):
        tensors = {name: _clean(tensor, name in targets, dtype) for name, tensor in read_tensors(file).items()}
        for name, tensor in tensors.items():
            _count(exported, name, tensor, targets.get(name))
        names |= dict.fromkeys(tensors, file.name)
        if layout == "packed":
            tensors = pack_tensors(tensors, targets)
        suffix = SUFFIX if layout == "packed" else ".safetensors"
        save_tensors(tensors, to / f"{file.name.removesuffix('.safetensors')}{suffix}")
    missing = [name for name in targets if name not in names]
    if missing:
        raise ExportError(f"{run.checkpoint} has no weight {missing[0]!r}, which run.json calls pruned")
    exported.targets.sort(key=lambda row: list(targets).index(row["name"]))
    if layout == "plain":
        write_index(to, names, exported.dense + exported.other)
    return exported


def _clean(tensor: Tensor, is_target: bool, dtype: str | None) -> Tensor:
    """A tensor in its new dtype; zeros of targets are +0.0."""
    if dtype is not None and tensor.is_floating_point():
        tensor = tensor.to(DTYPES[dtype])
    return tensor.masked_fill(tensor == 0, 0) if is_target else tensor


def _count(exported: Exported, name: str, tensor: Tensor, row: Mapping[str, Any] | None) -> None:
    if row is None:
        exported.other += tensor.nbytes
        return
    if list(tensor.shape) != row["shape"]:
        raise ExportError(f"{name} has the shape {list(tensor.shape)}, run.json says {shown(row['shape'])}")
    zeros = tensor.numel() - int(tensor.count_nonzero())
    packed = packed_bytes(tensor.shape, tensor.numel() - zeros, tensor.itemsize) if tensor.numel() else 0
    exported.dense += tensor.nbytes
    exported.packed += min(packed, tensor.nbytes)
    about = {key: row[key] for key in ("layer", "kind")}
    exported.targets.append({"name": name, **about, "shape": list(tensor.shape), "zeros": zeros})


def _zeros_of(folder: Path, targets: Mapping[str, Any]) -> int:
    """In the targets of what was written, read again."""
    count = 0
    for file in folder.glob("*.safetensors"):
        tensors = unpack_tensors(read_tensors(file))
        chosen = [tensor for name, tensor in tensors.items() if name in targets]
        count += sum(tensor.numel() - int(tensor.count_nonzero()) for tensor in chosen)
    return count


def _check_promise(run: Run, zeros: int, where: str) -> None:
    promised = run.final.get("zeros")
    if zeros != promised:
        raise ExportError(
            f"{where} of {run.folder} holds {zeros} zeros in its targets, run.json promises {promised}: "
            "this is not the model that the run ended with"
        )
