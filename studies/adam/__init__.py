"""Study why a narrow spike behaves as it does under Adam: a toy, and trainings with one cause changed at a time."""
