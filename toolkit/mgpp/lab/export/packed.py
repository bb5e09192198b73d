"""Pack weights: store one bit a weight and the values that are not zero; unpacking gives back every bit.

Format 1. A matrix `P.weight` with zeros is stored as four tensors, everything else as it is:

    P.shape         int64: the sizes of `P.weight`, (…, rows, columns)
    P.bitmask       uint8, (…, rows, ceil(columns / 8)): bit j % 8, from the lowest, of byte j // 8 of a row is 1 where
                    the weight of column j is stored; bits beyond the last column are 0
    P.row_offsets   int64, a number a row: how many values are stored before the row
    P.compressed    in the weights' own dtype: the stored values, row by row

What is stored is every weight whose bits are not all 0. So NaN, infinities and -0.0 come back bit for bit, and +0.0 is
what costs a bit. A matrix `N` whose name does not end in `.weight`, such as those of experts, is stored in the same
way as `N/shape`, `N/bitmask`, `N/row_offsets` and `N/compressed`. No plain tensor may have a name that ends so. The
layout is that of `sparse-bitmask` in the compressed-tensors library, which has no sparse compressors since version
0.15; 0.13 reads these files.

The file is called `model.packed.safetensors`, which `from_pretrained` does not take for a plain model.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

PARTS = ("shape", "bitmask", "row_offsets", "compressed")
_ENDINGS = tuple(f"{mark}{part}" for mark in "./" for part in PARTS)
_BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class ExportError(ValueError):
    """A model can't be exported, or an export can't be read."""


def pack_tensors(tensors: Mapping[str, Tensor], targets: Collection[str]) -> dict[str, Tensor]:
    """Return tensors by name, those of `targets` packed where that takes less room.

    Args:
        tensors: of a model.
        targets: names of what may be packed.

    Raises:
        ExportError: if a name ends as those of packed tensors do, such as `.bitmask`.

    Example:
        >>> packed = pack_tensors({"a.weight": torch.eye(9), "a.bias": torch.ones(9)}, ["a.weight"])
        >>> {name: tuple(tensor.shape) for name, tensor in packed.items()}
        {'a.shape': (2,), 'a.bitmask': (9, 2), 'a.row_offsets': (9,), 'a.compressed': (9,), 'a.bias': (9,)}
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(_ENDINGS):
            raise ExportError(f"{name}: a plain tensor of this name would be taken for a packed one; rename it")
        if name in targets and _is_smaller_packed(tensor):
            prefix = name.removesuffix("weight") if name.endswith(".weight") else f"{name}/"
            packed |= {f"{prefix}{part}": value for part, value in _pack(tensor).items()}
        else:
            packed[name] = tensor
    return packed


def packed_bytes(shape: Sequence[int], stored: int, itemsize: int) -> int:
    """Return the bytes of a packed matrix: values, bits, row offsets, sizes.

    Args:
        shape: of the matrix.
        stored: how many of its weights have bits that are not all 0.
        itemsize: bytes a weight.

    Example:
        >>> packed_bytes((384, 384), 14746, 4), 384 * 384 * 4
        (80504, 589824)
    """
    rows = math.prod(shape[:-1])
    return stored * itemsize + rows * ((shape[-1] + 7) // 8) + 8 * rows + 8 * len(shape)


def _is_smaller_packed(weight: Tensor) -> bool:
    if weight.numel() == 0 or weight.ndim == 0 or weight.itemsize not in _BITS:
        return False
    stored = int(weight.contiguous().view(_BITS[weight.itemsize]).count_nonzero())
    return packed_bytes(weight.shape, stored, weight.itemsize) < weight.nbytes


def _pack(weight: Tensor) -> dict[str, Tensor]:
    weight = weight.contiguous()
    stored = weight.view(_BITS[weight.itemsize]) != 0
    counts = stored.view(-1, stored.shape[-1]).sum(1)
    return {
        "shape": torch.tensor(weight.shape),
        "bitmask": torch.from_numpy(np.packbits(stored.numpy(), axis=-1, bitorder="little")),
        "row_offsets": counts.cumsum(0) - counts,
        "compressed": weight.view(_BITS[weight.itemsize])[stored].view(weight.dtype),
    }


def unpack_tensors(packed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors that `pack_tensors` was given, bit for bit.

    Raises:
        ExportError: if parts are missing, or their sizes, bits and values do not fit each other.

    Example:
        >>> tensors = {"a.weight": torch.tensor([[0.0, -0.0, float("nan")] * 9])}
        >>> unpacked = unpack_tensors(pack_tensors(tensors, tensors))
        >>> torch.equal(unpacked["a.weight"].view(torch.int32), tensors["a.weight"].view(torch.int32))
        True
    """
    prefixes = [name.removesuffix("bitmask") for name in packed if name.endswith((".bitmask", "/bitmask"))]
    taken = {f"{prefix}{part}" for prefix in prefixes for part in PARTS}
    tensors = {name: tensor for name, tensor in packed.items() if name not in taken}
    for prefix in prefixes:
        name = f"{prefix}weight" if prefix.endswith(".") else prefix.removesuffix("/")
        if name in packed:
            raise ExportError(f"{name} is there both packed and plain")
        try:
            tensors[name] = _unpack(*(packed[f"{prefix}{part}"] for part in PARTS))
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            raise ExportError(f"{name} can't be unpacked: {error!r}") from error
    return tensors


def _unpack(sizes: Tensor, bitmask: Tensor, offsets: Tensor, values: Tensor) -> Tensor:
    *leading, columns = sizes.tolist()
    if list(bitmask.shape) != [*leading, (columns + 7) // 8]:
        raise ValueError(f"its bitmask has the shape {list(bitmask.shape)}, for weights of shape {[*leading, columns]}")
    bits = np.unpackbits(bitmask.numpy(), axis=-1, bitorder="little").reshape(math.prod(leading), -1)
    stored = torch.from_numpy(bits[:, :columns].astype(bool))
    counts = stored.sum(1)
    if bits.sum() != len(values) or counts.sum() != len(values) or not torch.equal(offsets, counts.cumsum(0) - counts):
        raise ValueError(f"its bitmask, row_offsets and {len(values)} values do not agree")
    flat = torch.zeros(stored.shape, dtype=_BITS[values.itemsize])
    flat[stored] = values.view(flat.dtype)
    return flat.view(values.dtype).view(*leading, columns)
