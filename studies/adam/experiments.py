"""List and train the study's runs: each suspected cause of the early fall on and off, and rankings by curvature.

The runs are brief, 450 steps of 8 texts, so that a laptop trains dozens of them.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.recipe import load_recipe
from mgpp.lab.sweeps.grid import Cell
from mgpp.lab.sweeps.launchers import LocalProcesses
from mgpp.lab.sweeps.sweep import train_cells, unfinished
from mgpp.methods import METHODS
from mgpp.methods.base import trials
from mgpp.runs import RunError, load_run
from studies.adam.brief import TASK

BRIEF = {
    **{"task": TASK, "max_steps": 450, "batch_size": 8},
    **{"sparsity.final": 0.8, "sparsity.warmup": 100, "sparsity.frozen": 100},
    **{"log.every": 5, "log.evaluate_every": 75, "log.histograms_every": 50, "log.trajectories": 0},
    **{"threads": 1, "save_model": False},
}
OFTEN = {"log.evaluate_every": 15}
FOLLOWED = {"log.dynamics_every": 5, "log.trajectories": 100}
AUTHORS_ADAM = {"trainer.adam_beta2": 0.98, "trainer.adam_epsilon": 1e-6}

# The spike under Adam: MGPP with one suspected cause changed at a time. Under λ = 0.1, where pruning begins, the prior
# threshold τ of the four widths is 0.5, 1.5, 4.5 and 13 steps of 1e-4 wide.
WIDTHS = {f"spike-{width:.0e}".replace("e-0", "e-"): {"prior.spike_var": width} for width in (1e-10, 1e-9, 1e-8, 1e-7)}
SPIKE: dict[str, Mapping[str, Any]] = {
    "no-penalty": {"method": "gmp"},
    "no-penalty-no-regrowth": {"method": "gmp", "sparsity.allow_regrowth": False},
    "slab-alone": {"method": "l2", "l2.strength": 0.002},
    **WIDTHS,
    "authors-adam": AUTHORS_ADAM,
    "no-regrowth": {"sparsity.allow_regrowth": False},
    "no-clipping": {"trainer.max_grad_norm": 0.0},
    "weak-slab": {"prior.slab_var": 0.5},
}
# The ranking |θ| v^(p/2) by its exponent, and with the memory of Adam's v. Exponent 0 is `no-penalty` above.
RANKINGS: dict[str, Mapping[str, Any]] = {
    **{f"exponent-{p:g}": {"method": "obd", "obd.exponent": p} for p in (0.5, 1.0, 2.0)},
    "adams-memory": {"method": "obd", "obd.decay": 0.999},
}
# Four trials a method, with a seed of their own; the whole validation set chooses.
AT_THE_END = {"task": "reviews", "log.evaluate_every": 450}
TRIAL_SEED = 100
STRENGTHS = (2.5e-4, 5e-4, 1e-3, 2e-3)
PRIORS = ((1e-10, 0.05, 1e-4, 0.1), (1e-8, 0.05, 1e-4, 0.1), (1e-8, 0.5, 1e-4, 0.1), (1e-7, 0.1, 1e-6, None))
TRIALS: dict[str, Sequence[Mapping[str, Any]]] = {
    "l2": trials("l2.strength", *((strength,) for strength in STRENGTHS)),
    "l2-fisher": trials("l2_fisher.strength", *((strength,) for strength in STRENGTHS)),
    "mgpp": trials("prior.spike_var prior.slab_var prior.lam prior.initial_lam", *PRIORS),
    "mgpp-fisher": trials(
        "mgpp_fisher.spike_var mgpp_fisher.slab_var mgpp_fisher.lam mgpp_fisher.initial_lam", *PRIORS
    ),
    "obd": trials("obd.decay", (0.9,), (0.98,), (0.99,), (0.999,)),
    "platon": METHODS["platon"].grid,
}


@dataclass(frozen=True)
class Part:
    """Hold one part of the study: the settings of its runs by name, and those that all of them share."""

    runs: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, Any]


TRIED = {f"{method}-{n}": {"method": method, **row} for method, rows in TRIALS.items() for n, row in enumerate(rows)}
PARTS = {"spike": Part(SPIKE, OFTEN), "rankings": Part(RANKINGS, AT_THE_END), "trials": Part(TRIED, AT_THE_END)}
WITH_DYNAMICS = {"spike-1e-10-seed0", "spike-1e-8-seed0", "no-penalty-seed0"}  # the frames are large


def cells(which: str, seeds: Iterable[int], runs: Mapping[str, Mapping[str, Any]] | None = None) -> Iterator[Cell]:
    """Yield the runs of a part of the study, seed after seed.

    Args:
        which: a key of `PARTS`.
        seeds: random seeds.
        runs: settings by name, in place of those of the part.

    Example:
        >>> [cell.name for cell in cells("rankings", range(1))][:2]
        ['exponent-0.5-seed0', 'exponent-1-seed0']
    """
    part = PARTS[which]
    for seed in seeds:
        for name, changed in (part.runs if runs is None else runs).items():
            folder = f"{name}-seed{seed}"
            followed = FOLLOWED if folder in WITH_DYNAMICS else {}
            yield Cell(folder, load_recipe("reviews", seed=seed, **{**BRIEF, **part.shared, **followed, **changed}))


def chosen(folder: Path) -> dict[str, Mapping[str, Any]]:
    """Return each method's best settings, by its trials in a folder: the highest accuracy on the validation set.

    Raises:
        RunError: if a trial is missing or not finished.
    """
    scores = {name: _score(folder / f"{name}-seed{TRIAL_SEED}") for name in TRIED}
    best: dict[str, Mapping[str, Any]] = {"gmp": {"method": "gmp"}}
    for method, rows in TRIALS.items():
        names = [f"{method}-{number}" for number in range(len(rows))]
        best[method] = TRIED[max(names, key=scores.__getitem__)]
    return best


def _score(folder: Path) -> float:
    run = load_run(folder)
    if run.status != "finished":
        raise RunError(f"{folder}: the trial is {run.status}; python -m studies.adam trials")
    return float(run.final["validation_accuracy"])


def _asked_cells(which: str, seeds: int, out: Path) -> list[Cell]:
    if which == "trials":
        return list(cells("trials", [TRIAL_SEED]))
    if which == "methods":
        return list(cells("trials", range(seeds), chosen(out / "trials")))
    return list(cells(which, range(seeds)))


def main() -> None:
    """Train what is missing, and go on with what was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["spike", "rankings", "trials", "methods"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("data/adam"))
    asked = parser.parse_args()
    todo = unfinished(_asked_cells(asked.which, asked.seeds, asked.out), asked.out / asked.which, print)
    train_cells(todo, asked.out / asked.which, LocalProcesses(asked.jobs), retries=2, report=print)
