"""Prune: which weights are prunable, where the threshold lies, and what happens in a training step."""
