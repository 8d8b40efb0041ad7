"""Captions of finished segments are captions of the complete video."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.merging import captions_from_extents
from modal_gpu.captions.segments import captions_of_segments
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.extents import SegmentScores
from modal_gpu.extents.decoder import decode, settings_for
from modal_gpu.extents.predictor import predictions

MODEL = "extents-10"
LENGTH = 64


def scores(spans: list[tuple[int, int]], count: int) -> SegmentScores:
    """A sure network's scores of a video with captions in these ranges, one after another."""
    shown = np.zeros(count, int)
    for number, (start, end) in enumerate(spans, 1):
        shown[start:end] = number
    same = np.ones(count, np.float32)
    same[1:] = np.where(shown[1:] == shown[:-1], 0.99, 0.01)
    seconds = np.full(count, np.nan)
    changes = np.flatnonzero(shown[1:] != shown[:-1]) + 1
    seconds[changes] = changes / 10 - 0.03
    return SegmentScores(0, np.where(shown, 0.99, 0.01).astype(np.float32), same, seconds, MODEL, "")


def cut(whole: SegmentScores, start: int, end: int) -> SegmentScores:
    part = slice(start, end)
    return SegmentScores(start, whole.presence[part], whole.same[part], whole.change_seconds[part], MODEL, "")


def facts(captions: list[Caption]) -> list[tuple]:
    return [(c.start_index, c.end_index, c.start_seconds, c.end_seconds, c.zone) for c in captions]


def complete(whole: SegmentScores) -> list[tuple]:
    pairs = predictions(whole.presence, whole.same[1:])
    extents = decode(pairs, settings_for(MODEL))
    return facts(captions_from_extents(extents, len(whole), len(whole) / 10, whole.change_seconds[1:]))


def found(whole: SegmentScores, places: list[int], zone: int = 0) -> list[tuple]:
    count = len(whole)
    parts = [cut(whole, LENGTH * n, min(LENGTH * (n + 1), count)) for n in places]
    return facts(captions_of_segments(parts, count, count / 10, zone))


@st.composite
def videos(draw) -> SegmentScores:
    at, spans = 0, []
    while at < 4 * LENGTH:
        start = at + draw(st.integers(6, 30))
        at = start + draw(st.integers(6, 60))
        spans.append((start, at))
    return scores(spans, at + draw(st.integers(0, 20)))


@given(videos(), st.sets(st.integers(0, 3)))
def test_what_is_finished_is_in_the_result(whole: SegmentScores, places: set[int]):
    final = complete(whole)
    partial = found(whole, sorted(places, reverse=True))
    assert set(partial) <= set(final)
    inside = [one for one in final if any(LENGTH * n < one[0] and one[1] < LENGTH * (n + 1) for n in places)]
    assert set(inside) <= set(partial)


@given(videos())
def test_all_segments_give_the_result(whole: SegmentScores):
    assert found(whole, list(range(-(-len(whole) // LENGTH)))) == complete(whole)


@pytest.mark.parametrize(
    ("places", "expected"),
    [([0], [(10, 20)]), ([1], []), ([0, 1], [(10, 20), (50, 90)]), ([2], [(150, 160)]), ([], [])],
)
def test_a_caption_that_goes_on_beyond_is_left_out(places: list[int], expected: list[tuple[int, int]]):
    whole = scores([(10, 20), (50, 90), (120, 140), (150, 160)], 200)
    assert [one[:2] for one in found(whole, places)] == expected


def test_captions_are_in_their_zone_and_a_longer_video_than_known_is_taken():
    whole = scores([(10, 20), (50, 90)], 100)
    captions = captions_of_segments([whole], 90, 9.0, zone=2)
    assert [(c.start_index, c.zone) for c in captions] == [(10, 2), (50, 2)]
