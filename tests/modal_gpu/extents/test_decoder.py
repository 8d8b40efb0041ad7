"""The decoder recovers clean sequences, ignores single bad pairs and always returns valid ranges."""

import time

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modal_gpu.extents.decoder import STROKES, DecoderSettings, decode
from modal_gpu.extents.predictor import REVERSED_COLUMNS, PairPredictions, predictions

SURE = 0.97


@st.composite
def timelines(draw, least=1):
    """Captions as (start, end) and the number of frames; neighbours of two frames or more may touch."""
    position, captions = 0, []
    for _ in range(draw(st.integers(0, 8))):
        start = position + draw(st.integers(0, 6))
        if captions and start == position and position - captions[-1][0] == 1:
            start += 1
        touching = bool(captions) and start == position
        position = start + draw(st.integers(max(least, 2) if touching else least, 9))
        captions.append((start, position))
    return captions, position + draw(st.integers(0, 6))


def clean(captions, count, sure=SURE):
    presence = np.full(count, 1 - sure, np.float32)
    same = np.full(max(0, count - 1), sure, np.float32)
    for start, end in captions:
        presence[start:end] = sure
        if start > 0:
            same[start - 1] = 1 - sure
    return predictions(presence, same)


def ranges(result, settings=None):
    return [(extent.start, extent.end) for extent in decode(result, settings)]


@given(timelines())
def test_clean_sequences_are_recovered_exactly(timeline):
    captions, count = timeline
    assume(count > 0)
    extents = decode(clean(captions, count))
    assert [(extent.start, extent.end) for extent in extents] == captions
    assert all(extent.confidence > 0.9 for extent in extents)


@given(
    st.integers(0, 40).flatmap(
        lambda n: st.tuples(
            arrays.arrays(np.float32, n + 1, elements=st.floats(0, 1, width=32)),
            *[arrays.arrays(np.float32, (n, 5), elements=st.floats(0, 1, width=32))] * 2,
        )
    )
)
def test_any_input_gives_sorted_disjoint_ranges_inside_the_video(values):
    presence, forward, backward = values
    extents = decode(PairPredictions(presence, forward, backward))
    edges = [edge for extent in extents for edge in (extent.start, extent.end)]
    assert edges == sorted(edges)
    assert all(0 <= extent.start < extent.end <= len(presence) for extent in extents)
    assert all(0 <= extent.confidence <= 1 + 1e-6 for extent in extents)


@given(timelines(least=4), st.data())
def test_one_bad_pair_away_from_the_ends_changes_nothing(timeline, data):
    """The bad pair may have any label but a sure 'different' between two equal frames in both directions:
    that is what a new caption without a gap looks like.
    """
    captions, count = timeline
    assume(count > 4)
    result = clean(captions, count)
    labels = result.forward.argmax(axis=1)
    steady = [
        i for i in range(1, count - 2) if labels[i] in (0, 2) and labels[i - 1] == labels[i] == labels[i + 1]
    ]
    assume(steady)
    pair = data.draw(st.sampled_from(steady))
    wrong = data.draw(st.sampled_from([2, 3, 4] if labels[pair] == 0 else [0, 1, 3, 4]))
    row = np.full(5, (1 - SURE) / 4, np.float32)
    row[wrong] = SURE
    result.forward[pair] = row
    result.backward[pair] = row[list(REVERSED_COLUMNS)]
    assert ranges(result) == captions


@pytest.mark.parametrize(("settings", "seen"), [(DecoderSettings(), 0.1), (STROKES, 0.7)])
@given(timelines(least=4), st.data())
def test_one_direction_that_sees_a_change_is_outvoted(settings, seen, timeline, data):
    captions, count = timeline
    result = clean(captions, count)
    inside = [i for start, end in captions for i in range(start, end - 1)]
    assume(inside)
    pair = data.draw(st.sampled_from(inside))
    result.forward[pair] = np.float32([1 - seen, seen, 0, 0, 0])
    assert ranges(result, settings) == captions


def test_a_doubt_that_stands_out_is_a_change_and_one_among_others_is_not():
    result = clean([(2, 30)], 35, sure=0.999)
    result.forward[14] = result.backward[14] = np.float32([0.75, 0.25, 0, 0, 0])
    assert ranges(result) == [(2, 15), (15, 30)]
    result.forward[2:29] = result.backward[2:29] = np.float32([0.75, 0.25, 0, 0, 0])
    assert ranges(result) == [(2, 30)]


@pytest.mark.parametrize("at", [0, 5, 9])
def test_a_one_frame_caption_survives(at):
    assert ranges(clean([(at, at + 1)], 10)) == [(at, at + 1)]


def test_a_cross_fade_over_several_pairs_is_one_change():
    result = clean([(2, 10), (10, 20)], 25)
    faded = np.float32([0.55, 0.45, 0, 0, 0])
    for pair in (8, 9, 10):
        result.forward[pair], result.backward[pair] = faded, faded
    assert ranges(result) in ([(2, 9), (9, 20)], [(2, 10), (10, 20)], [(2, 11), (11, 20)])


def test_a_frame_between_two_captions_is_their_change():
    assert len(ranges(clean([(2, 10), (10, 11), (11, 20)], 25))) == 2


def test_a_video_of_one_frame_goes_by_presence():
    assert ranges(predictions(np.float32([0.9]), np.zeros(0, np.float32))) == [(0, 1)]
    assert ranges(predictions(np.float32([0.1]), np.zeros(0, np.float32))) == []
    assert ranges(predictions(np.zeros(0, np.float32), np.zeros(0, np.float32))) == []


def test_less_sure_pairs_give_less_confidence():
    sure, unsure = decode(clean([(3, 9)], 12))[0], decode(clean([(3, 9)], 12, sure=0.8))[0]
    assert unsure.confidence < sure.confidence


def test_three_hours_are_decoded_in_a_few_seconds():
    captions = [(30 * k, 30 * k + 25) for k in range(3600)]
    result = clean(captions, 108_000)
    began = time.process_time()
    assert ranges(result) == captions
    assert time.process_time() - began < 5
