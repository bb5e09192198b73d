"""The mathematics: priors, penalties and schedules. No models, no optimizer, no files."""
