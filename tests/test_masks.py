import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgpp.prior import chunks
from mgpp.prior.chunks import Buffers
from mgpp.pruning.masks import apply_, pack, prune_, unpack, zero_
from mgpp.pruning.threshold import Cut, find_cut

levels = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.5, float("inf"), -float("inf"), 1e-40])
values = st.lists(st.lists(levels, min_size=1, max_size=40), min_size=1, max_size=4)


@pytest.fixture(autouse=True, scope="module")
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "CHUNK", 16)
        yield


def textbook_masks(parts, k):
    """Sort by (magnitude, position) and cut the first k: a stable sort keeps the order of positions."""
    flat = torch.cat([part.flatten() for part in parts]).abs().double()
    mask = torch.ones(len(flat), dtype=torch.bool)
    mask[flat.argsort(stable=True)[:k]] = False
    return mask.split([part.numel() for part in parts])


def prune(weights, k, old=None, **options):
    cut = find_cut(weights, k) if k else Cut(0.0, 0, 0)
    return prune_(weights, cut, k - cut.below, old or {}, **options)


@given(st.lists(st.booleans(), max_size=100))
def test_packs_like_numpy_and_back(kept):
    bits = pack(torch.tensor(kept, dtype=torch.bool))
    assert bits.numpy().tolist() == np.packbits(np.array(kept, dtype=bool), bitorder="little").tolist()
    assert unpack(bits, len(kept)).tolist() == kept


@given(values, st.data())
def test_equals_the_textbook_bit_by_bit(lists, data):
    parts = [torch.tensor(part) for part in lists]
    k = data.draw(st.integers(0, sum(map(len, lists))))
    weights = {str(i): part.clone() for i, part in enumerate(parts)}
    masks = prune(weights, k).masks
    for part, weight, bits, kept in zip(parts, weights.values(), masks.values(), textbook_masks(parts, k), strict=True):
        assert torch.equal(unpack(bits, len(part)), kept)
        assert torch.equal(weight[kept].view(torch.int32), part[kept].view(torch.int32))
        assert not weight[~kept].view(torch.int32).any()  # +0, also where -0 or an infinity was


@given(values, st.data())
def test_counts_regrowth_and_churn(lists, data):
    weights = {str(i): torch.tensor(part) for i, part in enumerate(lists)}
    total = sum(map(len, lists))
    first = prune(weights, data.draw(st.integers(0, total)))
    was = torch.cat([unpack(first.masks[name], len(weight)) for name, weight in weights.items()])
    for weight in weights.values():
        weight += data.draw(levels.filter(np.isfinite))
    before = torch.cat(list(weights.values()))
    second = prune(weights, data.draw(st.integers(0, total)), first.masks)
    now = torch.cat([unpack(second.masks[name], len(weight)) for name, weight in weights.items()])
    assert second.regrown == int((before[~was] != 0).sum())
    assert second.changed == int((was != now).sum())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_any_float_type_and_any_strides(dtype):
    whole = torch.randn(30, 7).to(dtype)
    weights = {"a": whole.clone().T, "b": whole.clone()[::2], "c": torch.tensor(0.5, dtype=dtype)}
    kept = textbook_masks(list(weights.values()), 150)
    masks = prune(weights, 150).masks
    for (name, weight), expected in zip(weights.items(), kept, strict=True):
        assert torch.equal(unpack(masks[name], weight.numel()), expected)
        assert torch.equal(weight.flatten() != 0, expected)
    for weight in weights.values():
        weight.fill_(2.0)
    apply_(weights, masks)
    assert all(torch.equal(weight.flatten() != 0, mask) for weight, mask in zip(weights.values(), kept, strict=True))


def test_what_is_gone_stays_gone_and_counts_first():
    old = {"w": pack(torch.tensor([True, False, True, True]))}
    weights = {"w": torch.tensor([0.0, 0.0, 0.0, 1.0])}
    masks = prune_(weights, Cut(0.0, 0, 3), 1, old, allow_regrowth=False).masks
    assert unpack(masks["w"], 4).tolist() == [False, False, True, True]


def test_zero_means_plus_zero():
    weight = torch.tensor([float("nan"), float("-inf"), -1.0, 2.0])
    zero_(weight, torch.tensor([False, False, False, True]), Buffers())
    assert weight.tolist() == [0, 0, 0, 2]
    assert not weight.signbit().any()


def test_a_mask_takes_one_bit_a_weight():
    weight = torch.randn(1001)
    assert prune({"w": weight}, 500).masks["w"].nbytes == 126
