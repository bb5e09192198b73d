import subprocess
import sys
from importlib.metadata import PackageNotFoundError

import pandas as pd
import pytest

from mgpp import environment
from mgpp.lab.environment import COLUMNS, check_environment, summarize
from mgpp.lab.models.packages import PackagedFile
from mgpp.lab.training.provenance import native_bf16


@pytest.fixture(scope="module")
def table():
    return check_environment()


def row(table, what):
    return table[table["what"] == what].iloc[0]


def test_here_versions_and_files_are_in_place(table):
    assert table.columns.tolist() == COLUMNS
    assert table["what"].is_unique
    software = table[~table["what"].isin(["free memory", "free disk"])]  # those depend on what else runs here
    assert software["ok"].all(), summarize(software)
    assert {"Python", "mgpp-toolkit", "torch", "transformers", "jupyterlab", "model", "data"} <= set(table["what"])
    assert not {"pytest", "ruff", "mypy"} & set(table["what"])  # tools of developers
    assert (table["way_out"] == "").equals(table["ok"].rename("way_out"))


def test_each_declared_package_is_compared_with_its_pin(table):
    known = environment.pins()
    for name in environment.declared():
        assert row(table, name)["needed"] == known[environment.canonical(name)]


def test_another_version_and_a_missing_package_are_problems(monkeypatch):
    monkeypatch.setattr(environment, "installed_version", lambda name: {"torch": "1.0", "numpy": None}.get(name, "0"))
    found = pd.DataFrame(environment.package_rows())
    assert row(found, "torch")[["found", "ok"]].tolist() == ["1.0", False]
    assert row(found, "numpy")[["found", "ok"]].tolist() == ["missing", False]
    assert "make env" in row(found, "numpy")["way_out"]


def test_outside_a_checkout_any_version_will_do(monkeypatch, tmp_path):
    assert environment.pins(tmp_path / "constraints.txt") == {}
    monkeypatch.setattr(environment, "pins", dict)
    monkeypatch.setattr(environment, "installed_version", lambda name: None if name == "torch" else "0")
    found = pd.DataFrame(environment.package_rows())
    assert found.loc[~found["ok"], "what"].tolist() == ["torch"]
    assert set(found["needed"]) == {"any version"}


def test_a_toolkit_that_is_not_installed_is_said_and_not_raised(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    for function in ("version", "requires", "metadata"):
        monkeypatch.setattr(environment, function, missing)
    assert [(row["what"], row["found"]) for row in environment.package_rows()] == [("mgpp-toolkit", "missing")]
    assert environment.python_row()["ok"]


def test_half_deleted_packages_are_missing(monkeypatch):
    monkeypatch.setattr(environment, "version", lambda name: None)
    assert environment.installed_version("torch") is None
    monkeypatch.setattr(environment, "version", lambda name: "2.13.0+cpu")
    assert environment.installed_version("torch") == "2.13.0"


@pytest.mark.parametrize(
    ("file", "says"),
    [
        (PackagedFile("no_such_package", "x", "0"), "not installed"),
        (PackagedFile("mgpp", "no-such-file", "0"), "has no no-such-file"),
        (PackagedFile("mgpp", "py.typed", "0" * 64), "sha256"),
        (PackagedFile("mgpp", "prior/__init__.py", "0" * 64), "sha256"),
    ],
)
def test_missing_and_damaged_files_name_the_way_out(file, says):
    found = environment.file_row("model", file)
    assert not found["ok"]
    assert says in found["found"]
    assert found["way_out"]


def test_too_little_memory_and_disk(monkeypatch):
    monkeypatch.setattr(environment, "free_memory", lambda: 1e9)
    monkeypatch.setattr(environment, "DISK_NEEDED", 1e30)
    found = pd.DataFrame(environment.machine_rows())
    assert found.loc[~found["ok"], "what"].tolist() == ["free memory", "free disk"]
    assert row(found, "free memory")["found"] == "1.0 GB"
    monkeypatch.setattr(environment, "free_memory", lambda: None)
    assert row(pd.DataFrame(environment.machine_rows()), "free memory")[["found", "ok"]].tolist() == ["unknown", True]


def test_the_processors_flags_are_read_as_torch_reads_them(monkeypatch, tmp_path):
    assert environment.has_bf16() == native_bf16()  # asked of torch: it is loaded here
    found = subprocess.run(
        [sys.executable, "-c", "from mgpp.lab.environment import has_bf16; print(has_bf16())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(native_bf16())
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(environment, "Path", lambda name: tmp_path / "no-gpu")
    cpuinfo = tmp_path / "cpuinfo"
    for flags, expected in (("avx512f avx512_bf16", True), ("amx_bf16", True), ("avx512f", False)):
        cpuinfo.write_text(f"flags\t\t: {flags} avx2\n")
        assert environment.has_bf16(cpuinfo) is expected


def test_the_check_loads_nothing_heavy():
    code = (
        "import sys; from mgpp.lab.environment import package_rows, file_row, FILES; list(package_rows())\n"
        "[file_row(name, file) for name, file in FILES.items()]\n"
        "assert not {'torch', 'transformers', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_sentence_is_the_same_wherever_all_is_well():
    good = pd.DataFrame([("cores", "2", "1", True, "")], columns=COLUMNS)
    other = pd.DataFrame([("cores", "64", "1", True, "")], columns=COLUMNS)
    assert summarize(good) == summarize(other)
    assert "in place" in summarize(good)


def test_problems_come_a_line_each_with_the_way_out():
    rows = [("cores", "2", "1", True, ""), ("torch", "missing", "2.13.0", False, "make env")]
    text = summarize(pd.DataFrame(rows, columns=COLUMNS))
    assert text.splitlines() == ["1 of 2 checks failed:", "torch: missing, needed 2.13.0; make env"]
