"""Recipes: the validated settings of a run."""
