import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mgpp import magnitude_threshold
from mgpp.pruning import threshold as threshold_module
from mgpp.pruning.threshold import smallest

levels = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.5, float("inf"), -float("inf"), 1e-40])
tensors = st.lists(st.lists(levels, min_size=1, max_size=8).map(torch.tensor), min_size=1, max_size=4)


def reference_masks(parts, k):
    """Sort by (magnitude, position) and cut the first k: a stable sort keeps the order of positions."""
    flat = torch.cat([part.flatten() for part in parts]).abs()
    order = sorted(range(len(flat)), key=lambda i: (flat[i].item(), i))
    mask = torch.ones(len(flat), dtype=torch.bool)
    mask[order[:k]] = False
    return mask.split([part.numel() for part in parts])


@given(tensors, st.data())
def test_equals_kthvalue_and_cuts_exactly_k(parts, data):
    total = sum(part.numel() for part in parts)
    k = data.draw(st.integers(1, total))
    expected = torch.cat([part.abs() for part in parts]).kthvalue(k).values.item()
    assert magnitude_threshold(parts, k) == expected
    masks, threshold = smallest({str(i): part for i, part in enumerate(parts)}, k)
    assert threshold == expected
    for mask, reference in zip(masks.values(), reference_masks(parts, k), strict=True):
        assert torch.equal(mask, reference)


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
def test_a_small_sample_changes_nothing(name, share, monkeypatch):
    monkeypatch.setattr(threshold_module, "SAMPLE", 16)
    monkeypatch.setattr(threshold_module, "CHUNK", 100)
    whole = adversarial(2000)[name]
    parts = [whole[:700].reshape(7, 100).T, whole[700:701].reshape(()), whole[701:]]  # a view, a scalar, a vector
    k = max(1, round(share * 2000))
    assert magnitude_threshold(parts, k) == whole.abs().double().kthvalue(k).values.item()
    masks, _ = smallest({str(i): part for i, part in enumerate(parts)}, k)
    assert sum(int((~mask).sum()) for mask in masks.values()) == k


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
    masks, threshold = smallest(parts, 2)
    assert threshold == pytest.approx(0.10009765625)  # 0.1 in bfloat16, larger than in float32
    assert masks["a"].tolist() == [[False, True], [True, True]]
    assert masks["b"].tolist() == [False]


def test_nothing_to_cut():
    masks, threshold = smallest({"a": torch.zeros(3)}, 0)
    assert masks["a"].all()
    assert threshold == 0


@pytest.mark.parametrize("k", [0, 4])
def test_k_out_of_range(k):
    with pytest.raises(ValueError, match=f"k={k} must be from 1"):
        magnitude_threshold(torch.ones(3), k)


def test_nan_is_refused_by_name():
    with pytest.raises(ValueError, match="layer.7 holds NaN"):
        magnitude_threshold({"layer.7": torch.tensor([1.0, float("nan")])}, 1)


def test_a_scalar_is_a_weight_like_any_other():
    masks, _ = smallest({"a": torch.tensor(5.0), "b": torch.tensor([1.0, 2.0])}, 1)
    assert masks["a"].item()
    assert masks["b"].tolist() == [False, True]


def test_what_is_gone_ranks_before_other_zeros():
    masks, threshold = smallest({"a": torch.tensor([0.0, 0.0, 1.0])}, 1, gone={"a": torch.tensor([False, True, False])})
    assert masks["a"].tolist() == [True, False, True]
    assert threshold == 0
