"""The decoder of a running pass reports the extents that the whole video has."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from modal_gpu.extents.decoder import Extent, decode, settings_for
from modal_gpu.extents.live_decoder import LiveDecoder
from modal_gpu.extents.predictor import PairBatch, collect

MODEL = "extents-10"


def batches(presence: np.ndarray, same: np.ndarray, sizes: list[int]) -> list[PairBatch]:
    """Scores in batches of the given sizes, repeated as often as needed."""
    found, start = [], 0
    while start < len(presence):
        size = sizes[len(found) % len(sizes)]
        found.append(PairBatch(start, presence[start : start + size], same[start : start + size]))
        start += size
    return found


def live(parts: list[PairBatch]) -> list[Extent]:
    decoder = LiveDecoder(MODEL)
    found = [extent for part in parts for extent in decoder.add(part)]
    return found + decoder.finish()


@st.composite
def videos(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Captions and gaps of at least 8 frames, as a network sees them: sure inside, less so at the ends."""
    presence, same = [], []
    for kind in draw(st.lists(st.sampled_from("ec"), min_size=1, max_size=12)):
        length = draw(st.integers(8, 70))
        presence += [0.98 if kind == "c" else 0.01] * length
        same += [draw(st.sampled_from([0.02, 0.4])) if kind == "c" else 0.5] + [0.99] * (length - 1)
    return np.array(presence, np.float32), np.array(same, np.float32)


@settings(max_examples=60)
@given(videos(), st.lists(st.integers(1, 64), min_size=1, max_size=4))
def test_the_extents_are_those_of_the_whole_video_whatever_the_batches(video, sizes: list[int]):
    parts = batches(*video, sizes)
    whole = decode(collect(parts), settings_for(MODEL))
    found = live(parts)
    assert [(e.start, e.end) for e in found] == [(e.start, e.end) for e in whole]


def test_an_extent_is_reported_soon_after_its_end():
    presence = np.array([0.01] * 20 + [0.98] * 30 + [0.01] * 40, np.float32)
    decoder = LiveDecoder(MODEL)
    seen = {}
    for part in batches(presence, np.full(90, 0.99, np.float32), [5]):
        for extent in decoder.add(part):
            seen[extent.start, extent.end] = part.first_index + len(part.presence)
    assert list(seen) == [(20, 50)] and seen[20, 50] <= 70
    assert decoder.finish() == []


def test_an_endless_caption_is_given_up_so_that_work_and_memory_stay_bounded():
    decoder = LiveDecoder(MODEL)
    for part in batches(np.full(9000, 0.98, np.float32), np.full(9000, 0.99, np.float32), [500]):
        assert decoder.add(part) == []
    assert decoder.open_index >= 3000 and len(decoder._presence) <= 6100


def test_no_frames_have_no_extents():
    assert LiveDecoder(MODEL).finish() == []
