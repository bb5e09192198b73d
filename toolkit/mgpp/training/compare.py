"""A comparison: one recipe trained with several methods, at several sparsities, from several seeds, and continued."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

from mgpp.runs import Run, load_run, mark_failed
from mgpp.training.differences import differences
from mgpp.training.recipes import Recipe, load_recipe, recipe_from
from mgpp.training.strict import RecipeError

GRID = {"method": "methods", "seed": "seeds", "sparsity.final": "sparsities"}  # a recipe's key: the argument instead
STILL_WRITTEN = 60.0  # seconds since a run's last row within which somebody may be training it

TrainOne = Callable[[Recipe, Path], None]


class ComparisonError(RuntimeError):
    """A comparison can't start, or one of its trainings ended without a result."""


def compare(
    recipe: str | Path | Recipe,
    *,
    methods: Iterable[str],
    sparsities: Iterable[float],
    seeds: Iterable[int],
    out: str | Path,
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    retry_failed: bool = True,
    train_one: TrainOne | None = None,
    report: Callable[[str], None] = print,
) -> Path:
    """Train every method at every sparsity from every seed, each in `out/<run_name>`, and pass over what is done.

    A training that fails does not stop the others: its run says why. A finished run counts if its recipe is the same
    training, see `mgpp.training.differences`; the comparison's table marks pairs of runs of different precision. One
    comparison at a time may write to a folder.

    Args:
        recipe: a name, a YAML file, or a recipe; all that is not varied comes from it.
        methods: names of methods; `dense` is trained once a seed.
        sparsities: final sparsities.
        seeds: random seeds.
        out: the folder of the runs.
        jobs: trainings at a time; they share the machine's threads where the recipe does not say how many each has.
        overrides: values by dotted key, as for `load_recipe`.
        retry_failed: train again what failed.
        train_one: what trains a recipe into a folder; by default a process of its own.
        report: takes a line for each training that ended.

    Returns:
        `out`.

    Raises:
        RecipeError: if the recipe or the grid is wrong.
        ComparisonError: before anything is trained, if `out` holds runs of the same names that finished with other
            recipes (naming the keys), or that another process is writing.

    Example:
        >>> compare("reviews-quick", methods=["mgpp", "l2"], sparsities=[0.9], seeds=[0], out="c")  # doctest: +SKIP
    """
    out = Path(out)
    if jobs < 1:
        raise ComparisonError(f"jobs={jobs} must be at least 1")
    cells = grid(recipe, methods, sparsities, seeds, overrides or {})
    todo = [cell for cell in unfinished(cells, out) if retry_failed or not _failed(out / cell.run_name)]
    report(f"{len(cells)} runs in {out}: {len(cells) - len(todo)} are there, {len(todo)} to train")
    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
    todo = [replace(cell, threads=cell.threads or threads) for cell in todo]
    _train_all(todo, out, jobs, train_one or train_in_a_process, report)
    return out


def grid(
    recipe: str | Path | Recipe,
    methods: Iterable[str],
    sparsities: Iterable[float],
    seeds: Iterable[int],
    overrides: Mapping[str, Any],
) -> list[Recipe]:
    """The recipe of every run, seed after seed, so that a comparison that is stopped has whole seeds.

    Raises:
        RecipeError: if a method is unknown, a value is not valid, or `overrides` sets what the grid varies.

    Example:
        >>> [cell.run_name for cell in grid("reviews", ["dense", "l2"], [0.8, 0.9], [7], {})]
        ['reviews-dense-seed7', 'reviews-l2-0.8-seed7', 'reviews-l2-0.9-seed7']
    """
    for key in overrides:
        if key in GRID:
            raise RecipeError(f"{key}={overrides[key]!r}: the comparison varies it; say {GRID[key]} instead")
    if isinstance(recipe, Recipe):
        base = recipe_from(recipe.as_dict(), **overrides)
    else:
        base = load_recipe(recipe, **overrides)
    methods, sparsities = list(methods), list(sparsities)
    cells: dict[str, Recipe] = {}
    for seed in seeds:
        for sparsity in sparsities:
            for method in methods:
                cell = recipe_from(base.as_dict(), method=method, seed=seed, **{"sparsity.final": sparsity})
                cells.setdefault(cell.run_name, cell)
    if not cells:
        raise RecipeError("a comparison needs at least one method, one sparsity and one seed")
    return list(cells.values())


