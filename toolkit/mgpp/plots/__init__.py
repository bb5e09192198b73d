"""Pictures: data in, Axes in, Axes out. No torch needed."""
