"""A prune event removes exactly what sorting says."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mgpp.pruning.masks import remove_lowest_, unpack
from mgpp.pruning.sharded.peers import Peers, PeersError
from mgpp.pruning.sharded.shards import Shards

TIED = st.lists(st.sampled_from([-2.0, -1.0, 0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=20)


def lowest(keys, count):
    """The indices of the `count` lowest; of equals the first."""
    return {index for _, index in sorted((key, index) for index, key in enumerate(keys))[:count]}


@given(TIED, st.data())
def test_exactly_the_lowest_go_by_magnitude_or_by_rank(values, data):
    count = data.draw(st.integers(0, len(values)))
    ranks = data.draw(
        st.none() | st.lists(st.sampled_from([-1.0, 0.0, 4.0]), min_size=len(values), max_size=len(values))
    )
    weight = torch.tensor(values)
    judged = None if ranks is None else {"w": torch.tensor(ranks)}
    cut, pruned = remove_lowest_(Shards({"w": weight}), count, ranks=judged)
    gone = lowest(ranks or [abs(value) for value in values], count)
    assert set((weight == 0).nonzero().flatten().tolist()) == gone
    assert unpack(pruned.masks["w"], len(values)).tolist() == [index not in gone for index in range(len(values))]
    if count:
        assert cut.threshold == max((ranks or [abs(value) for value in values])[index] for index in gone)


@given(TIED, st.data())
def test_what_is_gone_stays_gone_where_nothing_may_regrow(values, data):
    first = data.draw(st.integers(0, len(values)))
    second = data.draw(st.integers(first, len(values)))
    weight = torch.tensor(values)
    _, pruned = remove_lowest_(Shards({"w": weight}), first, allow_regrowth=False)
    gone = set((weight == 0).nonzero().flatten().tolist())
    remove_lowest_(Shards({"w": weight}), second, old=pruned.masks, removed=first, allow_regrowth=False)
    now = set((weight == 0).nonzero().flatten().tolist())
    assert gone <= now
    assert len(now) == second


def test_copies_that_disagree_are_refused():
    class Disagreeing(Peers):
        def check_same(self, what, *numbers):
            raise PeersError(f"{what} {numbers[0]}")

    weights = Shards({"w": torch.ones(3)})
    weights.copies = Disagreeing()
    with pytest.raises(PeersError, match=r"threshold"):
        remove_lowest_(weights, 1)
