"""Record runs: `RunWriter` writes a folder, `Run` reads it into pandas frames. No torch needed.

A run's folder, `data/runs/<name>/`:

    run.json                 recipe, versions, commit, seed, device, hashes, targets, status, final metrics
    metrics.jsonl            one row a logged step, appended and flushed
    layers.parquet/          part files named <first step>-<last step>.parquet, each written whole and renamed;
    weights.parquet/         when a run finishes, the parts of a frame are joined into one
    trajectories.parquet/
    checkpoints/final/       the pruned model, ignored by git
    .lock, .writer.json      while it is being written: by whom
This package alone knows these names. A folder can be read while it is written and after a crash.
"""

from mgpp.runs.errors import RunError, RunWarning, StorageError
from mgpp.runs.frames import FRAMES, check_frames
from mgpp.runs.locks import is_being_written, refuse_if_written
from mgpp.runs.metrics_log import METRICS_COLUMNS
from mgpp.runs.reader import FORMAT_VERSION, Run, load_run, load_runs, run_folders, summary
from mgpp.runs.scores import format_score, score_column, unit
from mgpp.runs.writer import RunWriter, check_folder, mark_failed

__all__ = [
    "FORMAT_VERSION",
    "FRAMES",
    "METRICS_COLUMNS",
    "Run",
    "RunError",
    "RunWarning",
    "RunWriter",
    "StorageError",
    "check_folder",
    "check_frames",
    "format_score",
    "is_being_written",
    "load_run",
    "load_runs",
    "mark_failed",
    "refuse_if_written",
    "run_folders",
    "score_column",
    "summary",
    "unit",
]
