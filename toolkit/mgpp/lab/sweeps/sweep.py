"""Run a sweep: pass over finished runs, train the others, retry what may succeed, and write one frame of them all."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from mgpp.lab.own_code import check_importable, own_files
from mgpp.lab.recipes.differences import differences
from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.sweeps.grid import Cell, cells_of
from mgpp.lab.sweeps.launchers import Job, Launcher, LocalProcesses
from mgpp.lab.sweeps.record import count_attempts, is_taken, save_sweep
from mgpp.lab.sweeps.worker import Outcome, has_log, run_in
from mgpp.runs import Run, RunError, mark_failed

SECONDS_BETWEEN_LOOKS = 1.0  # at a run that another process trains

Report = Callable[[str], None]


class SweepError(RuntimeError):
    """A sweep can't start because its folder has runs of other recipes under the same names."""


def sweep(
    recipe: str | Path | Recipe,
    *,
    grid: Mapping[str, Sequence[Any]],
    seeds: Iterable[int] = (0,),
    out: str | Path,
    jobs: int = 1,
    overrides: Mapping[str, Any] | None = None,
    launcher: Launcher | None = None,
    retries: int = 2,
    report: Report = tqdm.write,
) -> pd.DataFrame:
    """Train the product of a grid and seeds, each run in a folder of its own.

    Finished runs are passed over. Stopped ones resume from their last checkpoint (`save_every` in the recipe), or begin
    again without one. The sweep waits for runs that another process trains. A run that fails stops no other.

    Args:
        recipe: a name, a YAML file, or a recipe; all that is not varied comes from it.
        grid: values by dotted key.
        seeds: random seeds.
        out: the folder of the runs, and of the frame, `sweep.csv`, which also keeps earlier sweeps' runs.
        jobs: trainings at a time, if no launcher is given.
        overrides: values by dotted key that all runs have.
        launcher: where to train; by default in processes of this machine.
        retries: how often to try a run again whose worker died, or that ran out of memory or disk. Other errors are
            not tried again.
        report: takes a line for each training that ended.

    Returns:
        A row for each run that was asked for, see `mgpp.load_sweep`, with the errors of those that failed.

    Raises:
        RecipeError: if a key or value of the grid is wrong, see `cells_of`.
        SweepError: before anything is trained, if `out` has runs of the same names with other recipes.

    Example:
        >>> frame = sweep("reviews-quick", grid={"prior.lam": [1e-6, 1e-5]}, seeds=[0, 1], out="s")  # doctest: +SKIP
    """
    cells, out = cells_of(recipe, grid, seeds, overrides), Path(out)
    todo = unfinished(cells, out, report)
    varied = {cell.name: cell.varied for cell in cells}
    save_sweep(out, varied)
    try:
        train_cells(todo, out, launcher or LocalProcesses(jobs), retries=retries, report=report)
    finally:
        frame = save_sweep(out, varied)
    return frame[frame["name"].isin(varied.keys())].reset_index(drop=True)


def unfinished(cells: Sequence[Cell], out: Path, report: Report) -> list[Cell]:
    """Return the cells without a finished run, and report how many they are.

    Raises:
        SweepError: if a run has another recipe, unless it ended before it logged anything.
        RunError: if a folder holds other files, or a run in it can't be read.
    """
    runs = {cell.name: run_in(out / cell.name) for cell in cells}
    wrong = [words for cell in cells if (run := runs[cell.name]) and (words := _another_recipe(cell, run))]
    if wrong:
        raise SweepError("\n".join([*wrong, "nothing was trained; choose another folder, or move these runs away"]))
    todo = [cell for cell in cells if (run := runs[cell.name]) is None or run.status != "finished"]
    report(f"{len(cells)} runs in {out}: {len(cells) - len(todo)} are there, {len(todo)} to train")
    return todo


def _another_recipe(cell: Cell, run: Run) -> str:
    """Say in what a run's recipe differs from the cell's; nothing if it does not, or has nothing to lose."""
    keys = differences(cell.recipe, run.recipe)
    if not keys or (run.status in ("failed", "stopped") and not has_log(run)):
        return ""
    return f"{run.folder} {run.status} with another recipe: {'; '.join(keys[:3])}"


def train_cells(cells: Sequence[Cell], out: Path, launcher: Launcher, *, retries: int, report: Report) -> None:
    """Train cells, and report in a line how each ended. One that fails stops no other.

    Args:
        cells: without a finished run, see `unfinished`.
        out: the folder of the runs.
        launcher: where they are trained.
        retries: how often a cell is tried again after an error that may be temporary.
        report: takes the lines.
    """
    if not cells:
        return
    for cell in cells:
        check_importable(cell.recipe)
    look: dict[str, Any] = {"disable": None, "unit": "run", "dynamic_ncols": True}  # no bar where there is no terminal
    with launcher, tqdm(total=len(cells), desc=out.name, **look) as bar:
        _Loop(cells, out, launcher, retries, report, bar).run()


