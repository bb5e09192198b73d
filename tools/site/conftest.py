"""Collect no doctests of modules that need Sphinx where it is not installed."""

from importlib.util import find_spec

collect_ignore = [] if find_spec("sphinx") else ["links.py", "mathml.py"]
