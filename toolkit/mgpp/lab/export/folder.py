"""The folder of an export: where it may be written, and mgpp.json, the record of what is in it."""

import json
from pathlib import Path
from typing import Any

from mgpp.lab.export.packed import ExportError
from mgpp.runs.files import sha256

RECORD = "mgpp.json"
FORMAT_VERSION = 1


def check_place(to: Path, *, replace: bool = False) -> None:
    """Raise ExportError unless `to` is new, empty, or an export that may be replaced."""
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not (to / RECORD).is_file():
        raise ExportError(f"{to} is neither empty nor an export; choose another folder: --to DIR")
    if not replace:
        raise ExportError(f"{to} holds another export; choose another folder or replace it: --to DIR or --replace")


def write_record(folder: Path, **facts: Any) -> None:
    """Write mgpp.json: the facts, and the size and hash of each file of weights in `folder`."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.glob("*.safetensors"))
    }
    record = {"format": FORMAT_VERSION, **facts, "files": files}
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of an export, after checking the hash of each file of weights.

    Raises:
        ExportError: if the folder holds no export or one of a newer format, or a file is missing or damaged.
    """
    try:
        record: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        version, hashes = record["format"], {name: facts["sha256"] for name, facts in record["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder / RECORD} is not the record of an export: {error!r}") from error
    if version != FORMAT_VERSION:
        raise ExportError(f"{folder / RECORD} has format {version!r}; this version reads format {FORMAT_VERSION}")
    for name, expected in hashes.items():
        if not (folder / name).is_file() or sha256(folder / name) != expected:
            raise ExportError(f"{folder / name} is missing or damaged: its sha256 is not the one in {RECORD}")
    return record
