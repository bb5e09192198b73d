"""Checkpoints: all that it takes to go on exactly, written whole or not at all, and without pickle.

    checkpoints/checkpoint-<step>/
      model.safetensors, config.json          the weights; `from_pretrained` loads the folder
      pruner.safetensors                      masks, the last prune event, what the method remembers
      training.safetensors, training.json     optimizer, learning rate schedule, loss scale
      trainer_state.json                      the Trainer's clock and history
      rank-0.safetensors, rank-0.json         of each process: random generators, order of the data, loss to be logged
      manifest.json                           the size and the SHA-256 of every file

Of a sharded model no process gathers the others' parts: weights, optimizer and masks lie in the files of each process,
and there is no `model.safetensors` and no `pruner.safetensors`.

A checkpoint is written into a hidden folder, brought to the disk and renamed; only then an older one is deleted. A
checkpoint is as sparse as its phase says: in the frozen phase, and right after a prune event, it holds exactly k zeros.
Between two events of a method that lets weights regrow it holds fewer, since the model itself does, and the masks of
the last event beside it.
"""

import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from mgpp.pruning.callback import STATE_FILE
from mgpp.pruning.sharded.shards import part_of
from mgpp.runs import RunWarning
from mgpp.runs.files import remove_folder, sha256

MODEL_FILE, TRAINER_FILE, MANIFEST = "model.safetensors", "trainer_state.json", "manifest.json"
FORMAT = 1
_PREFIX = "checkpoint-"


class CheckpointError(RuntimeError):
    """A checkpoint is damaged or not complete; the message names the file."""


@contextmanager
def reading(checkpoint: Path) -> Iterator[None]:
    """Say in a sentence that a checkpoint holds something else than this toolkit saves, though its hashes are right.

    Raises:
        CheckpointError: with the way out.

    Example:
        >>> with reading(Path("checkpoint-20")):
        ...     {}["loss"]
        Traceback (most recent call last):
        ...
        mgpp.lab.training.checkpoints.CheckpointError: checkpoint-20 does not hold what a checkpoint of this run does
        (KeyError: 'loss'); remove it, and the run goes on from the one before
    """
    try:
        yield
    except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
        raise CheckpointError(
            f"{checkpoint} does not hold what a checkpoint of this run does ({type(error).__name__}: {error}); "
            "remove it, and the run goes on from the one before"
        ) from error


