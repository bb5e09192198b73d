"""List and train the study's runs: each suspected cause of the early fall on and off, and rankings by curvature."""

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mgpp.lab.recipes.recipe import load_recipe
from mgpp.lab.sweeps.grid import Cell
from mgpp.lab.sweeps.launchers import LocalProcesses
from mgpp.lab.sweeps.sweep import train_cells, unfinished

AUTHORS_ADAM = {"trainer.adam_beta2": 0.98, "trainer.adam_epsilon": 1e-6}
# The prior threshold τ is 0.5, 1.5, 4.5, 13 and 39 steps of 1e-4 wide at the beginning of pruning, where λ is 0.1.
WIDTHS = {"1e-10": 1e-10, "1e-9": 1e-9, "1e-8": 1e-8, "1e-7": 1e-7, "1e-6": 1e-6}

# Lead A, the spike under Adam: MGPP at 0.95 with one cause changed at a time.
SPIKE: dict[str, Mapping[str, Any]] = {
    **{f"spike-{name}": {"prior.spike_var": width} for name, width in WIDTHS.items()},
    **{f"spike-{name}-authors-adam": {"prior.spike_var": WIDTHS[name], **AUTHORS_ADAM} for name in ("1e-10", "1e-8")},
    "spike-1e-10-no-regrowth": {"sparsity.allow_regrowth": False},
    "spike-1e-10-no-clipping": {"trainer.max_grad_norm": 0.0},
    "spike-1e-10-weak-slab": {"prior.slab_var": 0.5},
    "slab-alone": {"method": "l2", "l2.strength": 0.002},
    "slab-alone-no-clipping": {"method": "l2", "l2.strength": 0.002, "trainer.max_grad_norm": 0.0},
}
FINELY = {"log.evaluate_every": 20, "log.dynamics_every": 10, "log.trajectories": 200}

# Lead C, the ranking: |θ| v^(p/2), with v's memory as Adam's or shorter.
RANKINGS: dict[str, Mapping[str, Any]] = {
    **{f"exponent-{p:g}": {"method": "obd", "obd.exponent": p} for p in (0.0, 0.5, 1.0, 2.0)},
    "adams-memory": {"method": "obd", "obd.decay": 0.999},
}
SHARED = {"sparsity.final": 0.95, "threads": 1, "save_model": False, "save_every": 300}


def cells(which: str, seeds: range) -> Iterator[Cell]:
    """Yield the runs of a part of the study, seed after seed.

    Args:
        which: "spike" or "rankings".
        seeds: random seeds.

    Example:
        >>> [cell.name for cell in cells("rankings", range(1))][:2]
        ['exponent-0-seed0', 'exponent-0.5-seed0']
    """
    settings, log = {"spike": (SPIKE, FINELY), "rankings": (RANKINGS, {})}[which]
    for seed in seeds:
        for name, changed in settings.items():
            yield Cell(f"{name}-seed{seed}", load_recipe("reviews", seed=seed, **{**SHARED, **log, **changed}))


def main() -> None:
    """Train what is missing, and go on with what was stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("which", choices=["spike", "rankings"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("data/adam"))
    asked = parser.parse_args()
    todo = unfinished(list(cells(asked.which, range(asked.seeds))), asked.out / asked.which, print)
    train_cells(todo, asked.out / asked.which, LocalProcesses(asked.jobs), retries=2, report=print)
