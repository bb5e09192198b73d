"""Manage the folders of checkpoints: write them whole or not at all, check them before use, delete old ones.

    checkpoints/checkpoint-<step>/
      model.safetensors, config.json          the weights; `from_pretrained` loads the folder
      pruner.safetensors                      masks, the last prune event, what the method remembers
      training.safetensors, training.json     optimizer, learning rate schedule, loss scale
      trainer_state.json                      the Trainer's step count and history
      rank-0.safetensors, rank-0.json         of each process: random generators, order of the data, loss to be logged
      manifest.json                           size and SHA-256 of every file, the recipe, the number of processes

No process gathers a sharded model: the weights, optimizer and masks of each process are in its own files, and there is
no `model.safetensors` and no `pruner.safetensors`.

A checkpoint is written into a hidden folder, fsynced and renamed; only then an older one is deleted. It is as sparse
as its phase says: in the frozen phase, and right after a prune event, it holds exactly k zeros. Between two events of
a method that lets weights regrow it holds fewer, as the model does, and the masks of the last event beside it.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from mgpp.lab.training.states import CheckpointError
from mgpp.runs import RunWarning
from mgpp.runs.files import remove_folder, sha256

MODEL_FILE, TRAINER_FILE, MANIFEST = "model.safetensors", "trainer_state.json", "manifest.json"
FORMAT = 1
_PREFIX = "checkpoint-"


def step_of(checkpoint: Path) -> int:
    """Return the number of steps made before a checkpoint.

    Example:
        >>> step_of(Path("checkpoint-20"))
        20
    """
    return int(checkpoint.name.removeprefix(_PREFIX))


def checkpoint_folder(folder: Path, step: int) -> Path:
    """Return the folder of the checkpoint after `step` steps.

    Example:
        >>> checkpoint_folder(Path("my-run/checkpoints"), 20).name
        'checkpoint-20'
    """
    return folder / f"{_PREFIX}{step}"


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, damaged ones included, the oldest first."""
    found = [path for path in folder.glob(f"{_PREFIX}*") if path.name.removeprefix(_PREFIX).isdecimal()]
    return sorted((path for path in found if path.is_dir()), key=step_of)


def latest(folder: Path) -> Path | None:
    """Return the newest checkpoint that is not damaged, and warn of each damaged one that is passed over."""
    for checkpoint in reversed(checkpoints(folder)):
        try:
            check(checkpoint)
            return checkpoint
        except CheckpointError as error:
            warnings.warn(f"{error}; the training goes on from an earlier checkpoint", RunWarning, stacklevel=2)
    return None


def check(checkpoint: Path) -> None:
    """Raise CheckpointError, with the name of the file, unless every file is as it was written."""
    try:
        manifest = read_manifest(checkpoint)
        version, files = manifest["format"], manifest["files"]
    except (OSError, ValueError, KeyError):
        raise CheckpointError(f"{checkpoint / MANIFEST} is missing or damaged") from None
    if version != FORMAT:
        raise CheckpointError(f"{checkpoint / MANIFEST} has format {version}, this version reads {FORMAT}")
    for name, written in files.items():
        path = checkpoint / name
        if not path.is_file() or _fingerprint(path) != written:
            raise CheckpointError(f"{path} is {'damaged' if path.is_file() else 'missing'}")


def read_manifest(checkpoint: Path) -> dict[str, Any]:
    """Read a checkpoint's manifest.json."""
    return json.loads((checkpoint / MANIFEST).read_text(encoding="utf-8"))


def write_manifest(folder: Path, **info: Any) -> None:
    """Write manifest.json with size and hash of all files in a folder, and `info`."""
    files = {path.name: _fingerprint(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({"format": FORMAT, **info, "files": files}, indent=1), encoding="utf-8")


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def check_processes(checkpoint: Path, count: int, sharded: bool) -> None:
    """Raise CheckpointError unless a checkpoint was saved by `count` processes, of a model sharded or not as now."""
    manifest = read_manifest(checkpoint)
    saved_by, was_sharded = manifest.get("processes", 1), manifest.get("sharded", False)
    if saved_by != count:
        raise CheckpointError(
            f"{checkpoint} was saved by {saved_by} processes, but there are {count}; resume with {saved_by}: "
            f"torchrun --nproc-per-node {saved_by} -m mgpp train --resume {checkpoint.parents[1]}"
        )
    if was_sharded != sharded:
        raise CheckpointError(f"{checkpoint} has sharded={was_sharded}, the training {sharded}; launch it as before")


def tidy(folder: Path, step: int, keep: int | None) -> None:
    """Delete what killed processes left half written or half deleted, and old checkpoints as `rotate` does."""
    for ending in ("writing", "deleting"):
        for hidden in folder.glob(f".*.{ending}"):
            shutil.rmtree(hidden)
    rotate(folder, step, keep)


def rotate(folder: Path, step: int, keep: int | None) -> None:
    """Delete all but the last `keep` of the checkpoints up to `step`; None keeps all."""
    older = [path for path in checkpoints(folder) if step_of(path) <= step]
    for path in older[: -max(keep, 1)] if keep is not None else []:
        remove_folder(path)
