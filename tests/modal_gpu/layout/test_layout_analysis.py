"""Captions change their text at a stable height and place; nothing else on screen does."""

import random
import time
from dataclasses import replace

import pytest

from modal_gpu.layout.analysis import FALLBACK_CROP, WHOLE_PICTURE, Layout, analyze_layout
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

WORDS = [
    *("where", "were", "you", "last", "night", "we", "waited", "two", "hours", "at"),
    *("the", "station", "nobody", "came", "it", "is", "only", "wind"),
]


def text(seed: int, words: int = 4) -> str:
    """Words that differ from seed to seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=words)) + f" {chr(97 + seed % 26) * 3}"


def line(
    content: str,
    center_y: float,
    *,
    center: float | None = None,
    left: float | None = None,
    right: float | None = None,
    height: float = 0.065,
    char: float = 0.016,
) -> OcrLine:
    """A line as wide as its text, placed by its middle (default 0.5) or by one edge."""
    width = min(char * len(content), 0.98)
    if left is None:
        left = right - width if right is not None else (0.5 if center is None else center) - width / 2
    left = min(max(left, 0.0), 1 - width)
    return OcrLine(content, 0.98, Box(left, center_y - height / 2, left + width, center_y + height / 2))


LOGO = line("CH7 LIVE", 0.05, right=0.98, height=0.06)


def video(*frames: list[OcrLine], step: int = 30) -> list[FrameOcr]:
    return [FrameOcr.of(index * step, lines) for index, lines in enumerate(frames)]


def analyze(frames: list[FrameOcr], **options) -> Layout:
    return analyze_layout(frames, 1280, 720, **options)


def captions_in(layout: Layout, frames: list[FrameOcr]) -> set[str]:
    """Texts of the lines predicted as captions."""
    by_key = {(frame.frame_index, i): line.text for frame in frames for i, line in enumerate(frame.lines)}
    assert {(p.frame_index, p.box_index) for p in layout.predictions} == set(by_key)
    assert all(0.5 <= p.confidence <= 1 for p in layout.predictions)
    return {by_key[p.frame_index, p.box_index] for p in layout.predictions if p.label == "in"}


def assert_holds(layout: Layout, frames: list[FrameOcr], texts: set[str]) -> None:
    crop = layout.crop_region
    for frame in frames:
        for one in frame.lines:
            if one.text in texts:
                assert crop.crop_left <= one.box.left and one.box.right <= crop.crop_right
                assert crop.crop_top < one.box.top and one.box.bottom < crop.crop_bottom


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


def test_a_logo_alone_is_not_a_caption():
    layout = analyze(video(*([LOGO] for _ in range(30))))
    assert not layout.found and layout.confidence > 0.9
    assert layout.crop_region == FALLBACK_CROP and layout.anchor_type is None
    assert layout.reason == "No caption band: the only text is static ('CH7 LIVE')."


def test_a_logo_in_the_place_of_captions_is_not_a_caption():
    frames = video(*([line("www.example.org", 0.93)] for _ in range(30)))
    assert not analyze(frames).found


def test_a_logo_that_is_sometimes_misread_is_still_a_logo():
    names = ["CH7 LIVE", "CHTLIVE", "H7 LIVE", "LIVE", "CH7UVE", "CH7 LIVE"]
    frames = video(*([line(names[i % 6], 0.05, right=0.98), line(text(i), 0.92)] for i in range(30)))
    layout = analyze(frames)
    assert captions_in(layout, frames) == {text(i) for i in range(30)}


def test_a_logo_inside_the_caption_strip_is_to_be_ignored():
    logo = line("CH7", 0.92, right=0.95)
    frames = video(*([line(text(i), 0.92), logo] for i in range(30)))
    layout = analyze(frames)
    assert captions_in(layout, frames) == {text(i) for i in range(30)}
    assert layout.ignore_boxes == (logo.box,)


def test_a_clock_is_not_a_caption():
    frames = video(*([line(f"12:{i:02d}:{i * 7 % 60:02d}", 0.92, left=0.1)] for i in range(30)))
    assert not analyze(frames).found


def test_a_clock_beside_captions_stays_out():
    frames = video(
        *([line(f"{i}:{i * 7 % 60:02d}", 0.92, left=0.05), line(text(i), 0.92)] for i in range(30))
    )
    layout = analyze(frames)
    assert captions_in(layout, frames) == {text(i) for i in range(30)}


def test_a_ticker_from_edge_to_edge_is_not_a_caption():
    frames = video(*([line(text(i, 12), 0.95, char=0.02)] for i in range(30)))
    layout = analyze(frames)
    assert not layout.found and "ticker" in layout.reason


def test_a_short_ticker_is_known_by_its_motion():
    news = "breaking the harbour bridge will be closed until monday morning"
    frames = video(*([line(news, 0.95, left=0.9 - 0.08 * (i % 9), char=0.006)] for i in range(30)), step=10)
    layout = analyze(frames)
    assert not layout.found


def test_captions_above_a_ticker_are_found():
    frames = video(*([line(text(i), 0.85), line(text(i + 100, 12), 0.96, char=0.02)] for i in range(30)))
    layout = analyze(frames)
    assert captions_in(layout, frames) == {text(i) for i in range(30)}
    assert layout.crop_region.crop_bottom < 0.925


def test_rolling_credits_are_not_captions():
    frames = video(
        *(
            [line(text(10 * i + k), 0.1 + 0.1 * k + 0.013 * (i % 7), height=0.055) for k in range(8)]
            for i in range(30)
        )
    )
    layout = analyze(frames)
    assert not layout.found and captions_in(layout, frames) == set()


def test_credits_after_captions_are_left_out():
    talk = [[line(text(i), 0.92)] for i in range(20)]
    credits = [
        [line(text(900 + 10 * i + k), 0.1 + 0.1 * k, height=0.055) for k in range(9)] for i in range(10)
    ]
    frames = video(*talk, *credits)
    layout = analyze(frames)
    assert layout.found and captions_in(layout, frames) == {text(i) for i in range(20)}


def test_scene_text_without_a_stable_place_is_not_a_caption():
    place = random.Random(3)
    frames = video(
        *(
            [
                line(
                    text(i, 2),
                    place.uniform(0.2, 0.9),
                    center=place.uniform(0.3, 0.7),
                    height=place.uniform(0.03, 0.12),
                )
            ]
            for i in range(30)
        )
    )
    assert not analyze(frames).found


def test_scene_text_beside_captions_stays_out():
    place = random.Random(4)
    frames = video(
        *(
            [
                line("SHOP " + text(i, 1), place.uniform(0.1, 0.7), center=place.uniform(0.2, 0.8)),
                line(text(i), 0.92),
            ]
            for i in range(30)
        )
    )
    layout = analyze(frames)
    assert captions_in(layout, frames) == {text(i) for i in range(30)}


def test_a_graphic_read_as_a_huge_letter_stays_out():
    huge = OcrLine("P", 0.8, Box(0.0, 0.0, 0.99, 0.67))
    frames = video(*([huge, line(text(i), 0.92)] for i in range(8)), step=10)
    layout = analyze(frames)
    assert captions_in(layout, frames) == {text(i) for i in range(8)}


def test_no_text_at_all_is_a_sure_answer_after_many_frames_only():
    many, few = analyze(video(*([] for _ in range(30)))), analyze(video([]))
    assert not many.found and many.confidence > 0.95 and many.reason == "No text in 30 frames."
    assert not few.found and few.confidence <= 0.5


def test_failed_frames_are_not_evidence():
    failed = [FrameOcr(i * 30, "failed", error="broken") for i in range(30)]
    layout = analyze(failed)
    assert not layout.found and layout.confidence == 0 and layout.reason == "No frame could be read."


def test_a_single_frame_with_a_caption_is_a_guess_with_low_confidence():
    layout = analyze(video([LOGO, line("Where were you last night?", 0.92)]))
    assert layout.found and layout.confidence <= 0.5 and layout.anchor_type == "center"
    assert layout.crop_region.crop_top < 0.85  # room for a second line


def test_a_single_frame_with_a_logo_gives_nothing():
    layout = analyze(video([LOGO]))
    assert not layout.found and layout.confidence <= 0.5


def test_a_short_clip_with_three_captions_is_enough():
    shown = [None, None, 0, 0, 1, 1, 1, 2]
    frames = video(*([LOGO] if k is None else [LOGO, line(text(k), 0.92)] for k in shown), step=10)
    layout = analyze(frames)
    assert layout.found and 0.7 < layout.confidence < 0.95
    assert captions_in(layout, frames) == {text(0), text(1), text(2)}


def test_a_short_clip_under_one_caption_is_not_taken_for_a_logo():
    layout = analyze(video(*([LOGO, line("Where were you last night?", 0.92)] for _ in range(6)), step=10))
    assert layout.found and layout.confidence <= 0.5


def test_one_title_in_a_long_video_is_not_a_caption():
    layout = analyze(video(*([line("THE END", 0.9)] if i == 29 else [] for i in range(30))))
    assert not layout.found


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


def test_a_single_sentence_in_a_minute_is_a_caption_that_a_person_approves():
    frames = video(
        *([line("We went there once.", 0.92)] if i in (16, 17) else [] for i in range(30)), step=20
    )
    layout = analyze(frames)
    assert layout.found and layout.confidence <= 0.5
    assert_holds(layout, frames, {"We went there once."})


def test_a_single_title_leaves_a_doubt():
    layout = analyze(video(*([line("THE END", 0.9)] if i == 29 else [] for i in range(30))))
    assert not layout.found and layout.confidence <= 0.5
    assert layout.reason == "No caption band, but text that may be a caption: 'THE END'."


def test_vertical_video_with_captions_in_the_middle():
    frames = video(*([line(text(i, 2), 0.62 - 0.1, height=0.035, char=0.04)] for i in range(20)))
    layout = analyze_layout(frames, 720, 1280)
    assert layout.found and "in the middle" in layout.reason


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


def test_a_box_labelled_out_and_similar_ones_are_not_captions():
    """A lower third that changes looks like a caption; a person knows better."""
    frames = video(
        *(
            [line(text(i), 0.8, left=0.1), line(text(i + 200), 0.92)]
            if i % 2
            else [line(text(i), 0.8, left=0.1)]
            for i in range(20)
        )
    )
    assert analyze(frames).vertical_center == pytest.approx(0.8)
    out = {(frame.frame_index, 0): "out" for frame in frames}
    layout = analyze(frames, labels=out)
    assert layout.vertical_center == pytest.approx(0.92)
    assert captions_in(layout, frames) == {text(i + 200) for i in range(20) if i % 2}


def test_a_box_labelled_in_makes_a_band_where_none_was_found():
    frames = video(*([line("THE END", 0.5)] if i == 29 else [] for i in range(30)))
    layout = analyze(frames, labels={(29 * 30, 0): "in"})
    assert layout.found and layout.confidence == 1
    assert_holds(layout, frames, {"THE END"})


def test_clear_takes_a_label_back():
    frames = video(*([LOGO] for _ in range(30)))
    labels = {(frame.frame_index, 0): "clear" for frame in frames}
    assert analyze(frames, labels=labels) == analyze(frames)


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
