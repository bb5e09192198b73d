"""Studies: larger than a recipe, smaller than the library."""