def step_of(checkpoint: Path) -> int:
    """The number of steps that were made before a checkpoint.

    Example:
        >>> step_of(Path("checkpoint-20"))
        20
    """
    return int(checkpoint.name.removeprefix(_PREFIX))


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Where the checkpoint after `step` steps stands.

    Example:
        >>> checkpoint_folder(Path("my-run/checkpoints"), 20).name
        'checkpoint-20'
    """
    return folder / f"{_PREFIX}{step}"


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, sound or not, the oldest first."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
    return sorted((path for path in found if path.is_dir()), key=step_of)


def latest(folder: Path) -> Path | None:
    """The last checkpoint that is sound; with a warning for each damaged one that is passed over."""
    for checkpoint in reversed(checkpoints(folder)):
        try:
            check(checkpoint)
            return checkpoint
        except CheckpointError as error:
            words = f"{error}: the checkpoint is passed over, and the training goes on from before it"
            warnings.warn(words, RunWarning, stacklevel=2)
    return None


def check(checkpoint: Path) -> None:
    """Nothing, if every file of a checkpoint is as it was written.

    Raises:
        CheckpointError: with the name of the file that is not.
    """
    manifest = checkpoint / MANIFEST
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        version, files = content["format"], dict(content["files"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise CheckpointError(f"{manifest} is missing or damaged") from None
    if version != FORMAT:
        raise CheckpointError(f"{manifest} has format {version}, this version reads {FORMAT}")
    for name in sorted(_needed(content.get("sharded", False)) - files.keys()):
        raise CheckpointError(f"{manifest} does not list {name}")
    for name, written in files.items():
        path = checkpoint / Path(name).name  # nothing outside of the folder is looked at
        if not path.is_file() or _fingerprint(path) != written:
            raise CheckpointError(f"{path} is {'damaged' if path.is_file() else 'missing'}")


def _needed(sharded: bool) -> set[str]:
    """The files without which no training goes on."""
    states = {f"{stem}.{ending}" for stem in ("training", "rank-0") for ending in ("json", "safetensors")}
    return states | {TRAINER_FILE, "config.json"} | (set() if sharded else {MODEL_FILE, STATE_FILE})


def recipe_of(checkpoint: Path) -> dict[str, Any]:
    """The recipe of the training that saved a checkpoint; empty if it was not noted yet."""
    recipe = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8")).get("recipe")
    return recipe if isinstance(recipe, dict) else {}


def check_processes(checkpoint: Path, count: int, sharded: bool = False) -> None:
    """Nothing, if a checkpoint was made by as many processes as there are, and the model is sharded now as it was.

    Raises:
        CheckpointError: with the number of processes, or the setting, that it takes.
    """
    manifest = json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))
    made_by, was_sharded = manifest.get("processes", 1), manifest.get("sharded", False)
    if made_by != count:
        raise CheckpointError(
            f"{checkpoint} is of a training in {made_by} processes, and there are {count}; go on with {made_by}: "
            f"torchrun --nproc-per-node {made_by} -m mgpp train --resume {checkpoint.parents[1]}"
        )
    if was_sharded != sharded:
        was, now = ("of a", "is not") if was_sharded else ("not of a", "is")
        raise CheckpointError(f"{checkpoint} is {was} sharded model, and the model {now} sharded; launch it as before")


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def write_manifest(folder: Path, **info: Any) -> None:
    """Note size and hash of all files in a folder."""
    files = {path.name: _fingerprint(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, **info, "files": files}, indent=1), encoding="utf-8")


def remove_leftovers(folder: Path, step: int, keep: int | None) -> None:
    """Delete what processes that were killed had not written completely, or were about to delete.

    Args:
        folder: of the checkpoints.
        step: from which the training goes on.
        keep: of the checkpoints up to there, how many stay.
    """
    for ending in ("writing", "deleting"):
        for hidden in folder.glob(f".*.{ending}"):
            shutil.rmtree(hidden)
    rotate(folder, step, keep)


def rotate(folder: Path, step: int, keep: int | None) -> None:
    """Delete all but the last `keep` of the checkpoints up to `step`."""
    older = [path for path in checkpoints(folder) if step_of(path) <= step]
    for path in older[: -max(keep, 1)] if keep is not None else []:
        remove_folder(path)


def weights_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """The state of a model; of tensors that go by several names, the first."""
    seen: set[int] = set()
    state = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state


def load_weights(model: torch.nn.Module, checkpoint: Path) -> None:
    """Give a model the weights of a checkpoint.

    Raises:
        CheckpointError: if they are those of another model.
    """
    fill_(weights_of(model), load_file(checkpoint / MODEL_FILE), checkpoint / MODEL_FILE)


@torch.no_grad()
def fill_(own: Mapping[str, Tensor], saved: Mapping[str, Tensor], source: Path) -> None:
    """Copy saved tensors into those of the same names; into the local part of those that are sharded.

    Raises:
        CheckpointError: if names or shapes differ; it names `source`.
    """
    parts = {name: part_of(tensor) for name, tensor in own.items()}
    strange = [name for name in parts.keys() | saved.keys() if name not in parts or name not in saved]
    strange += [name for name in parts.keys() & saved.keys() if parts[name].shape != saved[name].shape]
    if strange:
        raise CheckpointError(f"{source} is of another model: {sorted(strange)[0]} does not fit")
    for name, part in parts.items():
        part.copy_(saved[name])