def unfinished(cells: Sequence[Recipe], out: Path) -> list[Recipe]:
    """The cells without a finished run.

    Raises:
        ComparisonError: if a finished run has another recipe, or an unfinished one is still being written.
    """
    wrong, todo = [], []
    for cell in cells:
        run = _run_in(out / cell.run_name)
        if run is None or run.status != "finished":
            todo.append(cell)
            wrong += [] if run is None else _being_written(run)
        elif keys := differences(cell, run.recipe):
            wrong.append(f"{run.folder} finished with another recipe: {'; '.join(keys[:3])}")
    if wrong:
        advice = "nothing was trained; choose another folder, or move these away"
        raise ComparisonError("\n".join([*wrong, advice]))
    return todo


def _run_in(folder: Path) -> Run | None:
    return load_run(folder) if folder.is_dir() and any(folder.iterdir()) else None


def _failed(folder: Path) -> bool:
    run = _run_in(folder)
    return run is not None and run.status == "failed"


def _being_written(run: Run) -> list[str]:
    """Words that somebody may be training this run, if its files say so."""
    age = time.time() - max(file.stat().st_mtime for file in run.folder.glob("[!.]*"))
    if run.status != "running" or age > STILL_WRITTEN:
        return []
    return [f"{run.folder} was written {age:.0f} s ago and may still be training; if it is not, wait a minute"]


def _train_all(
    cells: Sequence[Recipe], out: Path, jobs: int, train_one: TrainOne, report: Callable[[str], None]
) -> None:
    pool = ThreadPoolExecutor(jobs)
    try:
        waiting = [pool.submit(_train_cell, cell, out / cell.run_name, train_one) for cell in cells]
        for count, done in enumerate(as_completed(waiting), start=1):
            report(f"[{count}/{len(cells)}] {done.result()}")
    finally:
        pool.shutdown(cancel_futures=True)  # when interrupted: what has not begun does not begin


def _train_cell(recipe: Recipe, folder: Path, train_one: TrainOne) -> str:
    """Train one run and say in a line how it ended; its failure is written down and goes no further."""
    if folder.exists():
        shutil.rmtree(folder.resolve())  # an unfinished run, as `unfinished` has seen
    words = "the training ended before the run was finished"
    try:
        train_one(recipe, folder)
    except Exception as error:
        words = str(error) if isinstance(error, ComparisonError) else f"{type(error).__name__}: {error}"
    run = _run_in(folder)
    if run is None or run.status != "finished":
        mark_failed(folder, words, {"recipe": recipe.as_dict()})
    return _in_a_line(load_run(folder))


def _in_a_line(run: Run) -> str:
    if run.status != "finished":
        return f"{run.name}: failed, {run.info['error']}"
    score = run.final.get(run.metric)
    return f"{run.name}: {run.metric} {'NaN' if score is None else f'{score:.4g}'}, {run.info['wall_seconds']:.0f} s"


def train_in_a_process(recipe: Recipe, folder: Path) -> None:
    """Train in a process of its own, so that a crash, or memory that ran out, ends this training only.

    Raises:
        ComparisonError: if the process fails; with the last line that it wrote, or the signal that killed it.
    """
    command = [sys.executable, "-m", "mgpp.training.compare", str(folder)]
    done = subprocess.run(command, input=json.dumps(recipe.as_dict()), capture_output=True, text=True, check=False)
    if done.returncode < 0:
        raise ComparisonError(f"killed by signal {-done.returncode}; the memory may not suffice")
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ComparisonError(lines[-1])


if __name__ == "__main__":  # the other side of train_in_a_process
    from mgpp.training.train import train

    train(recipe_from(json.load(sys.stdin)), sys.argv[1], progress=False)
