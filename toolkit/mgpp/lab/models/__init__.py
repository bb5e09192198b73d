"""Pretrained models: packaged files, models made on the spot, published shapes."""
