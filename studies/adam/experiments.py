"""List and train the study's runs: each suspected cause of the early fall on and off, and rankings by curvature.

The runs are brief, 450 steps of 8 texts, so that a laptop trains dozens of them.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.recipe import load_recipe
from mgpp.lab.sweeps.grid import Cell
from mgpp.lab.sweeps.launchers import LocalProcesses
from mgpp.lab.sweeps.sweep import train_cells, unfinished
from studies.adam.brief import TASK

BRIEF = {
    **{"task": TASK, "max_steps": 450, "batch_size": 8},
    **{"sparsity.final": 0.8, "sparsity.warmup": 100, "sparsity.frozen": 100},
    **{"log.every": 5, "log.evaluate_every": 75, "log.histograms_every": 50, "log.trajectories": 0},
    **{"threads": 1, "save_model": False, "save_every": 150},
}
OFTEN = {"log.evaluate_every": 15}
FOLLOWED = {"log.dynamics_every": 5, "log.trajectories": 100}
AUTHORS_ADAM = {"trainer.adam_beta2": 0.98, "trainer.adam_epsilon": 1e-6}

# The spike under Adam: MGPP with one suspected cause changed at a time. Under λ = 0.1, where pruning begins, the prior
# threshold τ of the four widths is 0.5, 1.5, 4.5 and 13 steps of 1e-4 wide.
WIDTHS = {f"spike-{width:.0e}".replace("e-0", "e-"): {"prior.spike_var": width} for width in (1e-10, 1e-9, 1e-8, 1e-7)}
SPIKE: dict[str, Mapping[str, Any]] = {
    "no-penalty": {"method": "gmp"},
    "slab-alone": {"method": "l2", "l2.strength": 0.002},
    **WIDTHS,
    "authors-adam": AUTHORS_ADAM,
    "no-regrowth": {"sparsity.allow_regrowth": False},
    "no-clipping": {"trainer.max_grad_norm": 0.0},
    "weak-slab": {"prior.slab_var": 0.5},
}
# The ranking |θ| v^(p/2) by its exponent, and with the memory of Adam's v.
RANKINGS: dict[str, Mapping[str, Any]] = {
    **{f"exponent-{p:g}": {"method": "obd", "obd.exponent": p} for p in (0.5, 1.0, 2.0)},
    "adams-memory": {"method": "obd", "obd.decay": 0.999},
}


@dataclass(frozen=True)
class Part:
    """Hold one part of the study: the settings of its runs by name, and those that all of them share."""

    runs: Mapping[str, Mapping[str, Any]]
    shared: Mapping[str, Any]


PARTS = {"spike": Part(SPIKE, OFTEN), "rankings": Part(RANKINGS, {})}
WITH_DYNAMICS = {"spike-1e-10-seed0", "spike-1e-8-seed0", "no-penalty-seed0"}  # the frames are large


def cells(which: str, seeds: range) -> Iterator[Cell]:
    """Yield the runs of a part of the study, seed after seed.

    Args:
        which: a key of `PARTS`.
        seeds: random seeds.

    Example:
        >>> [cell.name for cell in cells("rankings", range(1))][:2]
        ['exponent-0.5-seed0', 'exponent-1-seed0']
    """
    part = PARTS[which]
    for seed in seeds:
        for name, changed in part.runs.items():
            folder = f"{name}-seed{seed}"
            followed = FOLLOWED if folder in WITH_DYNAMICS else {}
            yield Cell(folder, load_recipe("reviews", seed=seed, **{**BRIEF, **part.shared, **followed, **changed}))


def main() -> None:
    """Train what is missing, and go on with what was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=sorted(PARTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("data/adam"))
    asked = parser.parse_args()
    todo = unfinished(list(cells(asked.which, range(asked.seeds))), asked.out / asked.which, print)
    train_cells(todo, asked.out / asked.which, LocalProcesses(asked.jobs), retries=2, report=print)
