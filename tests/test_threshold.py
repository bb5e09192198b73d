import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mgpp import magnitude_threshold
from mgpp.prior import chunks
from mgpp.pruning import threshold as threshold_module
from mgpp.pruning.threshold import Cut, find_cut

levels = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.5, float("inf"), -float("inf"), 1e-40])
tensors = st.lists(st.lists(levels, min_size=1, max_size=8).map(torch.tensor), min_size=1, max_size=4)


def textbook(parts, k):
    return torch.cat([part.flatten().abs().double() for part in parts]).kthvalue(k).values.item()


@given(tensors, st.data(), st.none() | st.sampled_from([0.0, 1e-40, 1.0, 1.003, 2.0, 3.0, math.inf, math.nan]))
def test_equals_kthvalue_whatever_is_expected(parts, data, expected):
    total = sum(part.numel() for part in parts)
    k = data.draw(st.integers(1, total))
    assert magnitude_threshold(parts, k, expected=expected) == textbook(parts, k)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=60), st.data())
def test_counts_what_is_below_and_what_ties(values, data):
    k = data.draw(st.integers(1, len(values)))
    size = torch.tensor(values).abs()
    threshold = textbook([size], k)
    below, ties = int((size < threshold).sum()), int((size == threshold).sum())
    assert find_cut({"w": torch.tensor(values)}, k) == Cut(threshold, below, ties)


@pytest.fixture
def tiny_memory(monkeypatch):
    """Chunks, samples and collections so small that every branch is taken."""
    monkeypatch.setattr(chunks, "CHUNK", 104)
    for name, value in (("SMALLEST_SAMPLE", 16), ("LARGEST_SAMPLE", 16), ("MOST_CANDIDATES", 60)):
        monkeypatch.setattr(threshold_module, name, value)


def adversarial(size):
    """Weights that a strided sample misjudges, and ones with many ties."""
    spike = torch.full((size,), 0.5)
    spike[:: max(1, size // 16) | 1] = 7.0  # in step with the sample
    steps = torch.arange(size, dtype=torch.float32)
    return {
        "random": torch.randn(size),
        "bfloat16": torch.randn(size).bfloat16(),
        "sorted": steps,
        "two levels": (steps % 3 == 0).float(),
        "all equal": torch.full((size,), -0.25),
        "in step": spike,
        "tail": torch.cat([torch.zeros(size - 5), torch.tensor([1e-30, 1.0, -2.0, float("inf"), 3.0])]),
        "float64": torch.randn(size, dtype=torch.float64) * 1e-200,
    }


@pytest.mark.parametrize("name", adversarial(8))
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999, 1.0])
@pytest.mark.parametrize("wrong", [None, 0.7, 0.997, 1.002, 40.0])
def test_little_memory_and_bad_guesses_change_nothing(name, share, wrong, tiny_memory):
    whole = adversarial(2000)[name]
    parts = [whole[:700].reshape(7, 100).T, whole[700:701].reshape(()), whole[701:]]  # a view, a scalar, a vector
    k = max(1, round(share * 2000))
    exact = textbook(parts, k)
    assert magnitude_threshold(parts, k, expected=None if wrong is None else wrong * exact) == exact


def count_passes(monkeypatch):
    passes, between = [], threshold_module._Scan.between
    monkeypatch.setattr(threshold_module._Scan, "between", lambda *args: passes.append(1) or between(*args))
    return passes


def test_one_pass_is_enough_and_a_good_guess_needs_no_sample(monkeypatch):
    weights = {"w": torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))}
    passes = count_passes(monkeypatch)
    exact = magnitude_threshold(weights, 900_000)
    assert len(passes) == 1
    monkeypatch.setattr(threshold_module, "_sample", None)
    assert magnitude_threshold(weights, 900_000, expected=1.004 * exact) == exact
    assert len(passes) == 2


def test_memory_does_not_grow_with_the_weights():
    """The largest tensor that is made has the size of a chunk, a sample or a few candidates."""
    made = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and out._base is None:
                made.append(out.untyped_storage().nbytes())
            return out

    weight = torch.randn(8_000_000)
    with Watch():
        threshold = magnitude_threshold(weight, 7_200_000)
    assert threshold == weight.abs().kthvalue(7_200_000).values.item()
    own = weight.untyped_storage().nbytes()
    assert max(size for size in made if size != own) < own / 8


def test_matrices_and_mixed_types():
    parts = {"a": torch.tensor([[0.1, -3.0], [2.0, 0.5]]), "b": torch.tensor([0.1], dtype=torch.bfloat16)}
    assert magnitude_threshold(parts, 1) == pytest.approx(0.1, rel=1e-7)
    assert magnitude_threshold(parts, 2) == 0.10009765625  # 0.1 in bfloat16, larger than in float32


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"k={k}"):
        magnitude_threshold(torch.ones(3), k)


@pytest.mark.parametrize("values", [[1.0, math.nan], [math.nan, math.nan]])
def test_nan_is_refused_by_name(values):
    with pytest.raises(ValueError, match="layer.7"):
        magnitude_threshold({"layer.7": torch.tensor(values)}, 1)
