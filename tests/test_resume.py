"""Runs that are stopped and go on end like runs that were never stopped."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fake_training import short_training
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from mgpp import RunError, load_run
from mgpp.lab.recipes.recipe import recipe_from
from mgpp.lab.tasks import reviews
from mgpp.lab.training import train as module
from mgpp.lab.training.checkpoints import checkpoints, step_of
from mgpp.lab.training.states import CheckpointError
from mgpp.lab.training.train import resume, train
from mgpp.runs import FRAMES, mark_failed
from mgpp.runs.locks import FolderLock

SCRIPT = Path(__file__).parent / "reliability" / "kills.py"


@pytest.mark.slow
def test_some_kills(tmp_path):
    out = tmp_path / "kills.json"
    command = [sys.executable, SCRIPT, "--kills", "4", "--variants", "l0", "--seed", "3", "--out", out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(out.read_text())["rows"]
    assert sum(row["kills"] for row in table) == 4
    assert all(row["kills"] == row["same weights and log in the end"] for row in table)


@pytest.fixture(scope="module")
def stopping_recipe(tiny_recipe):
    """Thirty steps, eight an epoch, saved every three, logged every five; prune events at steps 4, 14 and 21."""
    changes = {"batch_size": 5, "save_every": 3, "max_length": 16, "trainer.save_total_limit": 10, "sparsity.warmup": 4}
    return recipe_from(tiny_recipe.as_dict(), **changes)


@pytest.fixture(scope="module")
def whole(stopping_recipe, tmp_path_factory):
    """A run that was never stopped, with all its checkpoints."""
    patch = pytest.MonkeyPatch()
    table = reviews.read().groupby("split").head(40)
    patch.setattr(reviews, "read", lambda: table)
    yield train(stopping_recipe, tmp_path_factory.mktemp("whole") / "run", progress=False)
    patch.undo()


def stopped_after(whole, step, folder):
    """A copy of the run as it was when it had made a checkpoint, and had logged everything."""
    shutil.copytree(whole.folder, folder)
    for path in checkpoints(folder / "checkpoints"):
        if step_of(path) > step:
            shutil.rmtree(path)
    shutil.rmtree(folder / "checkpoints" / "final")
    mark_failed(folder, "stopped")
    return folder


def assert_same(run, whole):
    """Weights, log and frames, bit for bit."""
    first, second = (load_file(each.checkpoint / "model.safetensors") for each in (run, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert (run.folder / "metrics.jsonl").read_bytes() == (whole.folder / "metrics.jsonl").read_bytes()
    for frame in FRAMES:
        assert getattr(run, frame).equals(getattr(whole, frame))
    assert run.final == whole.final


@pytest.mark.parametrize("step", [0, 18, 24, 30])  # after unlogged steps; at an epoch's end; at the run's end
def test_resumed_at_a_step_a_run_ends_the_same(whole, step, tmp_path):
    run = resume(stopped_after(whole, step, tmp_path / "run"), progress=False)
    assert_same(run, whole)
    assert run.info["resumed_at"] == [step]
    assert "replaced" not in run.info
    assert "error" not in run.info
    assert run.info["wall_seconds"] > whole.info["wall_seconds"]


def test_damage_is_repaired(whole, tmp_path):
    """A damaged checkpoint is passed over, leftovers of a kill are deleted, rows that come out otherwise replaced."""
    folder = stopped_after(whole, 15, tmp_path / "run")
    log = folder / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    last = json.loads(lines[-1])
    log.write_text("".join([*lines[:-1], json.dumps(last | {"loss": 99.0}) + "\n"]))
    os.truncate(folder / "checkpoints" / "checkpoint-15" / "training.safetensors", 100)
    (folder / "checkpoints" / ".checkpoint-18.writing").mkdir()
    with pytest.warns(UserWarning, match=r"checkpoint-15/training\.safetensors"):
        run = resume(folder, progress=False)
    assert run.info["resumed_at"] == [12]
    assert run.info["replaced"] == [last["step"]]
    assert_same(run, whole)
    assert not list((folder / "checkpoints").glob(".*"))


def test_old_checkpoints_go_also_where_no_new_one_comes(whole, tmp_path):
    folder = stopped_after(whole, 30, tmp_path / "run")
    change_info(folder, lambda info: info["recipe"]["trainer"].update(save_total_limit=3))
    resume(folder, progress=False)
    assert [step_of(path) for path in checkpoints(folder / "checkpoints")] == [24, 27, 30]


def change_info(folder, change):
    """Change run.json, as a user with an editor does."""
    info = json.loads((folder / "run.json").read_text())
    change(info)
    (folder / "run.json").write_text(json.dumps(info))


def test_what_can_not_be_resumed_is_refused(whole, tmp_path):
    with pytest.raises(RunError, match="finished"):
        resume(whole.folder)
    with pytest.raises(RunError, match="mgpp train RECIPE --out"):
        resume(tmp_path)
    assert load_run(whole.folder).status == "finished"
    folder = stopped_after(whole, 15, tmp_path / "run")
    for key, value in {"method": "l2", "seed": 7, "max_steps": 31}.items():
        before = (folder / "run.json").read_text()
        change_info(folder, lambda info: info["recipe"].update({key: value}))  # noqa: B023
        with pytest.raises(CheckpointError, match=f"{key}: "):
            resume(folder, progress=False)
        (folder / "run.json").write_text(before)
    part = next((folder / "layers.parquet").glob("*.parquet"))
    os.truncate(part, 100)
    with pytest.raises(RunError, match=r"layers\.parquet"):  # before the training goes on
        resume(folder, progress=False)
    assert "resumed_at" not in load_run(folder).info
    change_info(folder, lambda info: info.pop("recipe"))
    with pytest.raises(RunError, match="recipe"):
        resume(folder)


@pytest.fixture(scope="module")
def local_run(tmp_path_factory):
    """A folder with data and model, and a run on them that was stopped after half of its 20 steps."""
    place = tmp_path_factory.mktemp("local")
    run = train(recipe_from({}, **short_training(place, save_every=10)), place / "run", progress=False)
    return stopped_after(run, 10, place / "stopped").parent


@pytest.mark.parametrize(("what", "file"), [("data", "train.csv"), ("model", "model.safetensors")])
def test_a_run_does_not_go_on_with_other_data_or_another_model(local_run, tmp_path, what, file):
    folder = shutil.copytree(local_run / "stopped", tmp_path / "run")
    changed = local_run / what / file
    before, info = changed.read_bytes(), (folder / "run.json").read_bytes()
    changed.write_bytes(before.replace(b"a dull film", b"a fine film") if what == "data" else before + b"\0")
    with pytest.raises(RunError, match=rf"the {what} changed since the run began, sha256 \w{{64}}, not \w{{64}}"):
        resume(folder, progress=False)
    assert (folder / "run.json").read_bytes() == info
    changed.write_bytes(before)
    assert resume(folder, progress=False).info["resumed_at"] == [10]


@pytest.mark.parametrize("main", [True, False])
@pytest.mark.parametrize("again", [True, False])
def test_only_the_main_process_asks_for_the_folder_and_only_when_all_are_there(
    whole, stopping_recipe, tmp_path, monkeypatch, main, again
):
    """Another process holds the folder's lock, as one of this training does that asks at the same moment."""
    folder, met = stopped_after(whole, 9, tmp_path / "run"), []
    change_info(folder, lambda info: info.update(status="running"))
    monkeypatch.setattr(module, "init_distributed", met.append)
    monkeypatch.setattr(module, "is_main", lambda: main)
    monkeypatch.setattr(module, "locate_model", lambda *_: 1 / 0)
    lock = FolderLock(folder)
    with pytest.raises(RunError if main else ZeroDivisionError):
        resume(folder) if again else train(stopping_recipe, folder, replace_run=True)
    lock.release()
    assert met == [stopping_recipe.trainer]


