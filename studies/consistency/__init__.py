"""A simulation of whether pruning finds the true structure: `python -m studies.consistency`."""
