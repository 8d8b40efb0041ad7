"""OCR lines become a caption's text: order, joints, what is left out."""

import pytest

from modal_gpu.captions.text import TextSettings, caption_text
from modal_gpu.ocr.engine import Box, OcrLine


def line(text, left=0.3, top=0.4, width=0.2, height=0.2, confidence=0.9):
    return OcrLine(text, confidence, Box(left, top, left + width, top + height))


def text(*lines, **settings):
    return caption_text(lines, TextSettings(**settings)).text


def test_rows_are_read_from_the_top_and_joined_by_a_line_feed():
    result = caption_text([line("second", top=0.65), line("first", top=0.35)])
    assert (result.text, result.line_count) == ("first\nsecond", 2)


def test_fragments_of_one_row_are_joined_by_a_space():
    assert text(line("there", left=0.6, top=0.42), line("Hello", left=0.3)) == "Hello there"


@pytest.mark.parametrize(
    ("left", "right", "joined"),
    [
        ("你好", "世界", "你好世界"),
        ("こんにちは", "、世界", "こんにちは、世界"),
        ("안녕", "하세요", "안녕 하세요"),
        ("用", "Python", "用 Python"),
    ],
)
def test_chinese_and_japanese_fragments_are_joined_without_a_space(left, right, joined):
    assert text(line(left, left=0.2), line(right, left=0.5)) == joined


def test_right_to_left_rows_start_at_the_right():
    assert text(line("עולם", left=0.2), line("שלום", left=0.5)) == "שלום עולם"


def test_spaces_are_tidied_and_characters_composed():
    assert text(line("  Cafe\u0301   noir ")) == "Café noir"


def test_confidence_is_weighted_by_length():
    result = caption_text([line("a", confidence=0.6), line("b" * 9, top=0.7, confidence=1.0)])
    assert result.confidence == pytest.approx(0.96)


def test_without_lines_there_is_no_text_and_no_confidence():
    assert caption_text([]).text == "" and caption_text([]).confidence == 0
    assert caption_text([line("  ")]).text == ""


def test_logos_unsure_giant_and_far_lines_are_left_out():
    caption = line("caption", top=0.5, height=0.15)
    logo = Box(0.0, 0.0, 0.2, 1.0)
    assert text(caption, line("TV", left=0.05, width=0.1), ignore_boxes=(logo,)) == "caption"
    assert text(caption, line("smudge", top=0.8, confidence=0.3)) == "caption"
    assert text(caption, line("GIANT", top=0.0, height=0.5), line_height=0.15) == "caption"
    assert (
        text(caption, line("far", top=0.0, height=0.1), line_height=0.15, vertical_center=0.57) == "caption"
    )


def test_low_specks_beside_or_instead_of_a_caption_are_left_out():
    settings = TextSettings(line_height=0.37, vertical_center=0.68)
    caption = OcrLine("Meanwhile, in the city,", 0.98, Box(0.29, 0.5, 0.71, 0.87))
    speck = OcrLine("II II", 0.82, Box(0.0, 0.22, 0.05, 0.34))
    dots = OcrLine("...", 0.95, Box(0.48, 0.72, 0.52, 0.8))
    assert caption_text([speck, caption], settings).text == "Meanwhile, in the city,"
    assert caption_text([speck], settings).text == ""
    assert caption_text([speck, dots], settings).text == "..."
