"""Build and check the site: settings in docs/conf.py, `make docs` does all of it."""
