"""Captions change their text at a stable height and place; nothing else on screen does."""

import random
import time
from dataclasses import replace

import pytest

from modal_gpu.ocr.engine import OcrLine
from tests.modal_gpu.layout.readings import LOGO, analyze, assert_holds, captions_in, line, text, video


def test_captions_at_the_bottom_are_found_beside_a_logo():
    frames = video(*([LOGO, line(text(i, 2 + i % 5), 0.92)] if i % 3 else [LOGO] for i in range(30)))
    layout = analyze(frames)
    expected = {text(i, 2 + i % 5) for i in range(30) if i % 3}
    assert layout.found and layout.confidence > 0.95
    assert captions_in(layout, frames) == expected
    assert_holds(layout, frames, expected)
    assert (layout.anchor_type, layout.line_count) == ("center", 1)
    assert layout.anchor_position == pytest.approx(0.5, abs=0.01)
    assert layout.vertical_center == pytest.approx(0.92) and layout.box_height == pytest.approx(0.065)
    # Tight: one line and its padding, nothing of a second one.
    assert layout.crop_region.crop_bottom - layout.crop_region.crop_top < 0.065 * 1.6
    assert layout.ignore_boxes == ()


def test_the_crop_region_has_room_for_captions_longer_than_those_seen():
    frames = video(*([line(text(i, 1), 0.92)] for i in range(30)))
    crop = analyze(frames).crop_region
    assert crop.crop_left < 0.06 and crop.crop_right > 0.94


def test_two_line_captions_are_one_band():
    frames = video(
        *(
            [line(text(i), 0.85), line(text(i + 100), 0.92)] if i % 4 == 0 else [line(text(i), 0.92)]
            for i in range(30)
        )
    )
    layout = analyze(frames)
    everything = {line.text for frame in frames for line in frame.lines}
    assert layout.line_count == 2 and captions_in(layout, frames) == everything
    assert_holds(layout, frames, everything)
    assert "up to 2 lines" in layout.reason


def test_one_two_line_caption_among_many_is_enough_to_make_room_for_it():
    frames = video(
        *(
            [line(text(50), 0.85), line(text(51), 0.92)] if i == 7 else [line(text(i), 0.92)]
            for i in range(30)
        )
    )
    assert analyze(frames).crop_region.crop_top < 0.85 - 0.0325


def test_bilingual_captions_of_two_sizes_are_one_band():
    chinese = [
        "今天的天气真不错",
        "我们一起去公园",
        "你昨天晚上去哪里",
        "我一直在办公室",
        "门外好像有人",
        "别动",
    ]
    frames = video(
        *(
            [
                line(chinese[i % 6] + "一二三四五"[i % 5], 0.84, height=0.08, char=0.03),
                line(text(i), 0.92, height=0.05),
            ]
            for i in range(20)
        )
    )
    layout = analyze(frames)
    assert layout.line_count == 2
    assert captions_in(layout, frames) == {line.text for frame in frames for line in frame.lines}


def test_captions_at_the_top_are_found():
    frames = video(*([line(text(i), 0.08)] for i in range(30)))
    layout = analyze(frames)
    assert layout.found and layout.vertical_center == pytest.approx(0.08)
    assert "at the top" in layout.reason
    assert layout.crop_region.crop_bottom < 0.16


def test_left_aligned_captions_reach_to_the_right_edge():
    frames = video(*([line(text(i, 2 + i % 5), 0.9, left=0.1)] for i in range(30)))
    layout = analyze(frames)
    assert layout.anchor_type == "left" and layout.anchor_position == pytest.approx(0.1)
    assert layout.crop_region.crop_left > 0.05 and layout.crop_region.crop_right >= 0.96


def test_right_aligned_captions_reach_to_the_left_edge():
    frames = video(*([line(text(i, 2 + i % 5), 0.9, right=0.9)] for i in range(30)))
    layout = analyze(frames)
    assert layout.anchor_type == "right" and layout.anchor_position == pytest.approx(0.9)
    assert layout.crop_region.crop_left <= 0.04 and layout.crop_region.crop_right < 0.95


def test_of_two_bands_the_one_with_more_texts_is_zone_0_and_the_other_zone_1():
    frames = video(*([line(text(i), 0.08 if i % 3 == 0 else 0.92)] for i in range(30)))
    layout = analyze(frames)
    assert layout.vertical_center == pytest.approx(0.92)
    (top,) = layout.zones
    assert top.zone.zone_index == 1 and top.vertical_center == pytest.approx(0.08)
    assert (top.anchor_type, top.box_height) == ("center", pytest.approx(0.065))
    assert top.zone.crop_region.crop_bottom < layout.crop_region.crop_top
    assert "Zone 1: 10 different texts at the top" in layout.reason
    assert captions_in(layout, frames) == {text(i) for i in range(30)}
    alone = analyze([f for f in frames if f.lines[0].box.top > 0.5])
    assert (alone.crop_region, alone.zones) == (layout.crop_region, ())


def test_chinese_captions_of_one_to_many_characters():
    texts = ["今天的天气真不错", "别动", "好", "门外好像有人", "你听见了吗", "这本书一共三百二十页"]
    frames = video(
        *(
            [line(texts[i % 6] if i < 6 else texts[i % 6] + "的了吗呢"[i % 4], 0.92, char=0.036)]
            for i in range(18)
        )
    )
    layout = analyze(frames)
    assert captions_in(layout, frames) == {line.text for frame in frames for line in frame.lines}


def test_the_same_input_gives_the_same_layout():
    frames = video(*([LOGO, line(text(i), 0.92), line(text(i + 50), 0.4, center=0.3)] for i in range(30)))
    assert analyze(frames) == analyze(list(frames))


def test_three_hours_are_analysed_in_seconds():
    place = random.Random(5)
    frames = video(
        *(
            [
                LOGO,
                line(text(i, 5), 0.92),
                line(text(i + 5000, 2), place.uniform(0.1, 0.8), center=place.uniform(0.2, 0.8)),
            ]
            for i in range(1080)
        ),
        step=100,
    )
    start = time.perf_counter()
    layout = analyze(frames)
    assert layout.found and layout.vertical_center == pytest.approx(0.92, abs=0.005)
    assert time.perf_counter() - start < 20


def test_a_wide_gap_inside_a_caption_does_not_push_it_out():
    """With two speakers on one row, each piece is off-centre, and both together are centred."""

    def pieces(i: int) -> list[OcrLine]:
        a, b = line("- " + text(i, 2), 0.92, right=0.45), line("- " + text(i + 70, 2), 0.92, left=0.55)
        width = max(a.box.width, b.box.width)
        return [
            replace(a, box=replace(a.box, left=0.45 - width)),
            replace(b, box=replace(b.box, right=0.55 + width)),
        ]

    frames = video(*(pieces(i) if i % 3 == 0 else [line(text(i), 0.92)] for i in range(30)))
    layout = analyze(frames)
    assert captions_in(layout, frames) == {line.text for frame in frames for line in frame.lines}
