"""`make env` with and without a wheelhouse, by what make would run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MACHINE = subprocess.run(
    ["make", "-f", "-", "-s", "show"],
    input=f"include {ROOT / 'Makefile'}\nshow:\n\t@{sys.executable} -c '$(MACHINE)'\n",
    env={"PATH": os.environ["PATH"]},
    capture_output=True,
    text=True,
    check=True,
).stdout


@pytest.fixture
def clone(tmp_path):
    """What `make env` needs of a clone."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def collect(folder, machine=MACHINE):
    folder.mkdir()
    shutil.copy(ROOT / "constraints.txt", folder)
    (folder / "made-for.txt").write_text(machine)


def make(clone, *arguments):
    """What make says, without the settings of a make that runs these tests."""
    return subprocess.run(
        ["make", f"PYTHON={sys.executable}", *arguments],
        cwd=clone,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )


def installs(clone, *arguments):
    lines = make(clone, "-n", "env", *arguments).stdout.splitlines()
    return [line.split("install ", 1)[1] for line in lines if "-m pip install " in line]


def test_a_machine_is_named_by_its_python_and_its_system():
    version = ".".join(map(str, sys.version_info[:2]))
    assert f" {version} " in MACHINE


def test_without_a_wheelhouse_packages_are_fetched(clone):
    assert len(installs(clone)) == 3
    assert not [line for line in installs(clone) if "--no-index" in line]


def test_with_a_wheelhouse_nothing_is_fetched(clone):
    collect(clone / "wheelhouse")
    assert len(installs(clone)) == 3
    assert all("--no-index --find-links wheelhouse " in line for line in installs(clone))
    assert not [line for line in installs(clone, "WHEELHOUSE=") if "--no-index" in line]


def test_a_wheelhouse_may_lie_elsewhere(clone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stick") / "wheels"
    collect(folder)
    assert all(f"--no-index --find-links {folder} " in line for line in installs(clone, f"WHEELHOUSE={folder}"))


def test_an_unfinished_wheelhouse_is_none(clone):
    collect(clone / "wheelhouse")
    (clone / "wheelhouse/made-for.txt").unlink()
    assert not [line for line in installs(clone) if "--no-index" in line]


def test_a_wheelhouse_for_another_machine_is_refused(clone):
    collect(clone / "wheelhouse", "CPython 3.9 Plan9 vax\n")
    answer = make(clone, "env")
    assert answer.returncode
    assert f"wheelhouse/ was made for CPython 3.9 Plan9 vax, but {sys.executable} is {MACHINE.strip()}" in answer.stdout
    assert not (clone / ".venv").exists()


def test_a_wheelhouse_of_other_versions_is_refused(clone):
    collect(clone / "wheelhouse")
    with (clone / "constraints.txt").open("a") as file:
        file.write("a-package-that-came-later==1\n")
    answer = make(clone, "env")
    assert answer.returncode
    assert "wheelhouse/ holds other versions than constraints.txt" in answer.stdout
    assert not (clone / ".venv").exists()


def test_the_wheelhouse_collects_what_is_installed(clone):
    collected = make(clone, "-n", "wheelhouse").stdout
    for line in installs(clone):
        for name in line.replace("--no-deps", "").split()[3:]:  # after -qq -c constraints.txt
            assert name == "-e" or name in collected, name


def test_every_target_is_phony():
    text = (ROOT / "Makefile").read_text()
    phony = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    targets = [
        line.split(":")[0] for line in text.splitlines() if line[:1].isalpha() and ":" in line and ":=" not in line
    ]
    assert set(targets) == set(phony)