def test_checkpoints_are_as_sparse_as_their_phase_says(whole, stopping_recipe):
    """After a prune event and in the frozen phase exactly k; between events of MGPP less, with the masks beside it."""
    targets = [row["name"] for row in whole.info["targets"]["table"]]
    zeros, masked = {}, {}
    for path in checkpoints(whole.folder / "checkpoints"):
        weights, state = load_file(path / "model.safetensors"), load_file(path / "pruner.safetensors")
        zeros[step_of(path)] = sum(int((weights[name] == 0).sum()) for name in targets)
        masks = [mask for name, mask in state.items() if name.startswith("mask.")]
        masked[step_of(path)] = sum(int((~mask).sum()) for mask in masks)
    count = round(stopping_recipe.schedule(30)(14) * whole.info["targets"]["count"])
    assert count > 0
    assert list(masked) == list(range(3, 31, 3))
    assert list(masked.values()) == [0] * 4 + [count] * 3 + [whole.final["zeros"]] * 3
    assert [zeros[step] for step in (15, 24, 27, 30)] == [masked[step] for step in (15, 24, 27, 30)]
    assert zeros[18] < masked[18]


def test_a_checkpoint_loads_as_a_model(whole):
    model = AutoModelForSequenceClassification.from_pretrained(whole.folder / "checkpoints" / "checkpoint-30")
    final = load_file(whole.checkpoint / "model.safetensors")
    assert all(torch.equal(weight, final[name]) for name, weight in model.state_dict().items())
