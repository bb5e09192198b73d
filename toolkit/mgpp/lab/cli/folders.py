"""Where commands look and write if they are not told."""

from pathlib import Path

RUNS_FOLDER, SWEEP_FOLDER, FIGURES_FOLDER = Path("data/runs"), Path("data/sensitivity"), Path("figures")
TRIALS_FOLDER, CONSISTENCY_FOLDER = Path("data/tuning"), Path("data/consistency")
NEW_RUNS_FOLDER = Path("data/local")  # ignored by git: what one tries does not mix with the committed runs
