"""Captions are found in strips, in vertical video and at any height that can be read."""

import pytest

from modal_gpu.layout.analysis import WHOLE_PICTURE, analyze_layout
from tests.modal_gpu.layout.readings import analyze, assert_holds, line, text, video


def test_a_picture_that_is_cropped_to_its_caption_line_has_captions_as_high_as_itself():
    frames = video(*([line(text(i), 0.54, height=0.6)] if i % 4 else [] for i in range(30)), step=10)
    layout = analyze_layout(frames, 1120, 90)
    assert layout.found and layout.confidence > 0.95 and layout.box_height == pytest.approx(0.6)
    assert_holds(layout, frames, {text(i) for i in range(30) if i % 4})


def test_a_strip_without_text_is_proposed_entirely():
    layout = analyze_layout(video(*([] for _ in range(30))), 1120, 90)
    assert not layout.found and layout.crop_region == WHOLE_PICTURE


def test_captions_a_fifth_of_the_picture_high_are_found():
    frames = video(*([line(text(i, 1), 0.83, height=0.21, char=0.08)] for i in range(12)), step=10)
    layout = analyze(frames)
    assert layout.found and layout.box_height == pytest.approx(0.21)
    assert_holds(layout, frames, {text(i, 1) for i in range(12)})


def test_two_tall_titles_are_not_captions():
    frames = video(*([line(text(i), 0.85, height=0.25)] if i in (0, 1) else [] for i in range(30)))
    assert not analyze(frames).found


def test_dust_is_judged_in_pixels_not_in_shares_of_the_frame():
    frames = video(*([line(text(i), 0.92, height=0.011, char=0.003)] for i in range(30)))
    assert analyze_layout(frames, 3840, 2160).found
    assert not analyze_layout(frames, 640, 360).found


def test_vertical_video_with_captions_in_the_middle():
    frames = video(*([line(text(i, 2), 0.62 - 0.1, height=0.035, char=0.04)] for i in range(20)))
    layout = analyze_layout(frames, 720, 1280)
    assert layout.found and "in the middle" in layout.reason
