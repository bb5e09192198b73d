"""The files for Binder and Colab repeat no pin, and what they name exists."""

import os
import re
import subprocess

import pytest
import yaml
from test_pins import PACKAGED, PROJECT, ROOT, canonical, pins

FOLDER = ROOT / ".binder"
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in FILES}


def installed_by(text):
    """What each line with `pip install` asks for, without its options."""
    lines = re.findall(r"pip install (.*)", text)
    return [[word.strip('"') for word in re.sub(r"-c \S+", "", line).split() if word[0] != "-"] for line in lines]


@pytest.mark.parametrize("name", TEXTS)
def test_no_version_is_repeated(name):
    assert not re.search(r"==\s*\d", TEXTS[name])
    assert not [pin for pin in pins().values() if pin.count(".") > 1 and pin in TEXTS[name]]


def test_python_is_the_same_for_all():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert TEXTS["runtime.txt"].strip().split("-") == environment["dependencies"][0].split("=")


@pytest.mark.parametrize("name", ["postBuild", "README.md"])
def test_all_that_is_installed_is_pinned_or_the_toolkit(name):
    lines = installed_by(TEXTS[name])
    assert [set(words) for words in lines][-1] == PACKAGED
    for word in (word for words in lines for word in words):
        toolkit, _, extra = word.rstrip("]").partition("[")
        assert (toolkit == "." and extra in {"", *PROJECT["optional-dependencies"]}) or canonical(word) in pins(), word


@pytest.mark.parametrize("name", ["postBuild", "README.md"])
def test_every_installation_is_bound_to_the_pins(name):
    for line in re.findall(r"pip install (.*)", TEXTS[name]):
        assert "-c constraints.txt" in line


def test_the_cpu_build_of_torch_is_the_pinned_one():
    command = re.search(r"version=\$\((.*)\)", TEXTS["postBuild"]).group(1)
    answer = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == pins()["torch"]


def test_paths_that_are_named_exist():
    for path in re.findall(r"`((?:notebooks|data|toolkit)/[^`]*)`", TEXTS["README.md"]):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`(\w+(?:\.txt)?)`:", TEXTS["README.md"]):
        assert (FOLDER / name).is_file() or (ROOT / name).is_file(), name


def test_scripts_are_scripts():
    for name in ("postBuild", "start"):
        assert os.access(FOLDER / name, os.X_OK)
        subprocess.run(["bash", "-n", FOLDER / name], check=True)
