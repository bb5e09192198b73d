"""Export pruned models: plain and packed folders, the model card, the upload to the hub."""
