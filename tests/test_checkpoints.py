import json
import math
import pickle
import random
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mgpp.lab.training import checkpoints as module
from mgpp.lab.training.checkpoints import (
    CheckpointError,
    check,
    check_processes,
    checkpoint_folder,
    checkpoints,
    latest,
    load_weights,
    recipe_of,
    remove_leftovers,
    rotate,
    step_of,
    weights_of,
    write_manifest,
)
from mgpp.lab.training.randomness import random_state, set_random_state, undisturbed
from mgpp.lab.training.states import load_state, save_state, save_tensors
from mgpp.runs.files import whole_folder

NEEDED = ("config.json", "model.safetensors", "pruner.safetensors", "rank-0.json", "rank-0.safetensors")
NEEDED += ("trainer_state.json", "training.json", "training.safetensors")


def make(folder, step):
    """A checkpoint whose files are there, and two of them filled."""
    with whole_folder(checkpoint_folder(folder, step)) as hidden:
        for name in NEEDED:
            (hidden / name).write_text("")
        save_state(hidden / "training", {"step": step, "weight": torch.arange(3.0)})
        write_manifest(hidden, step=step)
    return checkpoint_folder(folder, step)


def same(first, second):
    """Whether nested data are equal, tensors and arrays bit for bit, types included."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        pairs = zip(first, second, strict=True)
        return type(first) is type(second) and all(same(one, other) for one, other in pairs)
    return first == second or (first != first and second != second)


def test_states_come_back_as_they_were(tmp_path):
    weight = torch.nn.Parameter(torch.randn(3, 2))
    optimizer = torch.optim.AdamW([weight], lr=0.1, betas=(0.9, 0.95))
    weight.sum().backward()
    optimizer.step()
    shared = torch.arange(4, dtype=torch.uint8)
    state = {
        "optimizer": optimizer.state_dict(),
        "random": random_state(),
        "numbers": [1, 0.1 + 0.2, math.inf, math.nan, None, True, "text"],
        "twice": [shared, shared],
        "transposed": torch.randn(3, 2).T,
        "bf16": torch.randn(3).bfloat16(),
        "empty": [{}, [], ()],
    }
    save_state(tmp_path / "state", state)
    assert same(load_state(tmp_path / "state"), state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]


MARKS = st.sampled_from(["$tensor", "$array", "$tuple", "$items", "$", "$$items", "tensor"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | MARKS
VALUES |= st.sampled_from([torch.arange(3), torch.ones(2, 2), np.arange(4.0)])
KEYS = MARKS | st.text(max_size=5) | st.integers() | st.none() | st.tuples(MARKS, st.integers())
NESTED = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.dictionaries(MARKS, inner, max_size=2)
    ),
    max_leaves=8,
)


@settings(max_examples=200)
@given(NESTED)
def test_every_state_comes_back_whatever_its_keys_are_called(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "any-state"
    save_state(path, state)
    assert same(load_state(path), state)


def test_what_has_no_place_in_a_state_is_refused(tmp_path):
    with pytest.raises(TypeError, match="a set can't be written to a checkpoint"):
        save_state(tmp_path / "state", {"seen": {1, 2}})


def test_the_random_generators_go_on_where_they_were(tmp_path):
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()  # noqa: NPY002

    save_state(tmp_path / "random", random_state())
    first = draw()
    draw()
    set_random_state(load_state(tmp_path / "random"))
    assert draw() == first
    with undisturbed():
        draw()
    after = draw()
    set_random_state(load_state(tmp_path / "random"))
    draw()
    assert draw() == after


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "checkpoint-3") as hidden:
        (hidden / "half").write_text("half")
        raise ZeroDivisionError
    assert checkpoints(tmp_path) == []
    remove_leftovers(tmp_path, 0, None)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_before_an_old_checkpoint_was_deleted_leaves_no_more_than_there_should_be(tmp_path):
    for step in (3, 6, 9, 12):
        make(tmp_path, step)
    remove_leftovers(tmp_path, 9, 2)  # the last one is damaged, and will be written again
    assert [step_of(path) for path in checkpoints(tmp_path)] == [6, 9, 12]


def test_on_a_full_disk_no_half_is_left(tmp_path):
    with pytest.raises(OSError, match="full"), whole_folder(tmp_path / "checkpoint-3"):
        raise OSError(28, "full")
    assert list(tmp_path.iterdir()) == []


def test_the_latest_sound_checkpoint_is_found(tmp_path):
    for step in (9, 10, 100):
        make(tmp_path, step)
    (tmp_path / "checkpoint-final").mkdir()
    (tmp_path / "checkpoint-200").write_text("a file")
    assert [step_of(path) for path in checkpoints(tmp_path)] == [9, 10, 100]
    assert latest(tmp_path).name == "checkpoint-100"


@pytest.mark.parametrize("name", ["training.json", "training.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damaged_files_are_named(tmp_path, name, damage):
    make(tmp_path, 3)
    path = make(tmp_path, 6) / name
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(content[:middle] + (flipped if damage == "flipped" else b""))
    named = "checkpoint-6/" if name == "manifest.json" else f"checkpoint-6/{name}"
    with pytest.raises(CheckpointError, match=named):
        check(path.parent)
    with pytest.warns(UserWarning, match=named):
        assert latest(tmp_path).name == "checkpoint-3"


@pytest.mark.parametrize("name", NEEDED)
def test_a_checkpoint_lists_what_a_training_needs_to_go_on(tmp_path, name):
    make(tmp_path, 3)
    path = make(tmp_path, 6) / "manifest.json"
    content = json.loads(path.read_text())
    del content["files"][name]
    path.write_text(json.dumps(content))
    with pytest.warns(UserWarning, match=f"checkpoint-6/manifest.json does not list {name}"):
        assert latest(tmp_path).name == "checkpoint-3"


@pytest.mark.parametrize("content", ["[" * 100_000, "[]", '{"format": 1, "files": 3}', '{"format": 1, "files": [3]}'])
def test_a_strange_manifest_is_damaged(tmp_path, content):
    (make(tmp_path, 3) / "manifest.json").write_text(content)
    (tmp_path / "checkpoint-\u00b2").mkdir()
    with pytest.warns(UserWarning, match="checkpoint-3/manifest.json is missing or damaged"):
        assert latest(tmp_path) is None


def test_a_sharded_checkpoint_has_its_weights_with_each_process(tmp_path):
    path = make(tmp_path, 3)
    for name in ("model.safetensors", "pruner.safetensors"):
        (path / name).unlink()
    write_manifest(path, step=3, sharded=True)
    check(path)


def test_the_recipe_is_noted(tmp_path):
    path = make(tmp_path, 3)
    assert recipe_of(path) == {}
    write_manifest(path, step=3, recipe={"method": "l2"})
    assert recipe_of(path) == {"method": "l2"}


def test_checkpoints_of_other_formats_are_passed_over(tmp_path):
    path = make(tmp_path, 3) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.warns(UserWarning, match="has format 2, this version reads 1"):
        assert latest(tmp_path) is None


def test_as_many_processes_go_on_as_stopped(tmp_path):
    path = make(tmp_path / "checkpoints", 3)
    check_processes(path, 1)
    write_manifest(path, step=3, processes=2)
    with pytest.raises(CheckpointError, match="in 2 processes, and there are 1; go on with 2: torchrun"):
        check_processes(path, 1)


def test_a_manifest_does_not_lead_out_of_its_folder(tmp_path):
    (tmp_path / "secret").write_text("secret")
    path = make(tmp_path, 3) / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"files": content["files"] | {"../secret": {"bytes": 6, "sha256": "0"}}}))
    with pytest.raises(CheckpointError, match="checkpoint-3/secret is missing"):
        check(path.parent)


def test_reading_a_checkpoint_runs_no_pickle(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    folder = make(tmp_path, 3)
    for name in ("optimizer.pt", "rng_state.pth", "training.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    write_manifest(folder)
    check(folder)
    with pytest.raises(Exception, match=r"[Hh]eader"):
        load_state(folder / "training")
    assert not (tmp_path / "executed").exists()


def test_old_checkpoints_are_deleted_but_never_the_newest(tmp_path):
    for step in (3, 6, 9, 12):
        make(tmp_path, step)
    rotate(tmp_path, 9, keep=2)  # 12 lies ahead: damaged, and passed over by the training that goes on
    assert [step_of(path) for path in checkpoints(tmp_path)] == [6, 9, 12]
    rotate(tmp_path, 12, keep=None)
    assert len(checkpoints(tmp_path)) == 3
    rotate(tmp_path, 12, keep=0)
    assert [step_of(path) for path in checkpoints(tmp_path)] == [12]


def test_a_checkpoint_takes_the_place_of_a_damaged_one(tmp_path):
    (make(tmp_path, 3) / "training.json").unlink()
    check(make(tmp_path, 3))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-3"]


class Tied(torch.nn.Module):
    """Two names for one weight, and a buffer."""

    def __init__(self, size=2):
        super().__init__()
        self.first, self.second = torch.nn.Linear(size, size, bias=False), torch.nn.Linear(size, size, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))


def test_weights_that_share_memory_are_stored_once(tmp_path):
    model, other = Tied(), Tied()
    model.seen += 5
    assert list(weights_of(model)) == ["seen", "first.weight"]
    save_tensors(weights_of(model), tmp_path / module.MODEL_FILE)
    load_weights(other, tmp_path)
    assert torch.equal(other.second.weight, model.first.weight)
    assert other.seen.item() == 5
    with pytest.raises(CheckpointError, match="of another model: first.weight does not fit"):
        load_weights(Tied(3), tmp_path)
    with pytest.raises(CheckpointError, match="of another model"):
        load_weights(torch.nn.Linear(2, 2), tmp_path)


def test_the_order_of_a_state_is_kept(tmp_path):
    save_state(tmp_path / "state", OrderedDict([("b", 1), ("a", 2)]))
    assert list(load_state(tmp_path / "state")) == ["b", "a"]
