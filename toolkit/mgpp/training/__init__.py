"""The experiment: recipes, tasks and training."""
