"""Provide pretrained models: packaged files, models trained on the spot, published shapes."""
