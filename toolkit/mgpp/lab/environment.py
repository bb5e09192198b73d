"""Check the environment: whether all is in place that notebooks and trainings need."""

import os
import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from pathlib import Path

import pandas as pd
import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from mgpp.lab.models.packages import CONSTRAINTS, MINILM, REVIEWS, TOOLKIT, PackagedFileError, install_command

EXTRA = "notebooks"  # checked besides the toolkit's own requirements; those of developers are not
INSTALL = (
    f"make env, or: python -m pip install -c constraints.txt -e .[{EXTRA}]"
    if CONSTRAINTS.is_file()
    else f'python -m pip install "{TOOLKIT}[{EXTRA}]"'
)
MEMORY_NEEDED, DISK_NEEDED = 2.5e9, 1e9  # bytes: a training of MiniLM takes 1.5 GB, ten runs with their models 1 GB
COLUMNS = ["what", "found", "needed", "ok", "way_out"]
FILES = {"model": MINILM, "data": REVIEWS}

Row = tuple[str, str, str, bool, str]  # of COLUMNS


def check_environment() -> pd.DataFrame:
    """Return a table of what the toolkit needs and what is here: versions, packaged files, cores, memory, disk.

    What is missing raises no error: it is a row whose `ok` is False.

    Returns:
        A row for each thing, with the columns
        what: such as "torch" or "free memory";
        found: what is here, as text;
        needed: in a checkout the version pinned in constraints.txt, otherwise whether any will do;
        ok: whether that is enough;
        way_out: what to do about it, empty where ok.

    Example:
        >>> table = check_environment()
        >>> table.columns.tolist()
        ['what', 'found', 'needed', 'ok', 'way_out']
        >>> table.loc[table["what"] == "data", "ok"].item()
        True
    """
    table = pd.DataFrame([*software_rows(), *file_rows(), *machine_rows()], columns=COLUMNS)
    table.loc[table["ok"], "way_out"] = ""
    return table


def summarize(table: pd.DataFrame) -> str:
    """Return one sentence if everything is in place, the same on every machine; otherwise one line a problem.

    Args:
        table: from `check_environment`.

    Example:
        >>> table = pd.DataFrame([("torch", "missing", "2.13.0", False, "run make env")], columns=COLUMNS)
        >>> print(summarize(table))
        1 of 1 checks failed:
        torch: missing, needed 2.13.0; run make env
    """
    problems = table[~table["ok"].astype(bool)]
    if problems.empty:
        return "Everything is in place: Python, packages, model, data, memory and disk."
    lines = [f"{row.what}: {row.found}, needed {row.needed}; {row.way_out}" for row in problems.itertuples()]
    return "\n".join([f"{len(problems)} of {len(table)} checks failed:", *lines])


def software_rows() -> Iterator[Row]:
    """Yield a row for Python, the toolkit and each package that it requires; in a checkout at the pinned version."""
    try:
        toolkit = metadata(TOOLKIT)
    except PackageNotFoundError:
        yield TOOLKIT, "missing", "any version", False, INSTALL
        return
    here, needed = platform.python_version(), toolkit["Requires-Python"]
    yield "Python", here, needed, SpecifierSet(needed).contains(here), f"install a newer Python, then: {INSTALL}"
    required = [Requirement(line) for line in toolkit.get_all("Requires-Dist") or []]
    names = [each.name for each in required if each.marker is None or each.marker.evaluate({"extra": EXTRA})]
    known = pins()
    for name in [TOOLKIT, *names]:
        pin, found = known.get(canonicalize_name(name)), installed_version(name)
        yield name, found or "missing", pin or "any version", bool(found) and pin in (None, found), INSTALL


def pins(file: Path = CONSTRAINTS) -> dict[str, str]:
    """Return the versions in constraints.txt by canonical name; an empty dictionary outside a checkout."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {canonicalize_name(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}


def installed_version(name: str) -> str | None:
    """Return a version without its build (2.13.0 for 2.13.0+cpu), None if the package is missing or damaged."""
    try:
        return str.split(version(name), "+")[0]
    except (PackageNotFoundError, TypeError):  # a folder that pip left half deleted has no version
        return None


def file_rows() -> Iterator[Row]:
    """Yield a row for the packaged model and data: are they those that this toolkit was written for?"""
    for what, file in FILES.items():
        needed = f"{file.package}/{file.path} with sha256 {file.sha256[:12]}…"
        try:
            file.locate()
            yield what, "as needed", needed, True, ""
        except (PackagedFileError, OSError) as error:
            found, _, way_out = str(error).partition("; ")
            yield what, found, needed, False, way_out or f"run: {install_command()}"


def machine_rows() -> Iterator[Row]:
    """Yield rows for cores, free memory, free disk, and whether trainings run in bfloat16."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield "cores", str(cores), "1, better 2", True, ""
    memory, disk = psutil.virtual_memory().available, shutil.disk_usage(Path.cwd()).free
    yield "free memory", _gb(memory), _gb(MEMORY_NEEDED), memory >= MEMORY_NEEDED, "close other programs and kernels"
    yield "free disk", _gb(disk), _gb(DISK_NEEDED), disk >= DISK_NEEDED, "delete old runs in data/local"
    yield "bfloat16 instructions", bfloat16(), "not needed; without them training takes about twice as long", True, ""


def _gb(amount: float) -> str:
    return f"{amount / 1e9:.1f} GB"


def bfloat16() -> str:
    """Return whether trainings run in bfloat16, as `precision: auto` decides."""
    try:
        from mgpp.lab.training.provenance import native_bf16
    except (ImportError, OSError):  # torch is missing or broken
        return "unknown"
    return "yes" if native_bf16() else "no, training is in float32"
