"""Cause faults for real while small trainings run, and note what is kept and what the user reads.

    python tests/reliability/faults.py --out data/reliability/faults.json

Every training runs in a fork of this process, through the command line.
"""

import ctypes
import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from findings import parser_of, write
from kills import fingerprint, in_a_child
from small_models import small_bert
from small_training import STEPS, make_quick, small_recipe

from mgpp.lab.cli import main as mgpp
from mgpp.lab.recipes.recipe import Recipe, recipe_from
from mgpp.lab.training.trainer import PruningTrainer
from mgpp.runs import load_run

AT = 6  # the step at which most faults come, after the checkpoint of step 3
Work = Callable[[], None]


@dataclass
class Ended:
    """How a command ended, and what it wrote."""

    status: int
    words: str


class Scene:
    """A folder with a recipe, the run that nothing went wrong in, and trainings in which something does."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.recipe = small_recipe(folder / "small")
        make_quick(self.recipe)
        self.write(self.recipe)
        self.do("train", "recipe.yaml", "--out", "whole", "--quiet")
        _, self.whole = in_a_child(partial(fingerprint, folder / "whole"))

    def write(self, recipe: Recipe, name: str = "recipe.yaml") -> None:
        """Write a recipe as YAML."""
        (self.folder / name).write_text(yaml.safe_dump(recipe.as_dict()), encoding="utf-8")

    def begin(self, *words: str, before: Work | None = None) -> int:
        """Begin a command of the toolkit in a fork, after some other work there; its process."""
        child = os.fork()
        if child:
            return child
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where this script runs in the background
            os.chdir(self.folder)
            log = os.open(f"output-{os.getpid()}", os.O_CREAT | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if before is not None:
                before()
            mgpp(list(words))
        except SystemExit as stop:
            sys.stdout.flush()
            os._exit(stop.code if isinstance(stop.code, int) else int(stop.code is not None))
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        os._exit(99)  # no command of the toolkit ends so

    def end(self, child: int) -> Ended:
        """Wait for a command."""
        _, status = os.waitpid(child, 0)
        output = self.folder / f"output-{child}"
        words = "\n".join(line for line in output.read_text().splitlines() if line.strip())
        output.unlink()
        return Ended(os.waitstatus_to_exitcode(status), words)

    def do(self, *words: str, before: Work | None = None) -> Ended:
        """A command, and how it ended."""
        return self.end(self.begin(*words, before=before))

    def train(self, out: str, *words: str, before: Work | None = None) -> Ended:
        """Train by the recipe."""
        return self.do("train", "recipe.yaml", "--quiet", "--out", out, *words, before=before)

    def kept(self, run: str) -> str:
        """What is there of a run, in words."""
        found = load_run(self.folder / run)
        saved = sorted((found.folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))
        words = f"status {found.status}, {len(found.metrics)} rows"
        return words + (f", the checkpoint of step {saved[-1].name[11:]}" if saved else "")

    def resumed(self, run: str) -> str:
        """Resume a run, and whether it ended as if nothing had happened, in words."""
        done = self.do("train", "--resume", run, "--quiet")
        if done.status:
            return f"resuming failed: {done.words}"
        return self.compared(run)

    def compared(self, run: str) -> str:
        """Whether a finished run is the same as one in which nothing went wrong, in words."""
        _, end = in_a_child(partial(fingerprint, self.folder / run))
        wrong = [what for what in self.whole if end[what] != self.whole[what]]
        return f"differs in {', '.join(wrong)}" if wrong else "resumed to the same weights and log"


def at_step(step: int, work: Work) -> Work:
    """What arms a fork to do something at a step of its training."""

    def arm() -> None:
        original, seen = PruningTrainer.training_step, [0]

        def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
            if seen[0] == step:
                work()
            seen[0] += 1
            return original(self, *args, **kwargs)

        PruningTrainer.training_step = training_step

    return arm


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[[str], None] | None]:
    """A file system of some size at `folder`, and what gives it another option; None where that is forbidden."""
    folder.mkdir()

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], check=True, capture_output=True)

    try:
        mount(f"size={size}")
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", folder], check=True)


def limit(kind: int, size: int) -> None:
    """Set a limit of this process."""
    resource.setrlimit(kind, (size, size))


def row(fault: str, cause: str, ended: Ended, kept: str, then: str = "") -> dict[str, Any]:
    """A row of the evidence."""
    reads = ended.words.removeprefix("Error: ")
    return {"fault": fault, "caused by": cause, "exit status": ended.status, "kept": kept, "reads": reads, "then": then}


def full_disk(scene: Scene) -> dict[str, Any]:
    """While a checkpoint is written."""
    with small_disk(scene.folder / "disk", "1m") as resize:
        if resize is None:
            ended = scene.train("disk/run", before=partial(limit, resource.RLIMIT_FSIZE, 100_000))
            cause = "a limit of 100 kB a file"
        else:
            ended = scene.train("disk/run")
            cause = "a file system of 1 MB"
        kept = scene.kept("disk/run")
        if resize is not None:
            resize("size=50m")
        return row("disk full while a checkpoint is written", cause, ended, kept, scene.resumed("disk/run"))


def full_disk_for_rows(scene: Scene) -> dict[str, Any]:
    """While rows are logged, in a run without checkpoints."""
    scene.write(recipe_from(scene.recipe.as_dict(), save_every=None), "no-checkpoints.yaml")
    words = ("train", "no-checkpoints.yaml", "--quiet", "--out", "disk2/run")
    with small_disk(scene.folder / "disk2", "56k") as resize:
        if resize is None:
            ended, cause = (
                scene.do(*words, before=partial(limit, resource.RLIMIT_FSIZE, 3_000)),
                "a limit of 3 kB a file",
            )
        else:
            ended, cause = scene.do(*words), "a file system of 56 kB"
        exists = (scene.folder / "disk2" / "run" / "run.json").exists()
        kept = scene.kept("disk2/run") if exists else "nothing was logged yet"
    return row("disk full while rows are logged", cause, ended, kept)


def read_only(scene: Scene) -> dict[str, Any]:
    """From the start."""
    folder = scene.folder / "read-only"
    with small_disk(folder, "1m") as change:
        if change is None:
            folder.chmod(0o500)
        else:
            change("ro")
        ended = scene.train("read-only/run")
        cause = "a folder without write permission" if change is None else "a file system mounted read-only"
        folder.chmod(0o700) if change is None else change("rw")
        kept = "nothing is made" if not any(folder.iterdir()) else "something was made"
    return row("read-only output folder", cause, ended, kept)


def read_only_meanwhile(scene: Scene) -> dict[str, Any] | None:
    """While a run is trained."""
    folder = scene.folder / "read-only-later"
    with small_disk(folder, "50m") as change:
        if change is None:
            return None
        forbid = at_step(AT, lambda: remount_read_only(folder))
        ended = scene.train("read-only-later/run", before=forbid)
        kept = scene.kept("read-only-later/run")
        subprocess.run(["umount", folder], check=True)  # the read-only view that lies over it
        then = scene.resumed("read-only-later/run")
    return row("output folder becomes read-only", f"a file system remounted at step {AT}", ended, kept, then)


def remount_read_only(folder: Path) -> None:
    """Lay a read-only view of a folder over it; the files that a process has open stay writable."""
    libc = ctypes.CDLL(None, use_errno=True)
    ms_remount, ms_rdonly, ms_bind = 32, 1, 4096
    target = os.fsencode(folder)
    if libc.mount(target, target, None, ms_bind, None) or libc.mount(
        None, target, None, ms_remount | ms_bind | ms_rdonly, None
    ):
        raise OSError(ctypes.get_errno(), "mount")


def in_place_of_a_file(scene: Scene) -> dict[str, Any]:
    """The folder's parent is a file."""
    (scene.folder / "a-file").write_text("mine")
    ended = scene.train("a-file/run")
    kept = "the file" if (scene.folder / "a-file").read_text() == "mine" else "the file is changed"
    return row("output folder can't be one", "its parent is a file", ended, kept)


