"""Run experiments: recipes, tasks, trainings, sweeps, comparison, export, explorer and the command line."""
