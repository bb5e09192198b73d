"""Run the command line as `python -m mgpp`; launchers of several processes want a module."""

from mgpp.lab.cli import main

if __name__ == "__main__":
    main(prog_name="mgpp")
