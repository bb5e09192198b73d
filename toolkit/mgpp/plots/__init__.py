"""Plots of penalties and of runs: data in, Axes in, Axes out. They need no torch."""
