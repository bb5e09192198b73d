import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgpp.lab.export.packed import ExportError, pack_tensors, packed_bytes, unpack_tensors

FLOATS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
WHOLE = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@given(
    shape=st.lists(st.integers(0, 19), max_size=3),
    dtype=st.sampled_from(FLOATS),
    zeros=st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    seed=st.integers(0, 2**32),
)
def test_any_tensor_comes_back_bit_for_bit(shape, dtype, zeros, seed):
    generator = torch.Generator().manual_seed(seed)
    whole = WHOLE[torch.empty((), dtype=dtype).itemsize]
    info = torch.iinfo(whole)
    bits = torch.randint(info.min, info.max, shape, dtype=whole, generator=generator)  # NaN of all kinds among them
    bits[torch.rand(shape, generator=generator) < zeros] = 0
    tensor = bits.view(dtype)
    packed = pack_tensors({"a.weight": tensor, "b.weight": tensor, "a.bias": tensor}, ["a.weight"])
    found = unpack_tensors(packed)
    assert set(found) == {"a.weight", "b.weight", "a.bias"}
    assert found["a.weight"].dtype == dtype
    assert torch.equal(found["a.weight"].view(whole), bits)
    size = sum(value.nbytes for name, value in packed.items() if name.startswith("a.") and name != "a.bias")
    assert size <= tensor.nbytes
    if "a.bitmask" in packed:
        assert size == packed_bytes(shape, int(bits.count_nonzero()), tensor.itemsize)


def test_the_bits_stand_as_documented():
    weight = torch.zeros(2, 10)
    weight[0, 0], weight[0, 9], weight[1, 1] = 1.0, 2.0, -0.0
    packed = pack_tensors({"a.weight": weight.repeat(1, 1)}, ["a.weight"])
    assert packed["a.bitmask"].tolist() == [[0b1, 0b10], [0b10, 0]]
    assert packed["a.row_offsets"].tolist() == [0, 2]
    assert packed["a.compressed"].tolist() == [1.0, 2.0, 0.0]
    assert packed["a.shape"].tolist() == [2, 10]


def test_the_bits_are_those_of_compressed_tensors():
    utils = pytest.importorskip("compressed_tensors.utils")
    weight = torch.randn(7, 61).masked_fill(torch.rand(7, 61) < 0.8, 0)
    packed = pack_tensors({"a.weight": weight}, ["a.weight"])
    assert torch.equal(utils.unpack_bitmasks(packed["a.bitmask"], [7, 61]), weight != 0)
    assert torch.equal(utils.pack_bitmasks(weight != 0), packed["a.bitmask"])


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("bitmask", lambda t: t[:-1]),
        ("bitmask", lambda t: t.int()),
        ("bitmask", lambda t: t ^ 1),
        ("bitmask", lambda t: t.flip(0)),
        ("bitmask", lambda t: t | 128),
        ("row_offsets", lambda t: t + 1),
        ("compressed", lambda t: t[:-1]),
        ("compressed", lambda t: t.view(1, -1)),
        ("shape", lambda t: -t),
        ("shape", lambda t: t * 2**40),
        ("shape", lambda t: t[:0]),
        ("shape", None),
        ("weight", lambda t: torch.ones(9, 61)),
    ],
)
def test_damage_is_named(part, change):
    weight = torch.randn(9, 61) * (torch.rand(9, 61) < 0.2)
    weight[0, 0] = 1.0
    packed = pack_tensors({"a.weight": weight}, ["a.weight"])
    if change is None:
        del packed[f"a.{part}"]
    else:
        packed[f"a.{part}"] = change(packed.get(f"a.{part}"))
    with pytest.raises(ExportError, match=r"a\.weight"):
        unpack_tensors(packed)


@pytest.mark.parametrize("name", ["a.bitmask", "a.shape"])
def test_names_that_packing_needs_are_refused(name):
    with pytest.raises(ExportError, match=name):
        pack_tensors({"a.weight": torch.zeros(99, 99), name: torch.zeros(1)}, ["a.weight"])


def test_matrices_of_any_name_and_number_of_dimensions_come_back():
    weight = torch.zeros(3, 40, 50)
    weight[1, 2, 3] = 1.5
    tensors = {"mlp.experts.gate_up_proj": weight, "self_attn.in_proj_weight": weight[0], "mlp.experts.weight": weight}
    packed = pack_tensors(tensors, tensors)
    assert not packed.keys() & tensors.keys()
    found = unpack_tensors(packed)
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
