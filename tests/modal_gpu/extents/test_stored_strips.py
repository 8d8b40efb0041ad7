"""Stored strips are loaded when they are needed, and those around a place are found whatever is damaged."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.extents.stored_strips import StoredStrips


class Shelf:
    """Strips that hold their index; ``damaged`` ones cannot be used."""

    def __init__(self, damaged: frozenset[int] = frozenset()) -> None:
        self.damaged = damaged
        self.loaded: list[int] = []

    def __call__(self, indices):
        self.loaded += indices
        return [None if index in self.damaged else np.full((2, 2), index) for index in indices]


def test_only_strips_that_are_new_in_a_request_are_loaded():
    shelf = Shelf()
    strips = StoredStrips(range(0, 1000, 10), shelf)
    assert shelf.loaded == []
    assert list(strips.nearest(505, 5)) == [490, 500, 510, 520, 530]
    assert list(strips.nearest(515, 5)) == [500, 510, 520, 530, 540]
    assert shelf.loaded == [490, 500, 510, 520, 530, 540]
    first = strips.nearest(0, 5)
    strips.nearest(515, 5)
    assert list(first) == [0, 10, 20, 30, 40], "a later request does not change what an earlier one returned"
    assert len(shelf.loaded) == 6 + 5 + 5, "strips of earlier requests are not kept"


@given(
    st.sets(st.integers(0, 60), max_size=40),
    st.sets(st.integers(0, 60), max_size=40),
    st.lists(st.integers(-5, 70), min_size=1, max_size=4),
    st.integers(1, 12),
)
def test_damaged_strips_count_as_not_there(indices, damaged, places, count):
    strips = StoredStrips(sorted(indices), Shelf(frozenset(damaged)))
    intact = StoredStrips(sorted(indices - damaged), Shelf())
    for place in places:
        found = strips.nearest(place, count)
        assert list(found) == list(intact.nearest(place, count))
        assert len(found) == min(count, len(indices - damaged))
        assert all((luma == index).all() for index, luma in found.items())


def test_a_video_without_stored_strips_has_none():
    assert StoredStrips().nearest(256, 31) == {}
