"""The picture: plots, the paper's figures and their style."""
