"""Plot penalties and runs: data in, Axes in, Axes out. No torch needed."""
