"""Load splits from a data set of the hub, or from a folder of local files in the hub's format.

A folder holds for each split S one file `S.parquet` (or .csv, .jsonl, .json, .txt), or files `S-*.parquet` as the hub
stores them, or a folder `S/` with such files. Local files are read into memory; nothing is cached.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict, load_dataset, load_from_disk
from datasets.exceptions import DatasetsError

from mgpp.lab.tasks.errors import DataError
from mgpp.runs.files import sha256


def read_splits(
    name: str | None,
    config: str | None = None,
    *,
    texts: Sequence[str] = (),
    columns: Sequence[str] = (),
    required: Sequence[str] = ("train", "validation"),
    optional: Sequence[str] = ("test",),
    data: str | Path | None = None,
) -> tuple[dict[str, Dataset], str]:
    """Read a data set's splits from the hub, or from local files instead.

    Args:
        name: of the data set on the hub, `nyu-mll/glue`; None if it is not there.
        config: its configuration on the hub, `rte`.
        texts: columns that must hold text.
        columns: further columns that the task needs; all others are left out.
        required: splits that must be there.
        optional: splits that are read where they are.
        data: folder of local files; None reads from the hub.

    Returns:
        The splits, and a hash that changes when the data change: of the local files' names and contents, or of what the
        hub says of its files (revision, sizes) and of the fingerprints of the splits.

    Raises:
        DataError: if the folder, a split or a column is missing, a split has no rows, a row has no value, or none that
            is text, a file can't be read, or the hub can't be reached.

    Example:
        >>> read_splits("nyu-mll/glue", "rte", texts=["sentence1"], columns=["label"])  # doctest: +SKIP
        >>> read_splits(None, texts=["text"], data="my-folder")  # doctest: +SKIP
    """
    if data is None:
        where = f"the data set {name} ({config})" if config else f"the data set {name}"
        found, hashed = _from_hub(name, config, where)
    else:
        where = f"data={str(data)!r}"
        found, hashed = _from_folder(Path(data), [*required, *optional])
    missing = [split for split in required if split not in found]
    if missing:
        raise DataError(
            f"{where} has no split {missing[0]!r}; it has {', '.join(found) or 'none of them'}; the task needs "
            f"{', '.join(required)}, each as a file such as {missing[0]}.csv or {missing[0]}.parquet"
        )
    wanted = [split for split in (*required, *optional) if split in found]
    return {split: checked(found[split], texts, columns, f"{where}: the split {split!r}") for split in wanted}, hashed


SPLIT_NAMES = {"train": ("train", "training"), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}


def read_own(data: Path) -> tuple[dict[str, Dataset], str]:
    """Read data in whatever form they are, with all their columns: the splits by name, and a hash of the files.

    Args:
        data: a file, whose rows are the split "train"; a folder with a file or folder a split, as train.csv and
            dev.csv; or a folder that `datasets.save_to_disk` wrote.

    Raises:
        DataError: if it is none of these, has no split "train", or a file can't be read.

    Example:
        >>> read_own(Path("my.csv"))  # doctest: +SKIP
    """
    if data.is_file():
        files = {"train": [data]}
    elif any((data / name).is_file() for name in ("dataset_dict.json", "dataset_info.json")):
        return _saved(data)
    else:
        files = {
            split: found
            for split, names in SPLIT_NAMES.items()
            if (found := next(filter(None, (_files_of(data, name) for name in names)), []))
        }
    if "train" not in files or files["train"][0].suffix not in READERS:
        raise DataError(
            f"data={str(data)!r} holds no rows to train on; give a file ({', '.join(READERS)}), a folder with such "
            "files named train, validation and test, or a folder of datasets.save_to_disk"
        )
    parent = data.parent if data.is_file() else data
    return {split: _read_files(parts) for split, parts in files.items()}, _files_hash(parent, files)


def _saved(folder: Path) -> tuple[dict[str, Dataset], str]:
    try:
        found = load_from_disk(str(folder), keep_in_memory=True)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"data={str(folder)!r} can't be read as a saved data set: {reason}") from None
    tables = dict(found) if isinstance(found, DatasetDict) else {"train": found}
    named = {split: tables[name] for split, names in SPLIT_NAMES.items() for name in names if name in tables}
    if "train" not in named:
        raise DataError(f"data={str(folder)!r} has no split 'train'; it has {', '.join(map(str, tables))}")
    files = [path for path in folder.rglob("*") if path.suffix in (".arrow", ".json")]
    return named, _files_hash(folder, {"": files})


def _from_hub(name: str | None, config: str | None, where: str) -> tuple[dict[str, Dataset], str]:
    if name is None:
        raise DataError("the task reads local files; name their folder with --data DIR")
    try:
        found: dict[str, Dataset] = dict(load_dataset(name, config))
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # RuntimeError: it is a script, not a table
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{where} can't be loaded from the hub ({reason}); connect, or read it from local files with --data DIR"
        ) from None
    facts = {
        "name": [name, config],
        "files": next(iter(found.values())).info.download_checksums,  # addresses with the revision, and sizes
        "splits": {split: [table.num_rows, table._fingerprint] for split, table in found.items()},
    }
    return found, hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def check_folder(folder: Path) -> None:
    """Raise DataError unless there is a folder to read data from."""
    if not folder.is_dir():
        raise DataError(
            f"data={str(folder)!r} is not a folder; it should hold files such as train.parquet or train.csv"
        )


def _from_folder(folder: Path, splits: Iterable[str]) -> tuple[dict[str, Dataset], str]:
    check_folder(folder)
    files = {split: found for split in splits if (found := _files_of(folder, split))}
    return {split: _read_files(parts) for split, parts in files.items()}, _files_hash(folder, files)


def _files_of(folder: Path, split: str) -> list[Path]:
    """Return the files of a split, which must be of one kind and one of the three forms."""
    patterns = [form.format(split, kind) for form in ("{}{}", "{}-*{}", "{}/*{}") for kind in READERS]
    found = [files for pattern in patterns if (files := sorted(folder.glob(pattern)))]
    if len(found) > 1:
        names = ", ".join(str(file.relative_to(folder)) for files in found for file in files)
        raise DataError(f"data={str(folder)!r} has the split {split!r} more than once: {names}; keep one")
    return found[0] if found else []


def _files_hash(folder: Path, files: dict[str, list[Path]]) -> str:
    digest = hashlib.sha256()
    for file in sorted(file for parts in files.values() for file in parts):
        digest.update(f"{file.relative_to(folder).as_posix()} {sha256(file)}\n".encode())
    return digest.hexdigest()


def _read_files(files: Sequence[Path]) -> Dataset:
    tables = []
    try:
        for file in files:
            tables.append(READERS[file.suffix](file))
        return Dataset(pa.concat_tables(tables, promote_options="permissive"))
    except (OSError, ValueError, TypeError, AttributeError) as error:  # pyarrow's, pandas' and json's errors are these
        raise DataError(f"{file} can't be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from None


# The readers of the datasets library are not used: its csv reader shifts the columns without a word where a text with
# a comma is not quoted, and its json reader casts between text and numbers.
def _read_csv(file: Path) -> pa.Table:
    """Read every value as text, as it stands there: a sentence "NA" or "007" is not missing and no number."""
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first fields for names of rows
        raise ValueError("rows have more fields than the header; quote texts that hold commas")
    return pa.Table.from_pandas(frame, preserve_index=False)


def _read_json(file: Path) -> pa.Table:
    """Read a list of objects, or one object a line."""
    text = file.read_text(encoding="utf-8-sig")
    lines = [line for line in text.split("\n") if line.strip()]  # splitlines would cut at U+2028 inside a text
    rows = json.loads(text) if text.lstrip().startswith("[") else [json.loads(line) for line in lines]
    names = dict.fromkeys(name for row in rows for name in {**row})
    return pa.table({name: [row.get(name) for row in rows] for name in names})


def _read_lines(file: Path) -> pa.Table:
    """Read a text a line."""
    return pa.table({"text": file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")})


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": pq.read_table,
    ".csv": _read_csv,
    ".jsonl": _read_json,
    ".json": _read_json,
    ".txt": _read_lines,
}


def checked(table: Dataset, texts: Sequence[str], columns: Sequence[str], where: str) -> Dataset:
    """Return the columns wanted; raise DataError if the split is empty, or a column or a value is missing."""
    if not table.num_rows:
        raise DataError(f"{where} has no rows")
    wanted = [*texts, *columns]
    for column in wanted:
        if column not in table.column_names:
            found = ", ".join(table.column_names)
            raise DataError(f"{where} has no column {column!r}; it has {found}; the task needs {', '.join(wanted)}")
        values = table.data.column(column)
        if values.null_count:
            raise DataError(f"{where} has no {column!r} in row {values.is_null().to_pylist().index(True)}")
        if column in texts and not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
            raise DataError(f"{where}: the column {column!r} must hold text, not {values.type}: {table[column][0]!r}")
    return table.select_columns(wanted)
