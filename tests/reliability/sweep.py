"""Sweeps whose workers are killed with SIGKILL at random moments, compared with undisturbed trainings.

python tests/reliability/sweep.py --out data/reliability/sweep.json
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from findings import parser_of, write
from kills import fingerprint
from small_training import make_quick, small_recipe

from mgpp import LocalProcesses, RayCluster, load_run, sweep
from mgpp.lab.recipes.recipe import Recipe
from mgpp.lab.sweeps.grid import cells_of
from mgpp.lab.sweeps.record import ATTEMPTS_FILE, ATTEMPTS_FOLDER
from mgpp.lab.training.train import train

GRID, SEEDS = {"prior.lam": [1e-6, 1e-5, 1e-4]}, range(4)
LAUNCHERS = {"local processes": LocalProcesses, "local Ray cluster": RayCluster}
RETRIES = 8
ROWS = 12  # of the 20 that a training logs


def never() -> bool:
    """Of a worker that lives on."""
    return False


class Killer(threading.Thread):
    """Kills workers of a sweep: some time after they have taken up a run, or once they have logged some rows."""

    def __init__(self, folder: Path, kills: int, seconds: float):
        super().__init__(daemon=True)
        self.folder, self.left, self.seconds = folder, kills, seconds
        self.kills: Counter[str] = Counter()
        self.over = threading.Event()

    def run(self) -> None:
        """Look for attempts that are new, and decide for each whether and when it ends."""
        due: dict[tuple[str, int], Callable[[], bool]] = {}
        while not self.over.wait(0.01):
            for name, pid in self.attempts() - due.keys():
                due[name, pid] = self.moment(name) if random.random() < 0.6 else never
            for (name, pid), has_come in due.items():
                if self.left and has_come():
                    due[name, pid] = never
                    self.kill(name, pid)

    def moment(self, name: str) -> Callable[[], bool]:
        """Says whether a moment has come: of the clock, which may fall before the training, or of the log."""
        if random.random() < 0.5:
            end = time.monotonic() + random.uniform(0, self.seconds)
            return lambda: time.monotonic() > end
        rows = self.rows(name) + random.randint(1, ROWS)
        return lambda: self.rows(name) >= rows

    def rows(self, name: str) -> int:
        """How many rows of metrics a run has logged."""
        file = self.folder / name / "metrics.jsonl"
        return file.read_bytes().count(b"\n") if file.exists() else 0

    def attempts(self) -> set[tuple[str, int]]:
        """Run and process of every attempt so far."""
        found = set()
        for file in self.folder.glob(f"{ATTEMPTS_FOLDER}/*/{ATTEMPTS_FILE}"):
            rows = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
            found |= {(file.parent.name, row["pid"]) for row in rows}
        return found

    def kill(self, name: str, pid: int) -> None:
        """Kill a worker, if it has not finished before."""
        run = self.folder / name / "run.json"
        if run.exists() and json.loads(run.read_text())["status"] == "finished":
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[name] += 1
        self.left -= 1


def disturbed(launcher: str, recipe: Recipe, out: Path, kills: int, seconds: float) -> dict[str, Any]:
    """A sweep whose workers are killed: what became of it."""
    killer = Killer(out, kills, seconds)
    killer.start()
    started = time.monotonic()
    frame = sweep(recipe, grid=GRID, seeds=SEEDS, out=out, launcher=LAUNCHERS[launcher](jobs=2), retries=RETRIES)
    killer.over.set()
    killer.join()
    expected = 1 + frame["name"].map(killer.kills)
    resumed = [load_run(out / name).info.get("resumed_at", []) for name in frame["name"]]
    return {
        "launcher": launcher,
        "runs": len(frame),
        "workers killed": killer.kills.total(),
        "finished": int((frame["status"] == "finished").sum()),
        "trained once except for the kills": int((frame["attempts"] == expected).sum()),
        "resumed from a checkpoint": sum(map(any, resumed)),
        "seconds": round(time.monotonic() - started),
    }


def same(out: Path, undisturbed: dict[str, dict[str, str]]) -> dict[str, int]:
    """Return how many runs equal the undisturbed ones, bit for bit."""
    found = {name: fingerprint(out / name) for name in undisturbed}
    equal = {
        what: sum(found[name][what] == undisturbed[name][what] for name in undisturbed)
        for what in next(iter(undisturbed.values()))
    }
    everything = sum(found[name] == undisturbed[name] for name in undisturbed)
    return {"same weights": equal["weights"], "same log": equal["log"], "the same in everything": everything}


def main() -> None:
    """Train undisturbed, sweep with kills, compare, and write what was seen."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--kills", type=int, default=10, help="in each sweep")
    parser.add_argument("--seconds", type=float, default=4.0, help="in which a worker may be killed by the clock")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--launchers", nargs="+", default=list(LAUNCHERS), choices=LAUNCHERS)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        rows = measure(Path(scratch), options)
    what = (
        f"Sweeps of {len(GRID['prior.lam'])} settings x {len(SEEDS)} seeds of a small training, two at a time, "
        "whose workers are killed with SIGKILL at random times or at random rows of their logs. The sweep, or Ray, "
        "starts them again. Each run is compared with an undisturbed training: weights bit for bit and metrics.jsonl "
        "byte for byte. *The same in everything* also covers frames, run.json except for times, and the names of all "
        "files."
    )
    write(options.out, what, rows)
    print(pd.DataFrame(rows).T.to_string())
    whole = len(GRID["prior.lam"]) * len(SEEDS)
    sys.exit(any(row["finished"] != whole or row["the same in everything"] != whole for row in rows))


def measure(scratch: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each launcher."""
    recipe = small_recipe(scratch / "small", max_steps=40, **{"sparsity.frozen": 10})
    make_quick(recipe)
    undisturbed = {}
    for cell in cells_of(recipe, GRID, SEEDS):
        train(cell.recipe, scratch / "undisturbed" / cell.name, progress=False)
        undisturbed[cell.name] = fingerprint(scratch / "undisturbed" / cell.name)
    rows = []
    for launcher in options.launchers:
        out = scratch / launcher.replace(" ", "-")
        rows.append(disturbed(launcher, recipe, out, options.kills, options.seconds) | same(out, undisturbed))
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


if __name__ == "__main__":
    main()
