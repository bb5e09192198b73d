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

from mgpp.lab.training.checkpoints import (
    check,
    check_processes,
    checkpoint_folder,
    checkpoints,
    latest,
    rotate,
    step_of,
    tidy,
    write_manifest,
)
from mgpp.lab.training.states import (
    CheckpointError,
    fill_,
    load_state,
    random_state,
    random_state_kept,
    save_state,
    set_random_state,
    weights_of,
)
from mgpp.runs.files import whole_folder


def make(folder, step):
    """A checkpoint with two files."""
    with whole_folder(checkpoint_folder(folder, step)) as hidden:
        save_state(hidden / "training", {"step": step, "weight": torch.arange(3.0)})
        write_manifest(hidden, step=step)
    return checkpoint_folder(folder, step)


def steps(folder):
    return [step_of(path) for path in checkpoints(folder)]


def same(first, second):
    """Whether nested data are equal, tensors and arrays bit for bit, types included."""
    if isinstance(first, torch.Tensor):
        return isinstance(second, torch.Tensor) and first.dtype == second.dtype and torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    if isinstance(first, dict):
        return list(first) == list(second) and all(same(first[key], second[key]) for key in first)
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
        "ordered": dict(OrderedDict([("b", 1), ("a", 2)])),
    }
    save_state(tmp_path / "state", state)
    assert same(load_state(tmp_path / "state"), state)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json", "state.safetensors"]
    with pytest.raises(TypeError, match="set"):
        save_state(tmp_path / "state", {"seen": {1, 2}})


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


@settings(max_examples=100)
@given(NESTED)
def test_every_state_comes_back_whatever_its_keys_are_called(tmp_path_factory, state):
    path = tmp_path_factory.getbasetemp() / "any-state"
    save_state(path, state)
    assert same(load_state(path), state)


def test_the_random_generators_go_on_where_they_were(tmp_path):
    def draw():
        return random.random(), np.random.rand(), torch.rand(3).tolist()  # noqa: NPY002

    save_state(tmp_path / "random", random_state())
    first, second = draw(), draw()
    set_random_state(load_state(tmp_path / "random"))
    assert draw() == first
    with random_state_kept():
        draw()
    assert draw() == second


def test_a_checkpoint_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_folder(tmp_path / "checkpoint-3") as hidden:
        (hidden / "half").write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    for name in (".checkpoint-3.writing", ".checkpoint-3.deleting"):
        (tmp_path / name).mkdir()
    assert checkpoints(tmp_path) == []
    tidy(tmp_path, 0, None)
    assert list(tmp_path.iterdir()) == []


def test_old_checkpoints_are_deleted_but_never_the_newest(tmp_path):
    for step in (3, 6, 9, 12, 100):
        make(tmp_path, step)
    (tmp_path / "checkpoint-final").mkdir()
    assert latest(tmp_path).name == "checkpoint-100"
    rotate(tmp_path, 12, keep=2)  # 100 lies ahead: damaged, and passed over by the training that resumed
    assert steps(tmp_path) == [9, 12, 100]
    rotate(tmp_path, 100, keep=None)
    assert len(steps(tmp_path)) == 3
    rotate(tmp_path, 100, keep=0)
    assert steps(tmp_path) == [100]


@pytest.mark.parametrize("name", ["training.json", "training.safetensors", "manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_damaged_files_are_named_and_the_checkpoint_before_is_used(tmp_path, name, damage):
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
    check(make(tmp_path, 6))


def test_checkpoints_of_other_formats_are_passed_over(tmp_path):
    path = make(tmp_path, 3) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.warns(UserWarning, match="format"):
        assert latest(tmp_path) is None


def test_as_many_processes_go_on_as_stopped_and_sharded_as_before(tmp_path):
    path = make(tmp_path / "checkpoints", 3)
    check_processes(path, 1, False)
    write_manifest(path, processes=2, sharded=True)
    check_processes(path, 2, True)
    with pytest.raises(CheckpointError, match="--nproc-per-node 2"):
        check_processes(path, 1, True)
    with pytest.raises(CheckpointError, match="sharded"):
        check_processes(path, 2, False)


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


class Tied(torch.nn.Module):
    """Two names for one weight, and a buffer."""

    def __init__(self, size=2):
        super().__init__()
        self.first, self.second = torch.nn.Linear(size, size, bias=False), torch.nn.Linear(size, size, bias=False)
        self.second.weight = self.first.weight
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))


def test_weights_that_share_memory_are_stored_once():
    model, other = Tied(), Tied()
    model.seen += 5
    assert list(weights_of(model)) == ["seen", "first.weight"]
    fill_(weights_of(other), weights_of(model))
    assert torch.equal(other.second.weight, model.first.weight)
    assert other.seen.item() == 5
    for stranger, name in ((Tied(3), "first.weight"), (torch.nn.Linear(2, 2), "bias")):
        with pytest.raises(CheckpointError, match=name):
            fill_(weights_of(stranger), weights_of(model))
