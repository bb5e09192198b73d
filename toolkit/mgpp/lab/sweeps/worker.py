"""What a worker does, on whatever machine: take up a run, go on with it where it stopped, and say how that ended."""

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

import torch

from mgpp.lab.recipes.recipe import Recipe, recipe_from
from mgpp.lab.sweeps.record import claim, is_taken, note_attempt
from mgpp.lab.training.faults import OutOfMemoryError
from mgpp.runs import Run, check_folder, is_being_written, load_run
from mgpp.runs.faults import StorageError

# what may be another time otherwise: a file system, a full disk, memory that a neighbour took
PASSING = (OSError, StorageError, MemoryError, OutOfMemoryError, torch.OutOfMemoryError)

TrainOne = Callable[[Recipe, Path], None]


class Outcome(TypedDict):
    """How an attempt at a run ended, if its process lived to say so; all None and False where the run is finished."""

    error: str | None
    passing: bool


def work(recipe: Mapping[str, Any], folder: str, train_one: TrainOne | None = None) -> Outcome:
    """Take up a run. This is what every launcher calls, so it takes and returns plain data.

    A run that is finished, or that another process has, is left alone.

    Args:
        recipe: as plain data, see `Recipe.as_dict`.
        folder: of the run.
        train_one: what trains; by default `train_or_resume`.
    """
    if is_taken(folder):
        return {"error": "another process was training it", "passing": True}
    try:
        with claim(folder):
            run = run_in(folder)
            if run is None or run.status != "finished":
                note_attempt(folder)
                (train_one or train_or_resume)(recipe_from(recipe), Path(folder))
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "passing": isinstance(error, PASSING) or is_taken(folder)}
    return {"error": None, "passing": False}


def train_or_resume(recipe: Recipe, folder: Path) -> None:
    """Go on with the run in `folder` from its last checkpoint; one that has logged nothing yet begins anew."""
    from mgpp.lab.training.train import (  # takes seconds, and a worker whose run is finished needs none of it
        resume,
        train,
    )

    run = run_in(folder)
    if run is not None and has_log(run):
        resume(folder, progress=False)
    else:
        train(recipe, folder, replace_run=run is not None, progress=False)


def has_log(run: Run) -> bool:
    """Whether there is something to lose: at least one row of metrics."""
    with warnings.catch_warnings(action="ignore"):  # a last row that was cut off is no news here
        return not run.metrics.empty


def run_in(folder: str | Path) -> Run | None:
    """The run that a folder holds, if there is one.

    Raises:
        RunError: if the folder holds other files instead, or a run that can't be read.

    Example:
        >>> run_in("a-folder-that-does-not-exist")
    """
    if (Path(folder) / "run.json").is_file():
        return load_run(folder)
    if not is_being_written(folder):
        check_folder(folder)
    return None


def stop_with_the_parent() -> None:
    """Watch standard input, which the parent keeps open as long as it lives, and stop when it is gone.

    So a sweep that is killed leaves nothing behind that goes on training; a checkpoint is what the next one resumes.
    """

    def _watch() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=_watch, daemon=True).start()


if __name__ == "__main__":  # the other side of launchers.LocalProcesses: a recipe comes in, an outcome goes out
    asked = json.loads(sys.stdin.buffer.readline())
    stop_with_the_parent()
    print("\n" + json.dumps(work(asked, sys.argv[1])))  # on a line of its own, the last one
