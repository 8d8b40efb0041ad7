"""layout.db returns a layout, and never loses what people did in it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.databases.layout import (
    SCHEMA_VERSION,
    LayoutBox,
    LayoutFile,
    layout_file,
    read_layout,
    write_layout,
)
from modal_gpu.databases.layout_merging import MIN_OVERLAP, merge_people
from modal_gpu.databases.sqlite_file import new_database, pack, read_database
from modal_gpu.errors import DatabaseFileError
from modal_gpu.layout.analysis import analyze_layout
from modal_gpu.layout.reanalysis import layout_with_people
from modal_gpu.layout.zones import LayoutZone
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

CAPTION = Box(0.3, 0.88, 0.7, 0.95)
LOGO = Box(0.85, 0.02, 0.98, 0.08)
TEXTS = ["Where were you?", "I waited two hours.", "Nobody came!", "It is the wind.", "Let's go home.", "No."]


def frames_with(*boxes: Box) -> list[FrameOcr]:
    return [
        FrameOcr.of(30 * i, [OcrLine("CH7" if box == LOGO else content, 0.9, box) for box in boxes])
        for i, content in enumerate(TEXTS * 2)
    ]


def fresh_file(**changes) -> LayoutFile:
    boxes = (LayoutBox(0, 0, LOGO, "CH7", "out", 0.9), LayoutBox(0, 1, CAPTION, "Where?", "in", 0.95))
    return replace(LayoutFile(1280, 720, CropRegion(0.0, 0.8, 1.0, 1.0), boxes, updated_at="2026"), **changes)


def labelled(box: LayoutBox, label: str) -> LayoutBox:
    return replace(box, label=label, label_updated_at="2026-02-03T04:05:06+00:00")


def moved(box: Box, by: float) -> Box:
    return Box(box.left, box.top - by, box.right, box.bottom - by)


@st.composite
def layout_boxes(draw) -> tuple[LayoutBox, ...]:
    """A few frames with a few boxes each, side by side or on top of each other, some labelled."""
    boxes = []
    for frame in range(draw(st.integers(0, 3))):
        for index in range(draw(st.integers(0, 4))):
            left, top = draw(st.integers(0, 6)) / 10, draw(st.integers(0, 8)) / 10
            width, height = draw(st.integers(1, 4)) / 10, draw(st.integers(1, 2)) / 10
            label = draw(st.sampled_from([None, "in", "out", "clear"]))
            boxes.append(
                LayoutBox(
                    frame * 10,
                    index,
                    Box(left, top, left + width, top + height),
                    draw(st.sampled_from(TEXTS)),
                    draw(st.sampled_from(["in", "out"])),
                    draw(st.floats(0, 1)),
                    label,
                    label and "2026-01-01",
                )
            )
    return tuple(boxes)


files = st.builds(
    lambda boxes, version, approved, top: fresh_file(
        boxes=boxes,
        crop_region_version=version,
        layout_approved=approved,
        crop_region=CropRegion(0, top / 10, 1, 1),
    ),
    layout_boxes(),
    st.integers(0, 3),
    st.booleans(),
    st.integers(0, 9),
)


def unlabelled(file: LayoutFile) -> LayoutFile:
    """Return a layout as the pipeline writes it."""
    boxes = tuple(replace(box, label=None, label_updated_at=None) for box in file.boxes)
    return replace(file, boxes=boxes, crop_region_version=0, layout_approved=False)


@given(files)
def test_every_file_is_read_back(file):
    assert read_layout(write_layout(file)) == file


def test_an_analysis_is_written_and_read_back():
    frames = frames_with(LOGO, CAPTION)
    layout = analyze_layout(frames, 1280, 720)
    file = read_layout(write_layout(layout_file(layout, frames)))
    assert file.crop_region == layout.crop_region and file.caption_band_found == layout.found
    assert len(file.boxes) == 24 and {box.predicted_label for box in file.boxes} == {"in", "out"}
    assert file.reason == layout.reason and file.crop_region_version == 0 and not file.layout_approved


def test_no_caption_band_leaves_the_anchor_unknown():
    layout = analyze_layout([FrameOcr(0, "empty")], 640, 360)
    file = read_layout(write_layout(layout_file(layout, [])))
    assert (file.anchor_type, file.vertical_center, file.caption_band_found) == (None, None, False)


def test_a_damaged_file_is_an_error():
    with pytest.raises(DatabaseFileError, match=r"layout\.db is damaged"):
        read_layout(write_layout(fresh_file())[:-20])


def test_another_version_is_an_error():
    with new_database("", 2) as connection:
        data = pack(connection)
    with pytest.raises(DatabaseFileError, match="schema version 2"):
        read_layout(data)


def test_without_a_previous_file_nothing_changes():
    assert merge_people(None, fresh_file()) == fresh_file()


def test_a_label_follows_its_box_to_another_index():
    logo, caption = fresh_file().boxes
    previous = fresh_file(boxes=(labelled(logo, "out"), labelled(caption, "in")))
    new = fresh_file(
        boxes=(replace(caption, box_index=0, box=moved(CAPTION, 0.01)), replace(logo, box_index=1))
    )
    merged = merge_people(previous, new)
    assert [(box.box_index, box.label) for box in merged.boxes] == [(0, "in"), (1, "out")]
    assert merged.boxes[0].label_updated_at == "2026-02-03T04:05:06+00:00"
    assert merged.boxes[0].box == moved(CAPTION, 0.01)


def test_a_label_stays_in_its_frame():
    previous = fresh_file(boxes=(labelled(LayoutBox(0, 0, CAPTION, "a"), "in"),))
    merged = merge_people(previous, fresh_file(boxes=(LayoutBox(30, 0, CAPTION, "a", "out", 0.9),)))
    assert [(box.frame_index, box.label) for box in merged.boxes] == [(0, "in"), (30, None)]


def test_a_labelled_box_that_ocr_lost_is_kept():
    previous = fresh_file(boxes=(labelled(LayoutBox(0, 0, CAPTION, "mine", "in", 0.9), "out"),))
    merged = merge_people(previous, fresh_file(boxes=(LayoutBox(0, 0, LOGO, "CH7", "out", 0.9),)))
    assert [(box.box_index, box.text, box.label, box.predicted_label) for box in merged.boxes] == [
        (0, "CH7", None, "out"),
        (1, "mine", "out", None),
    ]


def test_the_best_overlapping_box_takes_the_label():
    previous = fresh_file(boxes=(labelled(LayoutBox(0, 0, CAPTION, "a"), "in"),))
    near, nearer = moved(CAPTION, 0.02), moved(CAPTION, 0.005)
    merged = merge_people(
        previous, fresh_file(boxes=(LayoutBox(0, 0, near, "b"), LayoutBox(0, 1, nearer, "c")))
    )
    assert [box.label for box in merged.boxes] == [None, "in"]


def test_an_approved_or_changed_crop_region_is_kept():
    mine = CropRegion(0.1, 0.7, 0.9, 0.95)
    for previous in (
        fresh_file(crop_region=mine, crop_region_version=2),
        fresh_file(crop_region=mine, layout_approved=True),
    ):
        merged = merge_people(previous, fresh_file())
        assert merged.crop_region == mine
        assert merged.crop_region_version == previous.crop_region_version
        assert merged.layout_approved == previous.layout_approved


def test_a_crop_region_that_nobody_touched_follows_the_analysis():
    new = fresh_file(crop_region=CropRegion(0.0, 0.85, 1.0, 1.0))
    assert merge_people(fresh_file(), new).crop_region == new.crop_region


@given(files, files)
def test_merging_loses_no_label_and_invents_none(previous, new):
    merged = merge_people(previous, unlabelled(new))

    def count(file: LayoutFile) -> list[tuple]:
        return sorted((box.frame_index, box.label) for box in file.boxes if box.label)

    assert count(merged) == count(previous)
    for box in previous.boxes:
        if box.label:
            assert any(
                other.label == box.label
                and (other.box == box.box or other.box.overlap(box.box) >= MIN_OVERLAP)
                for other in merged.boxes
                if other.frame_index == box.frame_index
            )


@given(files, files)
def test_merging_keeps_every_new_box_and_prediction(previous, new):
    new = unlabelled(new)
    merged = {(box.frame_index, box.box_index): box for box in merge_people(previous, new).boxes}
    for box in new.boxes:
        kept = merged[box.frame_index, box.box_index]
        assert replace(kept, label=None, label_updated_at=None) == box


@given(files, files)
def test_merging_again_changes_nothing(previous, new):
    merged = merge_people(previous, unlabelled(new))
    assert merge_people(merged, unlabelled(new)) == merged
    assert read_layout(write_layout(merged)) == merged


def test_labels_of_the_file_before_steer_the_next_analysis():
    """People labelled every caption out: there is no band any more, and their labels are still there."""
    frames = frames_with(CAPTION)
    first = layout_with_people(frames, 1280, 720)
    assert first.caption_band_found
    corrected = replace(first, boxes=tuple(labelled(box, "out") for box in first.boxes))
    # The next OCR run sees the boxes a little higher.
    again = layout_with_people(frames_with(moved(CAPTION, 0.004)), 1280, 720, corrected)
    assert not again.caption_band_found
    assert all(box.label == "out" and box.predicted_label == "out" for box in again.boxes)


TOP_ZONE = LayoutZone(
    CaptionZone(2, CropRegion(0.1, 0.05, 0.9, 0.2), "de"),
    "center",
    0.5,
    0.12,
    0.05,
    0.75,
    "Captions at the top.",
)
DRAWN_ZONE = LayoutZone(CaptionZone(3, CropRegion(0.1, 0.3, 0.9, 0.5)))


def tables_of(data: bytes) -> set[str]:
    with read_database(data, SCHEMA_VERSION) as connection:
        return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_only_a_file_with_further_zones_has_their_table():
    one, more = write_layout(fresh_file()), write_layout(fresh_file(zones=(TOP_ZONE,)))
    assert tables_of(more) - tables_of(one) == {"caption_zones"}


def test_further_zones_survive_the_file():
    layout = fresh_file(zones=(TOP_ZONE, DRAWN_ZONE))
    assert read_layout(write_layout(layout)) == layout
    assert layout.caption_zones == (TOP_ZONE.zone, DRAWN_ZONE.zone)


@pytest.mark.parametrize("approved", [False, True])
def test_zones_go_with_the_crop_region_that_a_person_approved(approved: bool):
    previous = fresh_file(zones=(TOP_ZONE,), layout_approved=approved)
    merged = merge_people(previous, fresh_file(zones=(DRAWN_ZONE,)))
    assert merged.zones == ((TOP_ZONE,) if approved else (DRAWN_ZONE,))
