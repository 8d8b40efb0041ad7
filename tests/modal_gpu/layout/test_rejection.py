"""Static, moving and scattered text, credits and shapes are no captions."""

import random

from modal_gpu.layout.analysis import FALLBACK_CROP
from modal_gpu.ocr.engine import Box, OcrLine
from tests.modal_gpu.layout.readings import LOGO, analyze, captions_in, line, text, video


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


def test_one_title_in_a_long_video_is_not_a_caption():
    layout = analyze(video(*([line("THE END", 0.9)] if i == 29 else [] for i in range(30))))
    assert not layout.found
