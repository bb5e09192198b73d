"""Does pruning recover the true structure? A simulation."""
