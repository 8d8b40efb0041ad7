"""Boxes, lines and frames refuse what cannot be."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from modal_gpu.errors import ContractError
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

fractions = st.floats(0, 1)


def box_of(a: float, b: float, c: float, d: float) -> Box:
    assume(abs(a - c) > 1e-6 and abs(b - d) > 1e-6)
    return Box(min(a, c), min(b, d), max(a, c), max(b, d))


boxes = st.builds(box_of, fractions, fractions, fractions, fractions)
LINE = OcrLine("a", 0.5, Box(0, 0, 1, 1))


@pytest.mark.parametrize(
    "sides",
    [
        (-0.1, 0, 1, 1),
        (0, 0, 1.1, 1),
        (0.5, 0, 0.5, 1),
        (0, 0.7, 1, 0.6),
        (0, 0, math.nan, 1),
        (0, 0, 640, 90),
    ],
)
def test_a_box_outside_the_frame_or_empty_is_refused(sides):
    with pytest.raises(ContractError, match="not inside"):
        Box(*sides)


@given(boxes, boxes)
def test_overlap_is_symmetric_and_at_most_one(a, b):
    assert a.overlap(b) == pytest.approx(b.overlap(a))
    assert 0 <= a.overlap(b) <= 1 + 1e-9
    assert a.overlap(a) == pytest.approx(1)


@given(boxes, boxes)
def test_a_union_holds_both(a, b):
    union = a.union(b)
    assert union.intersection(a) == pytest.approx(a.area) and union.intersection(b) == pytest.approx(b.area)


@pytest.mark.parametrize("confidence", [-0.01, 1.01, math.nan])
def test_a_confidence_outside_zero_to_one_is_refused(confidence):
    with pytest.raises(ContractError, match="confidence"):
        OcrLine("a", confidence, Box(0, 0, 1, 1))


@pytest.mark.parametrize(
    ("status", "lines", "error"),
    [
        ("ok", (), ""),
        ("empty", (LINE,), ""),
        ("failed", (), ""),
        ("ok", (LINE,), "no"),
        ("failed", (LINE,), "no"),
    ],
)
def test_a_status_matches_the_lines(status, lines, error):
    with pytest.raises(ContractError, match="status"):
        FrameOcr(0, status, lines, error)


def test_a_frame_of_lines_knows_its_status():
    assert FrameOcr.of(3, []).status == "empty" and FrameOcr.of(3, [LINE]).status == "ok"
