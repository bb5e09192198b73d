from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from mgpp.pruning.scope import split_evenly


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_parts_are_those_of_seats_handed_out_one_by_one(sizes):
    parts = [0] * len(sizes)
    for count in range(1, sum(sizes) + 1):
        parts[max(range(len(sizes)), key=lambda i: (Fraction(sizes[i], 2 * parts[i] + 1), -i))] += 1
        assert split_evenly(count, sizes) == parts
    assert parts == sizes