def vanished(scene: Scene) -> dict[str, Any]:
    """Renamed, and put back."""
    run, away = scene.folder / "moved", scene.folder / "away"
    ended = scene.train("moved", before=at_step(AT, lambda: os.rename(run, away)))
    os.rename(away, run)
    kept = scene.kept("moved")
    return row("output folder vanishes", f"it is moved away at step {AT}", ended, kept, scene.resumed("moved"))


def two_writers(scene: Scene) -> list[dict[str, Any]]:
    """A second training, --replace and --resume, while the first is stopped in the middle; then the first is killed."""
    pause = at_step(AT, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    first = scene.begin("train", "recipe.yaml", "--quiet", "--out", "shared", before=pause)
    os.waitpid(first, os.WUNTRACED)
    rows = []
    for fault, words in (
        ("two trainings into one folder", ("recipe.yaml", "--out", "shared")),
        ("--replace of a run that is being written", ("recipe.yaml", "--out", "shared", "--replace")),
        ("--resume of a run that is being written", ("--resume", "shared")),
    ):
        ended = scene.do("train", *words, "--quiet")
        rows.append(row(fault, "the first is stopped in the middle", ended, scene.kept("shared")))
    os.kill(first, signal.SIGKILL)
    scene.end(first)
    kept = scene.kept("shared")
    ended = Ended(0, "the lock of a killed process does not block")
    rows.append(row("a worker is killed", "SIGKILL", ended, kept, scene.resumed("shared")))
    return rows


def diverging(scene: Scene) -> dict[str, Any]:
    """By a learning rate that is far too high."""
    ended = scene.train("diverging", "--set", "optimizer.learning_rate=1e30")
    return row("the loss is NaN", "optimizer.learning_rate=1e30", ended, scene.kept("diverging"))


def spoiled(scene: Scene) -> dict[str, Any]:
    """One weight."""

    def arm() -> None:
        original = PruningTrainer.create_scheduler

        def create_scheduler(self: Any, *args: Any, **kwargs: Any) -> Any:
            weight = dict(self.model.named_parameters())["bert.encoder.layer.0.intermediate.dense.weight"]
            at_step(AT, lambda: weight.data.view(-1)[:1].fill_(math.nan))()
            return original(self, *args, **kwargs)

        PruningTrainer.create_scheduler = create_scheduler

    ended = scene.train("spoiled", before=arm)
    return row("a weight is NaN", f"set to NaN at step {AT}", ended, scene.kept("spoiled"))


def infinite_gradient(scene: Scene) -> dict[str, Any]:
    """With a loss that is finite."""

    def arm() -> None:
        original, seen = PruningTrainer.compute_loss, [0]

        def compute_loss(self: Any, *args: Any, **kwargs: Any) -> Any:
            loss = original(self, *args, **kwargs)
            seen[0] += 1
            return loss + (loss - loss.detach()).clamp(min=0).sqrt() if seen[0] == AT + 1 else loss

        PruningTrainer.compute_loss = compute_loss

    ended = scene.train("infinite", before=arm)
    return row("the gradient is NaN", f"the square root of 0 at step {AT}", ended, scene.kept("infinite"))


def no_memory(scene: Scene) -> dict[str, Any]:
    """A limit on the address space, with a model whose optimizer needs more."""
    small_bert(scene.folder / "wide", hidden_size=768, intermediate_size=3072)

    def forbid() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit(resource.RLIMIT_AS, pages * resource.getpagesize() + 40_000_000)

    ended = scene.train("memory", "--set", f"model={scene.folder / 'wide'}", before=at_step(0, forbid))
    return row("out of memory", "a limit of 40 MB more at step 0 (RLIMIT_AS)", ended, scene.kept("memory"))


def signalled(scene: Scene, name: str) -> dict[str, Any]:
    """SIGTERM, as schedulers send it, which waits for a checkpoint, or SIGINT, as Ctrl-C does."""
    number, run = getattr(signal, name), name.lower()
    ended = scene.train(run, before=at_step(AT, lambda: os.kill(os.getpid(), number)))
    return row(name, f"sent at step {AT}", ended, scene.kept(run), scene.resumed(run))


def clock(scene: Scene) -> dict[str, Any]:
    """Ten years back, twenty years ahead."""
    real = time.time

    def jump(years: float) -> None:
        time.time = lambda: real() + years * 31_557_600

    def arm() -> None:
        at_step(4, partial(jump, -10))()
        at_step(9, partial(jump, 20))()

    ended = scene.train("clock", before=arm)
    seconds = load_run(scene.folder / "clock").info["wall_seconds"]
    kept = f"all; wall_seconds {'as they were' if 0 < seconds < 600 else seconds}"
    then = scene.compared("clock").replace("resumed to ", "")
    return row("the clock jumps", "10 years back at step 4, 20 ahead at step 9", ended, kept, then)


def damaged_checkpoint(scene: Scene) -> dict[str, Any]:
    """A byte of the last one."""
    stop = at_step(8, lambda: os.kill(os.getpid(), signal.SIGKILL))
    scene.train("damaged", before=stop)
    path = scene.folder / "damaged" / "checkpoints" / "checkpoint-6" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    ended = scene.do("train", "--resume", "damaged", "--quiet")
    ended.words = ended.words.splitlines()[0]
    then = scene.compared("damaged")
    at = load_run(scene.folder / "damaged").info["resumed_at"]
    return row("a checkpoint is damaged", "one bit flipped in the last", ended, f"resumed at step {at[0]}", then)


def damaged_runs(scene: Scene) -> list[dict[str, Any]]:
    """One run in a folder of two that is cut off, of a newer version, or not a run at all."""

    def cut(name: str) -> Callable[[Path], None]:
        return lambda run: os.truncate(path := next(run.glob(name)), path.stat().st_size * 2 // 3)

    def newer(run: Path) -> None:
        info = json.loads((run / "run.json").read_text())
        (run / "run.json").write_text(json.dumps(info | {"format": 99}))

    def broken_row(run: Path) -> None:
        lines = (run / "metrics.jsonl").read_text().splitlines()
        (run / "metrics.jsonl").write_text("\n".join([lines[0], lines[1][:20], *lines[2:]]) + "\n")

    def foreign(run: Path) -> None:
        shutil.rmtree(run)
        run.mkdir()
        (run / "notes.txt").write_text("not a run")
        (run.parent / "good" / "notes.txt").write_text("mine")

    rows = []
    for fault, spoil in (
        ("run.json is truncated", cut("run.json")),
        ("a part file is truncated", cut("layers.parquet/*.parquet")),
        ("metrics.jsonl is truncated", cut("metrics.jsonl")),
        ("a row of metrics.jsonl is damaged", broken_row),
        ("a log of a newer version", newer),
        ("foreign folders and files among the runs", foreign),
    ):
        folder = scene.folder / "runs"
        for name in ("good", "other"):
            shutil.copytree(scene.folder / "whole", folder / name)
        spoil(folder / "other")
        ended = scene.do("runs", "runs")
        listed = [
            name for name in ("good", "other") if any(line.split()[0] == name for line in ended.words.splitlines())
        ]
        ended.words = "\n".join(line for line in ended.words.splitlines() if line.startswith(("warning", "Error")))
        rows.append(row(fault, "mgpp runs on two runs", ended, f"listed: {', '.join(listed)}"))
        shutil.rmtree(folder)
    return rows


def main() -> None:
    """Cause all faults and write what was seen."""
    options = parser_of(__file__, __doc__).parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        rows = cause_all(Scene(Path(scratch)))
    what = (
        f"Real faults in trainings of {STEPS} steps, with a checkpoint every three steps, started from the command "
        "line. The table shows what is kept and what the user reads. It also shows whether the resumed run ends with "
        "the weights and the log of a run without a fault."
    )
    write(options.out, what, rows)


def cause_all(scene: Scene) -> list[dict[str, Any]]:
    """A row for each fault that could be caused here."""
    rows: list[dict[str, Any] | None] = [
        full_disk(scene),
        full_disk_for_rows(scene),
        read_only(scene),
        read_only_meanwhile(scene),
        in_place_of_a_file(scene),
        vanished(scene),
        *two_writers(scene),
        diverging(scene),
        spoiled(scene),
        infinite_gradient(scene),
        no_memory(scene),
        signalled(scene, "SIGTERM"),
        signalled(scene, "SIGINT"),
        clock(scene),
        damaged_checkpoint(scene),
        *damaged_runs(scene),
    ]
    place = str(scene.folder)
    return [{key: _tidy(value, place) for key, value in each.items()} for each in rows if each is not None]


def _tidy(value: Any, place: str) -> Any:
    return value.replace(f"{place}/", "").replace(place, "") if isinstance(value, str) else value


if __name__ == "__main__":
    main()
