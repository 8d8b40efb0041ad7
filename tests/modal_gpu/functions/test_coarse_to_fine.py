"""Full frames are read coarse to fine: every other one, then the rest until the layout is certain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.functions import coarse_to_fine as order
from modal_gpu.functions.coarse_to_fine import coarse_to_fine, spread
from modal_gpu.media.frames import FullFrame

IMAGE = np.zeros((4, 4, 3), np.uint8)


def frames(count: int = 8) -> list[FullFrame]:
    return [FullFrame(10 * place, float(place), IMAGE) for place in range(count)]


def read(enough: int = 100, coarse: range = range(0, 80, 20)) -> list[int]:
    """Return the indices in the order of reading, if the layout is certain after ``enough`` frames."""
    done: list[int] = []
    for frame in coarse_to_fine(frames(), coarse, lambda: len(done) >= enough):
        done.append(frame.index)
    return done


def test_every_other_frame_is_read_first_and_then_the_rest_spread_over_the_video():
    assert read() == [0, 20, 40, 60, 10, 50, 30, 70]


@pytest.mark.parametrize("enough", [1, 4])
def test_the_rest_is_not_read_if_the_layout_is_certain(enough):
    assert read(enough) == [0, 20, 40, 60]


def test_reading_ends_as_soon_as_the_layout_is_certain():
    assert read(6) == [0, 20, 40, 60, 10, 50]


def test_frames_without_room_to_wait_are_read_in_their_place(monkeypatch):
    monkeypatch.setattr(order, "_WAITING_BYTES", 2 * IMAGE.nbytes)
    assert read() == [0, 20, 40, 50, 60, 70, 10, 30]


@given(st.integers(0, 200))
def test_each_place_comes_once_and_each_beginning_is_spread(count):
    places = spread(count)
    assert sorted(places) == list(range(count))
    if count > 3:
        assert max(places[: count // 2]) >= count // 2 > min(places[: count // 2])
