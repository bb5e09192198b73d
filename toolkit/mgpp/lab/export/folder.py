"""An export's folder: it appears whole or not at all, with a record of what is in it."""

import errno
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mgpp.lab.export.checkpoint import read_json, sha256
from mgpp.lab.export.packed import ExportError
from mgpp.runs.borders import stray

RECORD = "mgpp.json"
FORMAT_VERSION = 1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def place_of(to: str | Path) -> Path:
    """The folder that a path means: where it goes up again, what it goes through need not exist.

    Example:
        >>> place_of("exports/new").as_posix()
        'exports/new'
        >>> place_of("exports/../new") == Path.cwd() / "new"
        True
    """
    return Path(to).resolve() if ".." in Path(to).parts else Path(to)


def check_place(to: Path, *, replace: bool = False) -> None:
    """Nothing, if an export can be written to `to`: it does not exist, is empty, or holds one that may be replaced.

    Raises:
        ExportError: if it holds other files, or would lie in a file.
    """
    nearest = next(each for each in (to, *to.parents) if each.exists())
    if not nearest.is_dir():
        raise ExportError(f"{to} can't be a folder: {nearest} is a file; choose another: --to DIR")
    if not to.exists() or (to.is_dir() and not any(to.iterdir())):
        return
    if not (to / RECORD).is_file():
        raise ExportError(f"{to} is neither empty nor an export that could be replaced; choose another: --to DIR")
    if not replace:
        raise ExportError(f"{to} holds another export; choose another folder or replace it: --to DIR or --replace")


def _is_size(facts: Any) -> bool:
    return isinstance(facts, dict) and type(facts.get("bytes")) is int


@contextmanager
def whole_folder(to: Path, *, replace: bool = False) -> Iterator[Path]:
    """A hidden folder beside `to`, which takes its place when all went well, and is removed when not.

    Raises:
        ExportError: if `to` holds other files, or in place of the system's refusals to read or write in this block.
    """
    with _in_words(to):
        to = to.resolve()
        check_place(to, replace=replace)
        with _parent_of(to), tempfile.TemporaryDirectory(prefix=f".{to.name}-", dir=to.parent) as hidden:
            making = Path(hidden) / to.name
            making.mkdir()
            yield making
            check_place(to, replace=replace)  # somebody else may have been faster
            _put(making, to)


@contextmanager
def _in_words(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        way_out = "make room" if error.errno in FULL else "see that it can be read and written"
        reason = f"the disk is full ({error.strerror})" if error.errno in FULL else error.strerror or str(error)
        raise ExportError(
            f"{to} was not written, {where}{reason}; {way_out}, or choose another folder: --to DIR"
        ) from error


@contextmanager
def _parent_of(to: Path) -> Iterator[None]:
    """The folder that `to` lies in, which is removed again if the block fails and made it."""
    missing = [each for each in to.parents if not each.exists()]
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        with suppress(OSError):  # somebody else uses it by now
            for each in missing:
                each.rmdir()
        raise


def _put(making: Path, to: Path) -> None:
    """Give a folder its place; what it replaces lies beside where it was made, and comes back if that fails."""
    replaced = making.with_name(f"{to.name}-replaced")
    if to.exists():
        to.rename(replaced)
    try:
        making.rename(to)
    except OSError:
        if replaced.exists():
            replaced.rename(to)
        raise


def write_record(folder: Path, **facts: Any) -> None:
    """What the export holds, with sizes and hashes of its files of weights, as `mgpp.json`."""
    files = {
        file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)}
        for file in sorted(folder.glob("*.safetensors"))
    }
    record = {"format": FORMAT_VERSION, **facts, "files": files}
    (folder / RECORD).write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_record(folder: Path) -> dict[str, Any]:
    """The record of an export, once the files that it names were found to be whole.

    Raises:
        ExportError: if the folder holds no export, or a newer version's, or a file is missing or damaged.
    """
    if not (folder / RECORD).is_file():
        raise ExportError(f"{folder} holds no export of mgpp: there is no {RECORD} in it")
    record = read_json(folder / RECORD)
    version, files = record.get("format"), record.get("files")
    if type(version) is not int or version > FORMAT_VERSION:
        raise ExportError(f"{folder / RECORD} has format {version!r}, this version reads up to {FORMAT_VERSION}")
    if not isinstance(files, dict) or not all(_is_size(facts) for facts in files.values()):
        raise ExportError(f"{folder / RECORD} is damaged: it does not say which files there are, and how large")
    if not isinstance(record.get("layout"), str) or type(record.get("zeros")) is not int:
        raise ExportError(f"{folder / RECORD} is damaged: layout must be a word, and zeros a whole number")
    if found := stray(folder):
        raise ExportError(f"{found}; an export is read from its own files only")
    for name, facts in files.items():
        if Path(name).name != name or not (folder / name).is_file():
            raise ExportError(f"{folder / RECORD} names {name!r}, which is no file beside it")
        if sha256(folder / name) != facts.get("sha256"):
            raise ExportError(f"{folder / name} is damaged: its sha256 is not the one in {RECORD}; fetch it again")
    return record
