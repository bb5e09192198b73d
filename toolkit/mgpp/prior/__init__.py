"""Define priors, penalties and schedules: the mathematics, without models, optimizers or files."""
