"""Makers of the tables in the documentation, for developers."""
