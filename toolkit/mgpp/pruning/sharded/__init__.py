"""Weights that several processes share."""