@dataclass
class _Loop:
    """The loop of a sweep: begin all cells, and settle each whose job is done, until no job is left."""

    cells: Sequence[Cell]
    out: Path
    launcher: Launcher
    retries: int
    report: Report
    bar: tqdm
    tries: Counter[str] = field(default_factory=Counter)
    jobs: list[tuple[Job, Cell]] = field(default_factory=list)
    closed: int = 0
    warned: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.attempts_before = {cell.name: count_attempts(self.out / cell.name) for cell in self.cells}

    def run(self) -> None:
        """Train the cells."""
        self.begin([cell for cell in self.cells if not self.wait_for_another(cell)])
        while self.jobs:
            ended = [(job, cell) for job, cell in self.jobs if job.done()]
            self.jobs = [pair for pair in self.jobs if pair not in ended]
            for job, cell in ended:
                self.settle(cell, _outcome(job), is_ours=not isinstance(job, _AnotherProcess))
            time.sleep(self.launcher.pause)

    def plain(self, recipe: Recipe) -> dict[str, Any]:
        """Return a recipe as workers get it, and the files that they must import first."""
        settings = recipe.as_dict() | {"threads": recipe.threads or self.launcher.threads}
        return settings | ({"import": files} if (files := own_files(recipe)) else {})

    def begin(self, cells: Sequence[Cell]) -> None:
        """Hand cells to the launcher."""
        self.tries.update(cell.name for cell in cells)
        tasks = [(self.plain(cell.recipe), self.out / cell.name) for cell in cells]
        self.jobs += zip(self.launcher.begin(tasks), cells, strict=True)

    def wait_for_another(self, cell: Cell) -> bool:
        """Wait for a cell's run if another process trains it; return whether one does."""
        if not is_taken(self.out / cell.name):
            return False
        self.report(f"{cell.name}: another process is training it; waiting for it")
        self.jobs.append((_AnotherProcess(self.out / cell.name), cell))
        return True

    def settle(self, cell: Cell, outcome: Outcome, *, is_ours: bool) -> None:
        """Decide what becomes of a cell after an attempt; the files in its folder count more than the outcome."""
        self.report_warnings(outcome.get("warnings", []))
        if self.wait_for_another(cell):
            return
        folder, error = self.out / cell.name, outcome["error"] or "the training ended before the run was finished"
        run = _state_of(folder)
        if run.status in ("finished", "damaged"):
            self.close(run)
        elif outcome["temporary"] and self.tried(cell) <= self.retries:
            self.report(f"{cell.name}: {error}; trying again")
            self.begin([cell])
        else:
            keep_words = outcome["error"] is None or not is_ours  # an error of ours replaces that of an earlier attempt
            try:
                mark_failed(folder, error, {"recipe": cell.recipe.as_dict()}, keep_words=keep_words)
                run = _state_of(folder)
            except OSError:  # a full disk, of which the error tells
                run = Run(folder, {"status": "failed", "error": error})
            self.close(run)

    def report_warnings(self, texts: Sequence[str]) -> None:
        """Report each warning of the workers once, however many runs it comes from."""
        for text in dict.fromkeys(texts):
            if text not in self.warned:
                self.report(f"warning: {text}")
        self.warned.update(texts)

    def tried(self, cell: Cell) -> int:
        """Return the attempts of this sweep, with those that the engine made by itself."""
        return max(self.tries[cell.name], count_attempts(self.out / cell.name) - self.attempts_before[cell.name])

    def close(self, run: Run) -> None:
        """Report how a cell ended that is not tried again."""
        self.closed += 1
        self.bar.update()
        self.report(f"[{self.closed}/{len(self.cells)}] {_summary_line(run)}")


class _AnotherProcess:
    """The job of a run that another process trains: done when that process has let go of it."""

    def __init__(self, folder: Path):
        self.folder, self.next_look = folder, 0.0

    def done(self) -> bool:
        """Return whether the other process has let go; look once a second at most."""
        if time.monotonic() < self.next_look:
            return False
        self.next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS
        return not is_taken(self.folder)

    def result(self) -> Outcome:
        """Return an outcome; the files in the folder tell whether the run is finished."""
        return {"error": "the process that trained it is gone", "temporary": True}


def _outcome(job: Job) -> Outcome:
    """Return how a job went; a worker that was lost could succeed another time."""
    try:
        return job.result()
    except Exception as lost:  # each engine has its own errors for a worker that died
        return {"error": f"{type(lost).__name__}: {str(lost).partition(chr(10))[0]}", "temporary": True}


def _state_of(folder: Path) -> Run:
    """Return the run in a folder; one of status missing or damaged if it can't be read."""
    try:
        return run_in(folder) or Run(folder, {"status": "missing"})
    except RunError as damaged:
        return Run(folder, {"status": "damaged", "error": str(damaged)})


def not_finished(names: Iterable[str], out: str | Path) -> list[str]:
    """Return a line for each of these runs that is not finished, with its status and error.

    Example:
        >>> not_finished(["reviews-l2-0.9-seed0"], "a-folder-that-does-not-exist")
        ['reviews-l2-0.9-seed0: missing']
    """
    runs = [_state_of(Path(out) / name) for name in names]
    return [_summary_line(run) for run in runs if run.status != "finished"]


def _summary_line(run: Run) -> str:
    if run.status != "finished":
        return f"{run.name}: {', '.join(filter(None, [run.status, run.info.get('error')]))}"
    score = run.final.get(run.metric)
    return f"{run.name}: {run.metric} {'NaN' if score is None else f'{score:.4g}'}, {run.info['wall_seconds']:.0f} s"
