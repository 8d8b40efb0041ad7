"""Zones do not touch each other: each is merged, read and shown as if it were the only one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.reading import apply_readings, read_texts
from modal_gpu.captions.subtitles import SubtitleFormat, encoded, to_rows, to_srt, to_vtt
from modal_gpu.captions.zones import apply_zones, by_zone, merge_zones, read_zones
from modal_gpu.contracts import CaptionOcrResult, CaptionRange, CaptionZone, CropRegion
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.databases.extents import ExtentsRun
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.extents.decoder import Extent
from modal_gpu.layout.zones import LayoutZone
from modal_gpu.timeline import Timeline

FRAMES, SECONDS = 60, 6.0
RUN = ExtentsRun("run", 1, "m", "", "", "", FRAMES - 1, 0.0)
BOTTOM, TOP, MIDDLE = CropRegion(0, 0.8, 1, 1), CropRegion(0, 0.05, 1, 0.2), CropRegion(0, 0.5, 1, 0.6)


def decoded(extents: list[tuple[int, int]]) -> DecodedExtents:
    found = [Extent(start, end, 0.9) for start, end in extents]
    return DecodedExtents(RUN, found, FRAMES, np.full(FRAMES - 1, np.nan))


@st.composite
def extents(draw) -> list[tuple[int, int]]:
    edges = sorted(draw(st.sets(st.integers(0, FRAMES), max_size=10)))
    return list(zip(edges[::2], edges[1::2], strict=False))


@st.composite
def captions_of(draw, zone: int) -> list[Caption]:
    """Captions of a zone that follow each other, some of them a person's."""
    captions = []
    for start, end in draw(extents()):
        person = draw(st.booleans())
        text, state = (draw(st.sampled_from(["mine", ""])), "confirmed") if person else (None, "predicted")
        times = {"start_seconds": start / 10, "end_seconds": end / 10}
        captions.append(Caption(start, end, **times, text=text, state=state, zone=zone))
    return captions


def comparable(captions: list[Caption]) -> list[Caption]:
    return [replace(c, id=0, updated_at="", created_at="", ocr_processed_at=None) for c in captions]


@given(st.tuples(captions_of(0), captions_of(1), captions_of(2)), extents(), extents())
def test_each_zone_is_merged_as_if_it_were_alone(
    stored: tuple[list[Caption], ...], first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    zones = {0: decoded(first), 1: decoded(second)}
    merged = merge_zones(zones, SECONDS, [c for captions in stored for c in captions])
    apart = by_zone(merged)
    for zone, alone in zones.items():
        assert comparable(apart.get(zone, [])) == comparable(alone.captions(SECONDS, stored[zone], zone))
    # The layout no longer has the last one: people's work stays.
    assert apart.get(2, []) == [c for c in stored[2] if c.belongs_to_person]
    assert [c.start_index for c in merged] == sorted(c.start_index for c in merged)


@given(captions_of(0), captions_of(1))
def test_each_zone_is_read_as_if_it_were_alone(first: list[Caption], second: list[Caption]) -> None:
    def recognize(zone: int, ranges: list[CaptionRange]) -> list[CaptionOcrResult]:
        return [CaptionOcrResult(f"zone {zone} at {r.start_index}", 0.99, 1, r.caption_id) for r in ranges]

    stored = read_captions(write_captions([*first, *second]))
    together = apply_zones(stored, read_zones(stored, (0, 1), recognize))
    for zone, captions in by_zone(stored).items():
        alone = apply_readings(
            captions, read_texts(captions, lambda ranges, zone=zone: recognize(zone, ranges))
        )
        assert comparable([c for c in together if c.zone == zone]) == comparable(alone)
    assert read_captions(write_captions(together)) == sorted(together, key=lambda c: (c.start_index, c.id))


def test_captions_of_a_zone_that_is_no_more_are_not_read() -> None:
    stored = read_captions(write_captions([Caption(0, 9, 0, 0.9, text="mine", zone=3)]))
    assert read_zones(stored, (0, 1), lambda *_: pytest.fail("nothing to read")) == {}
    assert apply_zones(stored, {}) == stored


TEXTS = [
    Caption(0, 20, 0.0, 2.0, ocr_text="Below"),
    Caption(10, 30, 1.0, 3.0, ocr_text="Above\n{\\an1} <b>", zone=1),
    Caption(20, 40, 2.0, 4.0, ocr_text="In the middle --> 00:01:00.000", zone=2),
]
REGIONS = {0: BOTTOM, 1: TOP, 2: MIDDLE}


def test_subrip_puts_captions_of_the_upper_half_at_the_top() -> None:
    cues = to_srt(TEXTS, regions=REGIONS).split("\n\n")
    assert cues[0].endswith("00:00:00,000 --> 00:00:02,000\nBelow")
    assert cues[1].endswith("00:00:01,000 --> 00:00:03,000\n{\\an8}Above\n{\\an1} <b>")
    assert "\\an8" not in cues[2]


def test_webvtt_says_the_line_above_the_lower_third() -> None:
    header, *cues = to_vtt(TEXTS, regions=REGIONS).rstrip().split("\n\n")
    assert header == "WEBVTT"
    assert cues[0].endswith("00:00:00.000 --> 00:00:02.000\nBelow")
    assert cues[1].endswith("00:00:01.000 --> 00:00:03.000 line:5%\nAbove\n{\\an1} &lt;b&gt;")
    assert "00:00:02.000 --> 00:00:04.000 line:50%\nIn the middle --&gt; 00:01:00.000" in cues[2]


def test_a_video_of_one_zone_has_the_files_that_it_always_had() -> None:
    below = TEXTS[:1]
    for write in (to_srt, to_vtt):
        assert write(below, regions={0: TOP}) == write(below)


@pytest.mark.parametrize("format", [SubtitleFormat.srt, SubtitleFormat.vtt])
def test_captions_of_one_zone_are_not_placed_whatever_other_zones_the_layout_has(format) -> None:
    layout = LayoutFile(1280, 720, TOP, zones=(LayoutZone(CaptionZone(1, BOTTOM)),))
    assert encoded(TEXTS[:1], Timeline(), format, layout=layout) == encoded(TEXTS[:1], Timeline(), format)
    assert encoded(TEXTS, Timeline(), format, layout=layout) != encoded(TEXTS, Timeline(), format)


def test_captions_of_different_zones_may_be_shown_at_once() -> None:
    rows = to_rows(TEXTS)
    assert [(row["zone"], row["start_seconds"], row["end_seconds"]) for row in rows] == [
        (0, 0.0, 2.0),
        (1, 1.0, 3.0),
        (2, 2.0, 4.0),
    ]
    in_one_zone = to_rows([replace(caption, zone=0) for caption in TEXTS])
    assert [row["end_seconds"] for row in in_one_zone] == [1.0, 2.0, 4.0]
