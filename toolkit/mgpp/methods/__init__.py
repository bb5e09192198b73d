"""The pruning methods, by name."""
