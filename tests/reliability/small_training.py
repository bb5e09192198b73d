"""A training of some seconds, several epochs long, with prune events, checkpoints and evaluations in between."""

import json
import os
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))

from small_models import small_bert

from mgpp.lab.recipes.recipe import Recipe, recipe_from
from mgpp.lab.training import train as train_module

STEPS, SAVE_EVERY, ROWS = 16, 3, 14


def small_recipe(folder: Path, **changes: object) -> Recipe:
    """Sixteen steps on a BERT of two layers: four warm-up, eight pruning, four frozen; four steps an epoch."""
    if not folder.is_dir():
        small_bert(folder / "model")
        (folder / "data").mkdir()
        for split in ("train", "validation"):
            rows = [{"sentence": "what a film: " + "dull " * (i % 7), "label": i % 2} for i in range(ROWS)]
            lines = "\n".join(map(json.dumps, rows))
            (folder / "data" / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    settings = {
        "name": "small",
        "task": "glue-sst2",
        "model": str(folder / "model"),
        "data": str(folder / "data"),
        "max_length": 16,
        "batch_size": 4,
        "max_steps": STEPS,
        "save_every": SAVE_EVERY,
        "threads": 1,
        "precision": "fp32",
        "optimizer": {"learning_rate": 0.001},
        "prior": {"slab_var": 50.0},  # for few rows
        "sparsity": {"warmup": 4, "frozen": 4, "interval": 2, "initial": 0.3, "final": 0.9},
        "log": {"every": 2, "histograms_every": 4, "evaluate_every": 4, "trajectories": 5},
    }
    return recipe_from(settings, **changes)


def make_quick(recipe: Recipe) -> None:
    """Load the recipe's data once for all trainings of this process, and leave out a wait that is longer than one."""
    task = train_module.load_task(recipe, recipe.model)
    train_module.load_task = lambda recipe, source: task
    sys.modules["accelerate.utils.memory"].gc.collect = lambda *_: 0
