"""The environment check: is everything in place that the notebooks and the trainings need, and if not, the way out.

Nothing heavy is imported, so that it answers within a second or two, on a broken environment too.
"""

import os
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Any

import pandas as pd

from mgpp.lab.models.packages import MINILM, REVIEWS, PackagedFile, PackagedFileError

TOOLKIT = "mgpp-toolkit"
EXTRA = "notebooks"  # what a reader of the notebooks needs on top; developers' tools are not asked for
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"  # there in a checkout, not in an installed wheel
INSTALL = f"make env, or: python -m pip install -c constraints.txt -e .[{EXTRA}]"
MEMORY_NEEDED, DISK_NEEDED = 2.5e9, 1e9  # bytes: a training of MiniLM takes 1.5 GB, ten runs with their models 1 GB
COLUMNS = ["what", "found", "needed", "ok", "way_out"]


def check_environment() -> pd.DataFrame:
    """What the toolkit needs, and what is here: versions, packaged files, cores, memory, disk, bfloat16.

    Nothing that is missing raises: it is a row whose `ok` is False and whose `way_out` says what to do.

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
    rows = [python_row(), *package_rows(), *(file_row(name, file) for name, file in FILES.items()), *machine_rows()]
    return pd.DataFrame(rows, columns=COLUMNS)


def summarize(table: pd.DataFrame) -> str:
    """One sentence where all is well, and it is the same sentence on every such machine; otherwise a line a problem.

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


def _row(what: str, found: str, needed: str, ok: bool, way_out: str) -> dict[str, Any]:
    return {"what": what, "found": found, "needed": needed, "ok": ok, "way_out": "" if ok else way_out}


def python_row() -> dict[str, Any]:
    """The row of Python itself."""
    try:
        needed = metadata(TOOLKIT)["Requires-Python"]
    except PackageNotFoundError:
        needed = ">=3.11"
    lowest = tuple(int(part) for part in re.findall(r"\d+", needed))
    way_out = "install a newer Python, then: make PYTHON=python3.11 env"
    return _row("Python", platform.python_version(), needed, sys.version_info[: len(lowest)] >= lowest, way_out)


def package_rows() -> Iterator[dict[str, Any]]:
    """A row for the toolkit and each package that it declares, at the pinned version where there are pins."""
    known = pins()
    for name in [TOOLKIT, *declared()]:
        needed, found = known.get(canonical(name)), installed_version(name)
        enough = found is not None and needed in (None, found)
        yield _row(name, found or "missing", needed or "any version", enough, INSTALL)


def declared() -> list[str]:
    """Names of the packages that the installed toolkit declares, with those of the notebooks; none if it is not."""
    try:
        lines = requires(TOOLKIT) or []
    except PackageNotFoundError:
        return []
    wanted = [line for line in lines if "extra ==" not in line or f'"{EXTRA}"' in line.replace("'", '"')]
    return [re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted]


def pins(file: Path = CONSTRAINTS) -> dict[str, str]:
    """Versions by canonical name from constraints.txt; nothing outside a checkout."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    return {canonical(name): pin for name, _, pin in (line.partition("==") for line in lines) if pin}


def canonical(name: str) -> str:
    """A package's name as registries compare it.

    Example:
        >>> canonical("Lazy_Loader")
        'lazy-loader'
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_version(name: str) -> str | None:
    """The version without its build, so that 2.13.0+cpu is 2.13.0; None where the package is missing or damaged."""
    try:
        found = version(name)
    except PackageNotFoundError:
        return None
    return found.split("+")[0] if found else None  # a folder that pip left half deleted has no version


FILES = {"model": MINILM, "data": REVIEWS}


def file_row(what: str, file: PackagedFile) -> dict[str, Any]:
    """The row of a packaged file: is it the one that this toolkit was written for?"""
    needed = f"{file.package}/{file.path} with sha256 {file.sha256[:12]}…"
    try:
        file.locate()
    except (PackagedFileError, OSError) as error:
        found, _, way_out = str(error).partition("; ")
        return _row(what, found, needed, False, way_out or "make env")
    return _row(what, "as needed", needed, True, "")


def machine_rows() -> Iterator[dict[str, Any]]:
    """Cores, free memory and disk, and whether bfloat16 will be fast."""
    yield _row("cores", str(cores()), "1, better 2", True, "")
    memory, disk = free_memory(), shutil.disk_usage(Path.cwd()).free
    enough = memory is None or memory >= MEMORY_NEEDED
    yield _row("free memory", _gigabytes(memory), _gigabytes(MEMORY_NEEDED), enough, "close other programs and kernels")
    way_out = "delete old runs in data/local, or work on another disk"
    yield _row("free disk", _gigabytes(disk), _gigabytes(DISK_NEEDED), disk >= DISK_NEEDED, way_out)
    found = {True: "yes", False: "no, training is in float32", None: "unknown"}[has_bf16()]
    yield _row("bfloat16 instructions", found, "not needed; without them training takes about twice as long", True, "")


def cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> float | None:
    """Bytes that a new program can have; None where nothing tells."""
    try:
        import psutil  # comes with accelerate
    except ImportError:
        return None
    return float(psutil.virtual_memory().available)


def _gigabytes(amount: float | None) -> str:
    return "unknown" if amount is None else f"{amount / 1e9:.1f} GB"


def has_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool | None:
    """Whether trainings will run in bfloat16, as `precision: auto` decides; None if nothing can tell.

    On Linux without a GPU the processor's flags say so; only elsewhere is torch asked, which takes a second to load.
    """
    if cpuinfo.is_file() and "torch" not in sys.modules and not Path("/dev/nvidiactl").exists():
        return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", cpuinfo.read_text(encoding="utf-8")))
    try:
        from mgpp.lab.training.provenance import native_bf16

        return native_bf16()
    except (ImportError, OSError, RuntimeError):
        return None
