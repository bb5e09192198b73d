"""Train many runs: grids, workers, launchers, and the record of a sweep."""
