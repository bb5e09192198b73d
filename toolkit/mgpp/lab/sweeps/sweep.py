"""Sweeps: what is to be trained, what is done already, what is tried again, and one frame of it all."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm.auto import tqdm

from mgpp.lab.recipes.differences import differences
from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.sweeps.grid import Cell, cells_of, repeated
from mgpp.lab.sweeps.launchers import Job, Launcher, LocalProcesses, WorkerLostError
from mgpp.lab.sweeps.record import count_attempts, is_taken, save_sweep
from mgpp.lab.sweeps.worker import has_log, run_in
from mgpp.runs import Run, RunError, load_run, mark_failed

LOOK_ELSEWHERE = 1.0  # seconds between two looks at runs that other processes train

Report = Callable[[str], None]


class SweepError(RuntimeError):
    """A sweep can't start as it was asked for; the message says which runs are in its way."""


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
    """Train the product of a grid and seeds, each run in a folder of its own, and go on where an earlier sweep stopped.

    What is finished is passed over; what stopped goes on from its last checkpoint (`save_every` in the recipe), or from
    the start. A run that another process trains is waited for. A run that fails stops no other.

    Args:
        recipe: a name, a YAML file, or a recipe; all that is not varied comes from it.
        grid: values by dotted key.
        seeds: random seeds.
        out: the folder of the runs, and of the frame, `sweep.csv`, which also keeps earlier sweeps' runs.
        jobs: trainings at a time, where no launcher says otherwise.
        overrides: values by dotted key that all runs have.
        launcher: where to train; by default in processes of this machine.
        retries: how often a run is tried again whose worker died, or that failed for want of memory or disk. Other
            errors would only come again.
        report: takes a line for each training that ended.

    Returns:
        A row for each run that was asked for, see `mgpp.load_sweep`; what failed has its error in it.

    Raises:
        RecipeError: if a key or value of the grid is wrong, see `cells_of`.
        SweepError: before anything is trained, if `out` holds runs of the same names with other recipes.

    Example:
        >>> frame = sweep("reviews-quick", grid={"prior.lam": [1e-6, 1e-5]}, seeds=[0, 1], out="s")  # doctest: +SKIP
    """
    cells, out = cells_of(recipe, grid, seeds, overrides), Path(out)
    todo = unfinished(cells, out)
    varied = {cell.name: cell.varied for cell in cells}
    save_sweep(out, varied)
    try:
        report(f"{len(cells)} runs in {out}: {len(cells) - len(todo)} are there, {len(todo)} to train")
        if count := repeated(cells):
            report(f"{count} of them repeat another's training: they vary what their method has no use for")
        train_cells(todo, out, launcher or LocalProcesses(jobs), retries=retries, report=report)
    finally:
        frame = save_sweep(out, varied)
    return frame[frame["name"].isin(varied.keys())].reset_index(drop=True)


def unfinished(cells: Sequence[Cell], out: Path) -> list[Cell]:
    """The cells without a finished run.

    Raises:
        SweepError: if a run has another recipe, unless it failed before it logged anything.
        RunError: if a folder holds other files, or a run in it can't be read.
    """
    runs = {cell.name: run_in(out / cell.name) for cell in cells}
    wrong = [words for cell in cells if (run := runs[cell.name]) and (words := _another_recipe(cell, run))]
    if wrong:
        advice = "nothing was trained; choose another folder, or move these away"
        raise SweepError("\n".join([*wrong, advice]))
    return [cell for cell in cells if (run := runs[cell.name]) is None or run.status != "finished"]


def _another_recipe(cell: Cell, run: Run) -> str:
    """Words on what a run's recipe differs in, none where it is the cell's or there is nothing to lose."""
    keys = differences(cell.recipe, run.recipe)
    if not keys or (run.status in ("failed", "stopped") and not has_log(run)):
        return ""
    return f"{run.folder} {run.status} with another recipe: {'; '.join(keys[:3])}"


def train_cells(cells: Sequence[Cell], out: Path, launcher: Launcher, *, retries: int, report: Report) -> None:
    """Train cells, whatever becomes of the single ones, and say in a line how each ended.

    Args:
        cells: without a finished run, see `unfinished`.
        out: the folder of the runs.
        launcher: where they are trained.
        retries: how often a cell is tried again after what may pass.
        report: takes the lines.
    """
    if not cells:
        return
    look: dict[str, Any] = {"disable": None, "unit": "run", "dynamic_ncols": True}  # no bar where there is no terminal
    with launcher, tqdm(total=len(cells), desc=out.name, **look) as bar:
        _Training(cells, out, launcher, retries, report, bar).run()


