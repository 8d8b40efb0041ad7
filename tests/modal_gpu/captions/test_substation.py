"""ASS files as another program reads them: text, times, and the place of each zone."""

import pysubs2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.placement import alignment
from modal_gpu.captions.substation import AssLine, escaped, style_name, to_ass, unescaped, zone_of_style
from modal_gpu.captions.subtitles import SubtitleFormat, encoded
from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.layout.zones import LayoutZone
from modal_gpu.timeline import Timeline, TimeSpan

BOTTOM, TOP = CropRegion(0.1, 0.8, 0.9, 0.95), CropRegion(0.0, 0.05, 0.5, 0.2)
LAYOUT = LayoutFile(
    1280,
    720,
    BOTTOM,
    box_height=0.05,
    anchor_type="center",
    anchor_position=0.5,
    zones=(LayoutZone(CaptionZone(1, TOP), "left", 0.06, 0.12, 0.04),),
)


def read(lines, layout=LAYOUT):
    return pysubs2.SSAFile.from_string(to_ass(lines, layout), "ass")


def test_each_zone_has_a_style_at_its_place():
    file = read([AssLine(1000, 2000, "below"), AssLine(1500, 2500, "above", zone=1)])
    assert [(e.start, e.end, e.style) for e in file] == [(1000, 2000, "Default"), (1500, 2500, "Zone 1")]
    below, above = file.styles["Default"], file.styles["Zone 1"]
    assert (below.alignment, below.marginv, below.fontsize) == (2, 36, 40)
    assert (above.alignment, above.marginv, above.marginl, above.fontsize) == (7, 36, 77, 32)
    assert (file.info["PlayResX"], file.info["PlayResY"]) == ("1280", "720")
    assert [zone_of_style(event.style) for event in file] == [0, 1]
    assert not any(style.italic for style in file.styles.values())


@pytest.mark.parametrize(
    ("crop", "anchor", "expected"),
    [
        (BOTTOM, None, 2),
        (BOTTOM, "left", 1),
        (BOTTOM, "right", 3),
        (CropRegion(0, 0.4, 1, 0.6), "center", 5),
        (TOP, "left", 7),
        (CropRegion(0, 0, 1, 0.1), "right", 9),
        (CropRegion(0, 0.99, 1, 1), "center", 2),
    ],
)
def test_alignment_is_the_third_of_the_picture(crop, anchor, expected):
    assert alignment(crop, anchor) == expected


@pytest.mark.parametrize("name", ["Zone 0", "Zone 8", "Zone 99999999999999999999", "Zone", "Zone x", "Sign"])
def test_a_style_of_no_possible_zone_is_zone_0(name):
    """captions.db refuses larger numbers."""
    assert zone_of_style(name) == 0


def test_without_a_layout_captions_are_at_the_bottom():
    [event] = read([AssLine(0, 10, "x")], None)
    assert (event.style, read([], None).styles["Default"].alignment) == ("Default", 2)


def test_braces_backslashes_and_line_breaks_are_text():
    text = "a {\\b1} \\N and \\{x}\nsecond, line"
    [event] = read([AssLine(0, 1000, text)])
    assert event.text.count(r"\N") == 1
    assert unescaped(event.text) == text


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Co", "Zl", "Zp"], exclude_characters="\u2060")))
def test_any_line_reads_back(text):
    [event] = read([AssLine(0, 1000, f"x{text}x")])
    assert unescaped(event.text) == f"x{text}x"
    assert unescaped(escaped(text)) == text


def test_times_are_a_players():
    caption = Caption(10, 20, 1.0, 2.0, ocr_text="Hi", ocr_status="completed", zone=1)
    data = encoded([caption], Timeline((TimeSpan(0, 0.5),)), SubtitleFormat.ass, layout=LAYOUT)
    [event] = pysubs2.SSAFile.from_string(data.decode(), "ass")
    assert (event.start, event.end, event.style) == (1500, 2500, style_name(1))
