"""Serve the course: checkers of its exercises, and a toy problem."""
