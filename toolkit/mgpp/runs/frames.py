"""Store the frames of a run: part files, one a logged step, written whole, and joined when the run finishes."""

import re
from io import BytesIO
from pathlib import Path

import pandas as pd

from mgpp.runs.errors import RunError
from mgpp.runs.files import write_whole

FRAMES = ("layers", "weights", "trajectories", "dynamics")


def steps_of(path: Path) -> tuple[int, int]:
    """Return the first and the last step of a part file, which its name holds."""
    first, last = path.stem.split("-")
    return int(first), int(last)


def part_files(folder: Path) -> list[Path]:
    """Return the part files of a frame in the order of steps, without those that a joined part already covers."""
    paths = sorted(path for path in folder.glob("*.parquet") if re.fullmatch(r"[0-9]+-[0-9]+", path.stem))
    spans = {path: steps_of(path) for path in paths}
    return [
        path
        for path, (first, last) in spans.items()
        if not any(a <= first and last <= b and (a, b) != (first, last) for a, b in spans.values())
    ]


def read_parts(paths: list[Path]) -> pd.DataFrame:
    """Return the rows of part files, one after another.

    Raises:
        RunError: if a file is damaged.
        FileNotFoundError: if it is gone.
    """
    frames = []
    for path in paths:
        try:
            frames.append(pd.read_parquet(path))
        except FileNotFoundError:
            raise
        except Exception as error:  # of a damaged file pyarrow and pandas raise nearly anything
            raise RunError(f"{path} is not readable: {error}; remove it to read the others") from None
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def check_frames(run: str | Path) -> None:
    """Raise RunError if a part file in a run's folder was cut off; only the files' ends are read.

    Example:
        >>> check_frames("a-folder-that-does-not-exist")
    """
    for path in [path for frame in FRAMES for path in part_files(Path(run, f"{frame}.parquet"))]:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4))
            if stream.read() != b"PAR1":
                raise RunError(f"{path} is not readable: its end is missing; remove it to read the others")


def write_part(folder: Path, first: int, last: int, rows: pd.DataFrame) -> bool:
    """Write the rows of steps `first` to `last` unless they are there; return whether they replaced others.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "layers.parquet"
        >>> [write_part(folder, 0, 0, pd.DataFrame({"step": [0], "sparsity": [s]})) for s in (0.5, 0.5, 0.6)]
        [False, False, True]
        >>> read_parts(part_files(folder))["sparsity"].tolist()
        [0.6]
    """
    folder.mkdir(exist_ok=True)
    path = folder / f"{first:08d}-{last:08d}.parquet"
    content = rows.to_parquet(index=False, compression="zstd")
    was_there = path.exists()
    if was_there and read_parts([path]).equals(pd.read_parquet(BytesIO(content))):
        return False
    write_whole(path, content)
    return was_there


def join_parts(folder: Path) -> None:
    """Write all parts into one file, then delete them."""
    parts = part_files(folder)
    if len(parts) > 1:
        write_part(folder, steps_of(parts[0])[0], steps_of(parts[-1])[1], read_parts(parts))
        for path in parts:
            path.unlink()


def split_parts(folder: Path) -> None:
    """Undo `join_parts`, also where it was interrupted: a run that goes on writes its last parts again."""
    for path in part_files(folder):
        first, last = steps_of(path)
        if first < last:
            rows = read_parts([path])
            for step in map(int, rows["step"].unique()):
                write_part(folder, step, step, rows[rows["step"] == step])
            path.unlink()