@dataclass
class _Training:
    """Cells on their way: begun, begun again, or left to another process that was there first."""

    cells: Sequence[Cell]
    out: Path
    launcher: Launcher
    retries: int
    report: Report
    bar: tqdm
    tries: Counter[str] = field(default_factory=Counter)
    jobs: list[tuple[Job, Cell]] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)
    over: int = 0

    def __post_init__(self) -> None:
        self.before = {cell.name: count_attempts(self.out / cell.name) for cell in self.cells}

    def run(self) -> None:
        """Begin all cells, and look at them again and again until none is left."""
        self.begin([cell for cell in self.cells if not self.left_to_another(cell)])
        look = time.monotonic()
        while self.jobs or self.elsewhere:
            over = [job.done() for job, _ in self.jobs]
            ended = [pair for pair, done in zip(self.jobs, over, strict=True) if done]
            self.jobs = [pair for pair, done in zip(self.jobs, over, strict=True) if not done]
            for job, cell in ended:
                self.settle(cell, *how_it_went(job))
            if time.monotonic() - look > LOOK_ELSEWHERE:
                self.look_elsewhere()
                look = time.monotonic()
            time.sleep(self.launcher.pause)

    def begin(self, cells: Sequence[Cell]) -> None:
        """Hand cells to the launcher."""
        threads = self.launcher.threads
        tasks = [(replace(cell.recipe, threads=cell.recipe.threads or threads), self.out / cell.name) for cell in cells]
        self.tries.update(cell.name for cell in cells)
        self.jobs += zip(self.launcher.begin(tasks), cells, strict=True)

    def left_to_another(self, cell: Cell) -> bool:
        """Whether another process has a cell's run; it is then waited for."""
        if not is_taken(self.out / cell.name):
            return False
        self.report(f"{cell.name}: another process is training it; waiting for it")
        self.elsewhere.append(cell)
        return True

    def look_elsewhere(self) -> None:
        """Take back the cells that other processes have let go of."""
        free = [cell for cell in self.elsewhere if not is_taken(self.out / cell.name)]
        self.elsewhere = [cell for cell in self.elsewhere if cell not in free]
        for cell in free:
            self.settle(cell, "the process that trained it is gone", passing=True, is_ours=False)

    def settle(self, cell: Cell, error: str | None, passing: bool, *, is_ours: bool = True) -> None:
        """Decide what becomes of a cell after an attempt; the files in its folder have the last word."""
        folder = self.out / cell.name
        if self.left_to_another(cell):
            return
        try:
            run = run_in(folder)
        except RunError as damaged:  # which stops no other run
            self.close(Run(folder, {"status": "failed", "error": str(damaged)}))
            return
        if run is not None and run.status == "finished":
            self.close(run)
        elif passing and self.tried(cell) <= self.retries:
            self.report(f"{cell.name}: {error}; trying again")
            self.begin([cell])
        else:
            words = error or "the training ended before the run was finished"
            with suppress(OSError):  # a full disk, of which the words tell
                keep_words = error is None or not is_ours  # an attempt that is refused leaves those of an earlier one
                mark_failed(folder, words, {"recipe": cell.recipe.as_dict()}, keep_words=keep_words)
                run = load_run(folder)
            self.close(run or Run(folder, {"status": "failed", "error": words}))

    def tried(self, cell: Cell) -> int:
        """Attempts in this sweep, also those that an engine made by itself."""
        return max(self.tries[cell.name], count_attempts(self.out / cell.name) - self.before[cell.name])

    def close(self, run: Run) -> None:
        """Say how a cell ended that is not tried again."""
        self.over += 1
        self.bar.update()
        self.report(f"[{self.over}/{len(self.cells)}] {in_a_line(run)}")


def not_finished(names: Iterable[str], out: str | Path) -> list[str]:
    """A line on each of these runs that is not finished: what became of it. Other runs in the folder don't count.

    Example:
        >>> not_finished(["reviews-l2-0.9-seed0"], "a-folder-that-does-not-exist")
        ['reviews-l2-0.9-seed0: missing']
    """
    lines = []
    for name in names:
        try:
            run = run_in(Path(out) / name)
        except RunError as damaged:
            lines.append(f"{name}: {damaged}")
            continue
        if run is None or run.status != "finished":
            words = [run.status, run.info.get("error")] if run else ["missing"]
            lines.append(f"{name}: {', '.join(filter(None, words))}")
    return lines


def how_it_went(job: Job) -> tuple[str | None, bool]:
    """Why an attempt failed, None if it did not, and whether it may go otherwise another time."""
    try:
        outcome = job.result()
    except WorkerLostError as error:
        return str(error), True
    return outcome["error"], outcome["passing"]


def in_a_line(run: Run) -> str:
    """How a run ended.

    Example:
        >>> in_a_line(Run(Path("a"), {"status": "failed", "error": "MemoryError: too large"}))
        'a: failed, MemoryError: too large'
    """
    if run.status != "finished":
        return f"{run.name}: failed, {run.info.get('error', 'without a word')}"
    score = run.final.get(run.metric)
    return f"{run.name}: {run.metric} {'NaN' if score is None else f'{score:.4g}'}, {run.info['wall_seconds']:.0f} s"
