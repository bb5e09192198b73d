"""Kill trainings with SIGKILL at random moments, resume them, and compare them with one that was never killed.

    python tests/reliability/kills.py --kills 200 --out data/reliability/kills.json

A moment is either one in time, or the n-th time that the training comes to a certain place, n drawn at random: before
the place, after it, or in the middle of what it writes, with half of the content written. A training that was killed
is resumed, and with even odds killed again. Every training runs in a fork of this process.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import transformers
from findings import parser_of, write
from small_training import make_quick, small_recipe

from mgpp.lab.recipes.recipe import Recipe, recipe_from
from mgpp.lab.training import checkpoints, states
from mgpp.lab.training import train as train_module
from mgpp.lab.training.trainer import PruningTrainer
from mgpp.pruning.pruner import Pruner
from mgpp.runs import FRAMES, frames, load_run, locks, metrics_log, writer

METHODS = ("mgpp", "platon", "movement", "l0")
VARIANTS: dict[str, dict[str, Any]] = {
    **{method: {"method": method} for method in METHODS},
    "mgpp, two batches a step": {"method": "mgpp", "trainer": {"gradient_accumulation_steps": 2}, "batch_size": 2},
}
# Of run.json what may differ: the time, that the run was resumed, and the commit of a toolkit that is being worked on.
MAY_DIFFER = ("wall_seconds", "resumed_at", "git")


def half_bytes(path: Path, content: bytes) -> None:
    """What a process that is killed while it writes a file leaves behind."""
    with path.open("wb") as stream:
        stream.write(content[: len(content) // 2])


def half_row(log: Any, line: bytes) -> None:
    """Half a row."""
    log._stream.write(line[: len(line) // 2])


def half_tensors(save: Callable[..., None], tensors: Any, path: Path, **options: Any) -> None:
    """Half a safetensors file."""
    save(tensors, path, **options)
    os.truncate(path, path.stat().st_size // 2)


def half_tree(path: Path, *_: Any, **__: Any) -> None:
    """A folder of which half of the files are deleted."""
    for each in sorted(Path(path).iterdir())[::2] if Path(path).is_dir() else []:
        each.unlink()


def half_model(save: Callable[..., None], model: Any, folder: Path, *args: Any, **options: Any) -> None:
    """A saved model with half of its weights."""
    save(model, folder, *args, **options)
    weights = Path(folder) / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)


# A place: whose function, its name, and what it leaves behind when it is stopped in the middle.
PLACES: dict[str, tuple[Any, str, Callable[..., None] | None]] = {
    "a training step": (PruningTrainer, "training_step", None),
    "a prune event, or keeping the mask": (Pruner, "after_step", None),
    "a row of metrics": (metrics_log.MetricsLog, "_write", half_row),
    "a part file": (frames, "write_part", None),
    "a file's content": (Path, "write_bytes", half_bytes),
    "a file's rename": (os, "replace", None),
    "syncing a file to disk": (os, "fsync", None),
    "a checkpoint": (PruningTrainer, "_save_checkpoint", None),
    "a checkpoint's tensors": (states, "save_file", partial(half_tensors, states.save_file)),
    "a checkpoint's manifest": (checkpoints, "write_manifest", None),
    "deleting a folder": (checkpoints.shutil, "rmtree", half_tree),
    "deleting a file": (Path, "unlink", None),
    "run.json": (writer, "save_info", None),
    "the lock": (locks.FolderLock, "note", None),
    "joining the parts": (writer, "join_parts", None),
    "the final model": (
        transformers.PreTrainedModel,
        "save_pretrained",
        partial(half_model, transformers.PreTrainedModel.save_pretrained),
    ),
    "the final evaluation": (train_module, "final_metrics", None),
}


@dataclass(frozen=True)
class Moment:
    """When to kill: at the `count`-th time at a place, before, in or after it; or after some seconds."""

    place: str
    when: str = ""
    count: int = 0
    seconds: float = 0.0

    def arm(self) -> None:
        """See to it that this process is killed at the moment."""
        if self.place == "any time":
            return
        owner, name, half = PLACES[self.place]
        original, seen = getattr(owner, name), Counter[str]()

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            seen["calls"] += 1
            if seen["calls"] != self.count:
                return original(*args, **kwargs)
            if self.when == "in the middle" and half is not None:
                half(*args, **kwargs)
            elif self.when == "after":
                original(*args, **kwargs)
            return os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, wrapped)
        if owner is frames:  # the writer has the function under a name of its own
            writer.write_part = wrapped


def count_calls(calls: Counter[str]) -> None:
    """Count how often this process comes to each place."""
    for place, (owner, name, _) in PLACES.items():
        original = getattr(owner, name)

        def counted(*args: Any, place: str = place, original: Any = original, **kwargs: Any) -> Any:
            calls[place] += 1
            return original(*args, **kwargs)

        setattr(owner, name, counted)
        if owner is frames:
            writer.write_part = counted


def in_a_child(work: Callable[[], Any], seconds: float | None = None) -> tuple[bool, Any]:
    """Run work in a fork, killed after some seconds if given: whether it was killed, and what the work returned."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 1
        try:
            os.write(writing, json.dumps(work()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    os.close(writing)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reading, "rb") as stream:
        answer = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True, None
    if os.WEXITSTATUS(status):
        raise RuntimeError("a training failed by itself; what it says stands above")
    return False, json.loads(answer)


def go_on(recipe: Recipe, folder: Path, moment: Moment | None) -> None:
    """Train, or resume if there is something to resume, to be killed at the moment."""
    if moment is not None:
        moment.arm()
    if not (folder / "run.json").exists():
        train_module.train(recipe, folder, progress=False)
    elif load_run(folder).status != "finished":
        train_module.resume(folder, progress=False)


def fingerprint(folder: Path) -> dict[str, str]:
    """A finished run as text: weights, log, frames, run.json without times, and the names of its files."""
    run = load_run(folder)
    weights = states.load_file(run.checkpoint / "model.safetensors")
    info = {key: value for key, value in run.info.items() if key not in MAY_DIFFER}
    return {
        "weights": str({name: weight.numpy().tobytes().hex() for name, weight in sorted(weights.items())}),
        "log": (folder / "metrics.jsonl").read_text(),
        "frames": "".join(getattr(run, frame).to_csv() for frame in FRAMES),
        "run.json": json.dumps(info, sort_keys=True),
        "status": run.status,
        "files": str(sorted(path.name for path in folder.iterdir() if path.name not in (".lock", ".writer.json"))),
        "checkpoints": str(sorted(path.name for path in (folder / "checkpoints").iterdir())),
    }


def logged(folder: Path) -> dict[str, list[str]]:
    """The complete rows, and frame and step of every part, that a run has logged so far; damaged checkpoints."""
    log = folder / "metrics.jsonl"
    complete = log.read_text().split("\n")[:-1] if log.exists() else []
    seen = []
    for frame in FRAMES:
        for path in frames.part_files(folder / f"{frame}.parquet"):
            seen += [f"{frame} {step}" for step in pd.read_parquet(path)["step"].unique()]
    damaged = []
    for checkpoint in checkpoints.checkpoints(folder / "checkpoints"):
        try:
            checkpoints.check(checkpoint)
        except checkpoints.CheckpointError as error:
            damaged.append(str(error))
    return {"rows": complete, "parts": seen, "damaged": damaged}


@dataclass
class Outcome:
    """What became of one training: its kills, and what was wrong in the end or on the way."""

    variant: str
    kills: list[Moment] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def torture(
    variant: str, recipe: Recipe, folder: Path, whole: dict[str, str], draw: Callable[[], Moment], most: int
) -> Outcome:
    """Kill one training at random moments, once or up to `most` times, until it is finished."""
    outcome, before = Outcome(variant), {"rows": [], "parts": [], "damaged": []}
    while True:
        again = len(outcome.kills) < most and (not outcome.kills or random.random() < 0.5)
        moment = draw() if again else None
        seconds = moment.seconds if moment is not None and moment.place == "any time" else None
        killed, _ = in_a_child(partial(go_on, recipe, folder, moment), seconds)
        if killed and moment is not None:
            outcome.kills.append(moment)
        _, now = in_a_child(partial(logged, folder))
        for what in ("rows", "parts"):
            outcome.wrong += [f"lost of the {what}: {lost}" for lost in set(before[what]) - set(now[what])]
        outcome.wrong += now["damaged"]
        before = now
        if not killed:
            _, end = in_a_child(partial(fingerprint, folder))
            outcome.wrong += [f"{what} differs" for what in whole if end[what] != whole[what]]
            return outcome


def main() -> None:
    """Parse the command line, kill, and write what was seen."""
    parser = parser_of(__file__, __doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    options = parser.parse_args()
    random.seed(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        outcomes = kill_many(Path(scratch), options.kills, options.variants)
    rows = table_of(outcomes)
    write(options.out, summary_of(outcomes), rows)
    wrong = [f"{outcome.variant} {outcome.kills}: {outcome.wrong}" for outcome in outcomes if outcome.wrong]
    print(pd.DataFrame(rows).to_string(index=False), *wrong, sep="\n")
    sys.exit(bool(wrong))


def kill_many(scratch: Path, kills: int, variants: list[str]) -> list[Outcome]:
    """As many trainings as it takes to kill so often."""
    base = small_recipe(scratch / "small")
    make_quick(base)
    recipes = {name: recipe_from(base.as_dict(), **changes) for name, changes in VARIANTS.items() if name in variants}
    wholes, calls, seconds = {}, {}, {}
    for name, recipe in recipes.items():
        folder = scratch / f"whole {name}"
        started = time.monotonic()
        _, calls[name] = in_a_child(partial(counted_training, recipe, folder))
        seconds[name] = time.monotonic() - started
        _, wholes[name] = in_a_child(partial(fingerprint, folder))
    outcomes: list[Outcome] = []
    while (done := sum(len(outcome.kills) for outcome in outcomes)) < kills:
        name = random.choice(list(recipes))
        folder = scratch / str(len(outcomes))
        draw = partial(draw_moment, calls[name], seconds[name])
        outcomes.append(torture(name, recipes[name], folder, wholes[name], draw, min(5, kills - done)))
        print(f"{done + len(outcomes[-1].kills)} kills, {outcomes[-1]}", file=sys.stderr, flush=True)
    return outcomes


def counted_training(recipe: Recipe, folder: Path) -> dict[str, int]:
    """A training that is not killed, and how often it came to each place."""
    calls: Counter[str] = Counter()
    count_calls(calls)
    train_module.train(recipe, folder, progress=False)
    return calls


def draw_moment(calls: dict[str, int], seconds: float) -> Moment:
    """A random moment; a quarter of them at any time."""
    if random.random() < 0.25:
        return Moment("any time", seconds=random.uniform(0, seconds))
    place = random.choice(list(PLACES))
    half = PLACES[place][2] is not None
    when = random.choice(["before", "after", "in the middle"] if half else ["before", "after"])
    return Moment(place, when, random.randint(1, max(1, calls.get(place, 1))))


def table_of(outcomes: list[Outcome]) -> list[dict[str, Any]]:
    """A row a place, with the kills there and how many of their trainings ended as if never killed."""
    kills = [(moment, outcome) for outcome in outcomes for moment in outcome.kills]
    table = []
    for place in ["any time", *PLACES]:
        here = [outcome for moment, outcome in kills if moment.place == place]
        words = "at any time" if place == "any time" else f"before, in or after: {place}"
        same = sum(not outcome.wrong for outcome in here)
        table.append({"killed": words, "kills": len(here), "same weights and log in the end": same})
    return table


def summary_of(outcomes: list[Outcome]) -> str:
    """Return the text above the table: what was done."""
    kills, often = sum(len(each.kills) for each in outcomes), sum(len(each.kills) > 1 for each in outcomes)
    return (
        f"{kills} kills with SIGKILL of {len(outcomes)} small trainings ("
        f"{'; '.join(sorted({outcome.variant for outcome in outcomes}))}), of which {often} were killed more than "
        "once. All are resumed until they finish, and compared with a training that was never killed: weights bit for "
        "bit, metrics.jsonl byte for byte, frames, and run.json except for times. At no moment may a logged row or "
        "part be lost, or a checkpoint be damaged."
    )


if __name__ == "__main__":
    main()
