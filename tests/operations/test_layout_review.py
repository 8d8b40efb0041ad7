"""A reviewer's labels of text lines: written under the lock, and kept by a new analysis."""

import pytest

from captionacc_dagster.operations.layout_review import (
    LayoutMissingError,
    UnknownBoxError,
    full_frames,
    kept_zones,
    label_boxes,
    stored_layout,
)
from captionacc_dagster.resources.catalog import LockHeldError, VideoRow
from tests.line_fixtures import Line


def label(line: Line, video: VideoRow, labels, **more):
    return label_boxes(line.catalog, line.store, video, labels, owner="review page, anna", **more)


def test_labels_are_stored_and_a_new_analysis_keeps_them(line: Line, laid_out: VideoRow):
    box = stored_layout(line.store, laid_out).boxes[0]
    key = (box.frame_index, box.box_index)
    label(line, laid_out, {key: "out"})
    assert stored_layout(line.store, laid_out).labels == {key: "out"}
    again = label(line, laid_out, {}, analyse=True)
    assert list(again.labels.values()) == ["out"]
    label(line, laid_out, {key: "clear"})
    assert stored_layout(line.store, laid_out).labels == {key: "clear"}


def test_labels_that_are_there_write_nothing(line: Line, laid_out: VideoRow):
    box = stored_layout(line.store, laid_out).boxes[0]
    label(line, laid_out, {(box.frame_index, box.box_index): "in"})
    before = line.stored(laid_out.video_id)
    label(line, laid_out, {(box.frame_index, box.box_index): "in"})
    assert line.stored(laid_out.video_id) == before


def test_unknown_lines_and_a_held_lock_are_refused(
    line: Line, laid_out: VideoRow, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(UnknownBoxError, match="text line 99 in frame 0"):
        label(line, laid_out, {(0, 99): "in"})
    monkeypatch.setattr("captionacc_dagster.operations.layout_review.WAIT_SECONDS", 0.1)
    with (
        line.catalog.lease(laid_out.video_id, "layout", "run 1"),
        pytest.raises(LockHeldError, match="run 1"),
    ):
        label(line, laid_out, {})


def test_full_frames_are_there_before_they_are_read(line: Line, laid_out: VideoRow):
    found = full_frames(line.store, laid_out)
    assert found.layout is not None and found.indices[0] == 0
    assert {box.frame_index for box in found.layout.boxes} <= set(found.indices)
    line.store.delete(line.keys(laid_out.video_id).layout_db)
    unread = full_frames(line.store, laid_out)
    assert (unread.layout, unread.indices) == (None, found.indices)
    with pytest.raises(LayoutMissingError):
        stored_layout(line.store, laid_out)


def test_zones_of_stored_captions_stay_taken(line: Line, finished: VideoRow):
    assert kept_zones(line.store, finished) == {0}


def test_without_captions_no_zone_is_taken(line: Line, laid_out: VideoRow):
    assert kept_zones(line.store, laid_out) == set()
