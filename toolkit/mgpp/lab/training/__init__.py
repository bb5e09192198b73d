"""One training from a recipe: the Trainer, checkpoints, processes, faults."""
