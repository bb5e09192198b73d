"""Train one run of a sweep on any machine: begin or resume it, and report how that ended."""

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch

from mgpp.lab.own_code import import_file
from mgpp.lab.recipes.recipe import Recipe, recipe_from
from mgpp.lab.sweeps.record import claim, is_taken, note_attempt
from mgpp.lab.training.faults import OutOfMemoryError
from mgpp.runs import Run, check_folder, is_being_written, load_run
from mgpp.runs.errors import StorageError

# another attempt may succeed after these: a file system, a full disk, memory that another process took
TEMPORARY = (OSError, StorageError, MemoryError, OutOfMemoryError, torch.OutOfMemoryError)

TrainOne = Callable[[Recipe, Path], None]


class Outcome(TypedDict):
    """How an attempt at a run ended.

    `error` is None if the run is finished. `temporary` is whether another attempt may succeed. `warnings` are those of
    the toolkit, which would be lost in the log of a process.
    """

    error: str | None
    temporary: bool
    warnings: NotRequired[list[str]]


def work(recipe: Mapping[str, Any], folder: str, train_one: TrainOne | None = None) -> Outcome:
    """Begin or resume a run, unless it is finished or another process has it. Every launcher calls this.

    Args:
        recipe: as plain data, see `Recipe.as_dict`; under "import" the files to import first, see `own_files`.
        folder: of the run.
        train_one: what trains; by default `train_or_resume`.
    """
    with _noted_warnings() as said:
        outcome = _attempt(recipe, folder, train_one or train_or_resume)
    if said:
        outcome["warnings"] = said
    return outcome


@contextmanager
def _noted_warnings() -> Iterator[list[str]]:
    """Collect the toolkit's warnings, which are shown as ever."""
    said, show = list[str](), warnings.showwarning

    def _note(message: Warning | str, category: type[Warning], *where: Any) -> None:
        if category.__module__.startswith("mgpp."):
            said.append(str(message))
        show(message, category, *where)

    with warnings.catch_warnings():
        warnings.showwarning = _note  # type: ignore[assignment]
        yield said


def _attempt(recipe: Mapping[str, Any], folder: str, train_one: TrainOne) -> Outcome:
    if is_taken(folder):
        return {"error": "another process was training it", "temporary": True}
    try:
        with claim(folder):
            run = run_in(folder)
            if run is None or run.status != "finished":
                note_attempt(folder)
                settings = dict(recipe)
                for file in settings.pop("import", ()):
                    import_file(file)
                train_one(recipe_from(settings), Path(folder))
    except Exception as error:
        temporary = isinstance(error, TEMPORARY) or is_taken(folder)
        return {"error": f"{type(error).__name__}: {error}", "temporary": temporary}
    return {"error": None, "temporary": False}


def train_or_resume(recipe: Recipe, folder: Path) -> None:
    """Resume the run in `folder` from its last checkpoint; train it anew if it has logged nothing yet."""
    from mgpp.lab.training.train import resume, train  # takes seconds, which a finished run does not need

    run = run_in(folder)
    if run is not None and has_log(run):
        resume(folder, progress=False)
    else:
        train(recipe, folder, replace_run=run is not None, progress=False)


def has_log(run: Run) -> bool:
    """Return whether a run has logged at least one row of metrics."""
    with warnings.catch_warnings(action="ignore"):  # a last row that was cut off does not matter here
        return not run.metrics.empty


def run_in(folder: str | Path) -> Run | None:
    """Return the run in a folder, None if the folder is empty or missing.

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
    """Kill this process when its standard input ends, which the parent keeps open as long as it lives.

    So a sweep that is killed leaves no worker behind; the next sweep resumes from the last checkpoint.
    """

    def _watch() -> None:
        os.read(0, 1)
        os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    threading.Thread(target=_watch, daemon=True).start()


if __name__ == "__main__":  # the process that launchers.LocalProcesses starts: it reads a recipe, prints an outcome
    asked = json.loads(sys.stdin.buffer.readline())
    stop_with_the_parent()
    print("\n" + json.dumps(work(asked, sys.argv[1])))  # on the last line, alone
