"""Many trainings: grids, workers, launchers, and the record of a sweep."""
