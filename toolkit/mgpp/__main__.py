"""`python -m mgpp` is the command line; launchers of several processes want a module."""

from mgpp.lab.cli import main

if __name__ == "__main__":
    main(prog_name="mgpp")
