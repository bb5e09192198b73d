import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pandas as pd
import pytest

from mgpp.lab import environment
from mgpp.lab.environment import COLUMNS, check_environment, summarize
from mgpp.lab.models.packages import PackagedFile
from mgpp.lab.training.provenance import native_bf16


@pytest.fixture(scope="module")
def table():
    return check_environment()


def row(table, what):
    return table[table["what"] == what].iloc[0]


def frame(rows):
    return pd.DataFrame(rows, columns=COLUMNS)


def test_everything_that_is_needed_has_a_row(table):
    assert list(table.columns) == COLUMNS
    assert {"Python", "mgpp-toolkit", "torch", "transformers", "jupyterlab", "model", "data"} <= set(table["what"])
    assert not {"pytest", "ruff", "mypy"} & set(table["what"])  # tools of developers
    assert (table["way_out"] == "").equals(table["ok"].rename("way_out"))
    known = environment.pins()
    assert row(table, "torch")["needed"] == known["torch"]
    assert row(table, "lazy-loader")["needed"] == known["lazy-loader"]
    expected = "yes" if native_bf16() else "no, training is in float32"
    assert row(table, "bfloat16 instructions")["found"] == expected


def test_another_version_and_a_missing_package_are_problems(monkeypatch):
    monkeypatch.setattr(environment, "installed_version", lambda name: {"torch": "1.0", "numpy": None}.get(name, "0"))
    found = frame(environment.software_rows())
    assert row(found, "torch")[["found", "ok"]].tolist() == ["1.0", False]
    assert row(found, "numpy")[["found", "ok"]].tolist() == ["missing", False]
    assert "make env" in row(found, "numpy")["way_out"]


def test_outside_a_checkout_any_version_will_do(monkeypatch, tmp_path):
    assert environment.pins(tmp_path / "constraints.txt") == {}
    monkeypatch.setattr(environment, "pins", dict)
    monkeypatch.setattr(environment, "installed_version", lambda name: None if name == "torch" else "0")
    found = frame(environment.software_rows())
    assert found.loc[~found["ok"], "what"].tolist() == ["torch"]


def test_a_toolkit_that_is_not_installed_is_said_and_not_raised(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(environment, "metadata", missing)
    assert [row[:2] for row in environment.software_rows()] == [("mgpp-toolkit", "missing")]


def test_half_deleted_packages_are_missing(monkeypatch):
    monkeypatch.setattr(environment, "version", lambda name: None)
    assert environment.installed_version("torch") is None
    monkeypatch.setattr(environment, "version", lambda name: "2.13.0+cpu")
    assert environment.installed_version("torch") == "2.13.0"


@pytest.mark.parametrize(
    "file",
    [
        PackagedFile("no_such_package", "x", "0"),
        PackagedFile("mgpp", "no-such-file", "0"),
        PackagedFile("mgpp", "py.typed", "0" * 64),
    ],
)
def test_missing_and_damaged_files_name_the_way_out(monkeypatch, file):
    monkeypatch.setattr(environment, "FILES", {"model": file})
    found = row(frame(environment.file_rows()), "model")
    assert not found["ok"]
    assert file.package in found["found"]
    assert found["way_out"]


def test_too_little_memory_and_disk(monkeypatch):
    monkeypatch.setattr(environment, "MEMORY_NEEDED", 1e30)
    monkeypatch.setattr(environment, "DISK_NEEDED", 1e30)
    found = frame(environment.machine_rows())
    assert found.loc[~found["ok"], "what"].tolist() == ["free memory", "free disk"]


def test_versions_and_files_are_checked_without_torch():
    code = (
        "import sys; from mgpp.lab.environment import software_rows, file_rows\n"
        "list(software_rows()), list(file_rows())\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_sentence_is_the_same_wherever_all_is_well():
    good, other = (frame([("cores", count, "1", True, "")]) for count in ("2", "64"))
    assert summarize(good) == summarize(other)
    assert len(summarize(good).splitlines()) == 1


def test_problems_come_a_line_each_with_the_way_out():
    rows = [("cores", "2", "1", True, ""), ("torch", "missing", "2.13.0", False, "make env")]
    assert summarize(frame(rows)).splitlines()[1:] == ["torch: missing, needed 2.13.0; make env"]
