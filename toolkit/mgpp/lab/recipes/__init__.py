"""Define recipes: the validated settings of a run."""
