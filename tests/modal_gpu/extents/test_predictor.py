"""The five label probabilities follow from presence and sameness, so they cannot contradict each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modal_gpu.contracts import CropRegion
from modal_gpu.extents.predictor import (
    LABELS,
    REVERSED_COLUMNS,
    Observation,
    PairBatch,
    StripHints,
    collect,
    predictions,
)

PROBABILITY = st.floats(0, 1, width=32)


def probabilities(shape):
    return arrays.arrays(np.float32, shape, elements=PROBABILITY)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(probabilities(n), probabilities(n - 1))))
def test_rows_sum_to_one_and_marginals_give_presence_back(values):
    presence, same = values
    result = predictions(presence, same)
    assert result.forward.shape == result.backward.shape == (len(presence) - 1, 5)
    assert np.allclose(result.forward.sum(axis=1), 1, atol=1e-5)
    assert (result.forward >= 0).all() and (result.forward <= 1).all()
    left = result.forward[:, [LABELS.index(x) for x in ("same", "different", "valid_empty")]].sum(axis=1)
    right = result.forward[:, [LABELS.index(x) for x in ("same", "different", "empty_valid")]].sum(axis=1)
    assert np.allclose(left, presence[:-1], atol=1e-5)
    assert np.allclose(right, presence[1:], atol=1e-5)


@given(st.integers(1, 30).flatmap(lambda n: st.tuples(probabilities(n), probabilities(n - 1))))
def test_backward_is_forward_of_the_reversed_video(values):
    presence, same = values
    ahead, reversed_video = predictions(presence, same), predictions(presence[::-1], same[::-1])
    assert np.allclose(ahead.backward[::-1], reversed_video.forward, atol=1e-6)
    assert np.allclose(ahead.backward[:, REVERSED_COLUMNS], ahead.forward)


def test_an_asymmetric_comparison_keeps_its_two_opinions():
    result = predictions(np.ones(2, np.float32), np.float32([0.9]), np.float32([0.2]))
    assert result.forward[0, 0] == pytest.approx(0.9)
    assert result.backward[0, 0] == pytest.approx(0.2)


def test_label_counts_name_every_label():
    result = predictions(np.float32([0, 1, 1, 1, 0]), np.float32([1, 1, 0, 1]))
    assert result.label_counts() == {
        "same": 1,
        "different": 1,
        "empty_empty": 0,
        "empty_valid": 1,
        "valid_empty": 1,
    }
    nothing = predictions(np.float32([1]), np.zeros(0, np.float32))
    assert nothing.label_counts() == dict.fromkeys(LABELS, 0)


def test_batches_must_follow_each_other():
    zeros = np.zeros(3, np.float32)
    assert collect([PairBatch(0, zeros, zeros), PairBatch(3, zeros, zeros)]).frame_count == 6
    with pytest.raises(ValueError, match="starts at frame 4"):
        collect([PairBatch(0, zeros, zeros), PairBatch(4, zeros, zeros)])


def test_frame_fractions_become_strip_fractions():
    hints = StripHints.from_frame_layout(
        CropRegion(0.1, 0.8, 0.9, 1.0),
        box_height=0.05,
        vertical_center=0.9,
        anchor_type="center",
        anchor_position=0.5,
        ignore_boxes=[(0.0, 0.0, 0.2, 0.1), (0.0, 0.9, 0.3, 1.0)],
        caption_boxes=[(0, []), (30, [(0.3, 0.85, 0.7, 0.95)])],
    )
    assert hints.line_height == pytest.approx(0.25)
    assert hints.vertical_center == pytest.approx(0.5)
    assert hints.anchor_position == pytest.approx(0.5)
    assert hints.ignore_boxes == (pytest.approx((0.0, 0.5, 0.25, 1.0)),)
    assert hints.observations[0] == Observation(0)
    assert hints.observations[1].caption_boxes == (pytest.approx((0.25, 0.25, 0.75, 0.75)),)
