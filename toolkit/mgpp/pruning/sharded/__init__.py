"""Handle weights that several processes share."""
