import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgpp.prior import chunks as chunks_module
from mgpp.prior.chunks import chunks


@pytest.mark.parametrize("make", [np.zeros, torch.zeros])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (1000,), (7, 300), (300, 7), (3, 0), (2, 3, 50)])
def test_views_cover_everything_once(make, shape, monkeypatch):
    monkeypatch.setattr(chunks_module, "CHUNK", 64)
    array, other = make(shape), make(shape)
    for part, twin in chunks(array, other):
        part += 1
        assert twin.shape == part.shape
    assert bool((array == 1).all())
    assert bool((other == 0).all())


@given(st.integers(1, 40), st.integers(1, 40))
def test_pieces_of_a_transposed_matrix_are_views_in_the_order_of_its_index(rows, columns):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks_module, "CHUNK", 64)
        whole = torch.arange(rows * columns).view(columns, rows).T
        pieces = [piece for piece, _ in chunks(whole, torch.zeros(rows, columns))]
    assert torch.equal(torch.cat([piece.reshape(-1) for piece in pieces]), whole.reshape(-1))
    assert all(piece.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr() for piece in pieces)
    assert all(piece.numel() % 8 == 0 for piece in pieces[:-1])
