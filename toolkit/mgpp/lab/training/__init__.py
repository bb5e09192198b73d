"""Train one run from a recipe: the Trainer, checkpoints, processes, faults."""
