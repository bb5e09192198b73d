"""What leaves the house: a pruned model as a folder, plain or packed, with its card."""
