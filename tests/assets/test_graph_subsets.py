"""Runs of parts of the graph: what is made again, what is left alone, and whose work is kept."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.captions import read_captions, write_captions
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout, write_layout
from tests.line_fixtures import Line
from tests.run_results import checks, failure, materialized


def without_keys(stored: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    """Return the objects except those named."""
    return {key: tag for key, tag in stored.items() if key not in set(names)}


def no_call(request) -> None:
    raise AssertionError("this run needs no compute call")


@pytest.fixture
def no_compute(line: Line) -> Line:
    """A line on which every compute call fails the test."""
    for name in ("extract", "crop_and_infer", "caption_ocr"):
        line.compute.before[name] = no_call
    return line


def test_the_layout_alone_needs_no_compute_and_keeps_labels(no_compute: Line, finished: VideoRow):
    line, keys = no_compute, no_compute.keys(finished.video_id)
    layout = read_layout(line.store.get(keys.layout_db))
    place = next(i for i, box in enumerate(layout.boxes) if box.is_caption)
    labelled = replace(layout.boxes[place], label="out", label_updated_at="2026-01-01T00:00:00Z")
    boxes = (*layout.boxes[:place], labelled, *layout.boxes[place + 1 :])
    line.store.put(keys.layout_db, write_layout(replace(layout, boxes=boxes)))
    before = line.stored(finished.video_id)

    result = line.run("layout", finished.video_id, "layout_db")

    assert result.success, failure(result)
    assert materialized(result) == ["layout_db"]
    assert checks(result) == {"boxes_match_ocr": True, "script_can_be_read": True}
    assert line.compute.names == []
    again = read_layout(line.store.get(keys.layout_db))
    assert again.boxes[place].label == "out"
    assert again.boxes[place].label_updated_at == "2026-01-01T00:00:00Z"
    assert len(again.labels) == 1
    changed = ["layout.db.gz"]
    assert without_keys(line.stored(finished.video_id), changed) == without_keys(before, changed)
    row = line.row(finished.video_id)
    assert row.layout.status == "done"
    assert (row.duration_seconds, row.frame_count) == (finished.duration_seconds, finished.frame_count)
    assert (row.crop_region, row.crop_region_version) == (finished.crop_region, 1)
    assert row.boundaries.status == "annotate"
    assert line.catalog.database_version(finished.video_id, "layout") == 2


def test_the_layout_alone_of_an_unread_video_reports_what_to_do(no_compute: Line, clip):
    video_id = no_compute.upload(clip.path).video_id
    result = no_compute.run("layout", video_id, "layout_db")
    assert not result.success
    assert "was never read: materialize raw_ocr_db as well" in failure(result)
    assert no_compute.row(video_id).layout.error_details["error_type"] == "WrongStateError"


@pytest.mark.parametrize("asset", ["full_frames", "raw_ocr_db"])
def test_one_output_of_the_layout_run_touches_no_other(line: Line, finished: VideoRow, asset: str):
    before = line.stored(finished.video_id)
    result = line.run("layout", finished.video_id, asset)
    assert result.success, failure(result)
    assert materialized(result) == [asset]
    assert all(checks(result).values()) and len(checks(result)) == 1
    ((_, request),) = line.compute.calls
    assert request.outputs == {asset}
    folder = {"full_frames": "full_frames", "raw_ocr_db": "raw-ocr.db.gz"}[asset]
    after = line.stored(finished.video_id)
    assert {k: v for k, v in after.items() if not k.startswith(folder)} == {
        k: v for k, v in before.items() if not k.startswith(folder)
    }
    row = line.row(finished.video_id)
    assert (row.layout.status, row.layout.run_id) == ("done", None)
    assert row.text.status == finished.text.status
    assert line.catalog.database_version(finished.video_id, "layout") == 1, "layout.db was not written"


def test_frames_and_layout_without_the_ocr_take_the_stored_ocr(line: Line, finished: VideoRow):
    before = line.stored(finished.video_id)
    result = line.run("layout", finished.video_id, "full_frames", "layout_db")
    assert result.success, failure(result)
    assert all(checks(result).values()) and len(checks(result)) == 3
    ((_, request),) = line.compute.calls
    assert request.outputs == {"full_frames"}
    assert line.stored(finished.video_id)["raw-ocr.db.gz"] == before["raw-ocr.db.gz"]
    assert line.catalog.database_version(finished.video_id, "layout") == 2


def test_extents_alone_are_inferred_again_on_the_current_version(line: Line, finished: VideoRow):
    before = line.stored(finished.video_id)
    result = line.run("captions", finished.video_id, "caption_frame_extents_db")
    assert result.success, failure(result)
    assert materialized(result) == ["caption_frame_extents_db"]
    assert checks(result) == {"every_pair_labelled": True}
    name = "caption_frame_extents_v1.db.gz"
    assert without_keys(line.stored(finished.video_id), [name]) == without_keys(before, [name])
    keys = line.keys(finished.video_id)
    run, _ = read_extents(line.store.get(keys.caption_frame_extents_db(1)))
    assert run.run_id == result.run_id
    assert [v.version for v in line.catalog.list_cropped_frames_versions(finished.video_id)] == [1]
    row = line.row(finished.video_id)
    assert (row.boundaries.status, row.boundaries.run_id) == ("annotate", None)


def test_extents_alone_before_any_crop_report_what_to_do(line: Line, laid_out: VideoRow):
    result = line.run("captions", laid_out.video_id, "caption_frame_extents_db")
    assert not result.success
    assert "has no cropped frames yet: materialize cropped_chunks as well" in failure(result)
    assert line.compute.names == []


def test_a_repeated_run_keeps_what_a_person_edited(line: Line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    edited = replace(captions[1], text="Only the gulls are awake.", state="confirmed")
    line.store.put(keys.captions_db, write_captions([captions[0], edited, captions[2]]))

    result = line.run("captions", finished.video_id)

    assert result.success and all(checks(result).values())
    again = read_captions(line.store.get(keys.captions_db))
    assert again[1] == edited
    assert [c.best_text for c in again] == [
        captions[0].best_text,
        "Only the gulls are awake.",
        captions[2].best_text,
    ]
    assert [c.id for c in again] == [c.id for c in captions]
    srt = line.store.get(keys.srt).decode()
    assert "Only the gulls are awake." in srt and "still" not in srt
    # Ranges that came out unchanged were read already.
    assert line.compute.names == ["crop_and_infer"]


def test_a_repeated_run_adds_nothing_to_what_a_person_shortened(line: Line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    shorter = replace(captions[1], state="confirmed", end_index=captions[1].end_index - 1)
    line.store.put(keys.captions_db, write_captions([captions[0], shorter, captions[2]]))
    assert line.run("captions", finished.video_id).success
    assert len(read_captions(line.store.get(keys.captions_db))) == 3


def test_the_captions_alone_need_no_compute(no_compute: Line, finished: VideoRow):
    line = no_compute
    before = read_captions(line.store.get(line.keys(finished.video_id).captions_db))
    result = line.run("captions", finished.video_id, "captions_db")
    assert result.success, failure(result)
    assert checks(result) == {"captions_do_not_overlap": True}
    assert read_captions(line.store.get(line.keys(finished.video_id).captions_db)) == before
    row = line.row(finished.video_id)
    assert (row.boundaries.status, row.boundaries.run_id, row.text.status) == ("annotate", None, "wait")


def test_text_and_subtitles_alone_read_the_waiting_captions(line: Line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    failed = replace(captions[2], ocr_text=None, ocr_status="error", ocr_error="the engine was killed")
    line.store.put(keys.captions_db, write_captions([captions[0], captions[1], failed]))

    result = line.run("captions", finished.video_id, "caption_ocr", "subtitles")

    assert result.success and all(checks(result).values())
    ((name, request),) = line.compute.calls
    assert name == "caption_ocr"
    assert [c.caption_id for c in request.captions] == [failed.id]
    again = read_captions(line.store.get(keys.captions_db))
    assert [c.ocr_text for c in again] == [c.ocr_text for c in captions]
    row = line.row(finished.video_id)
    assert (row.text.status, row.text.run_id, row.text_caption_count) == ("annotate", None, 3)


def test_the_text_alone_ends_its_stage(line: Line, finished: VideoRow):
    assert line.run("captions", finished.video_id, "caption_ocr").success
    row = line.row(finished.video_id)
    assert (row.text.status, row.text.run_id) == ("annotate", None)


def test_subtitles_alone_take_a_persons_text(no_compute: Line, finished: VideoRow):
    line, keys = no_compute, no_compute.keys(finished.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    line.store.put(
        keys.captions_db, write_captions([replace(captions[0], text="Evening falls."), *captions[1:]])
    )
    result = line.run("captions", finished.video_id, "subtitles")
    assert result.success and checks(result) == {"subtitles_match_captions": True}
    assert "Evening falls." in line.store.get(keys.srt).decode()
    assert line.row(finished.video_id).text.run_id is None


def test_another_crop_region_makes_a_new_version_and_archives_the_old(line: Line, finished: VideoRow):
    crop = finished.crop_region
    taller = CropRegion(crop.crop_left, max(0, crop.crop_top - 0.05), crop.crop_right, crop.crop_bottom)
    line.catalog.approve_layout(finished.video_id, "ann", taller)
    before = line.stored(finished.video_id)

    result = line.run("captions", finished.video_id)

    assert result.success and all(checks(result).values())
    first, second = sorted(
        line.catalog.list_cropped_frames_versions(finished.video_id), key=lambda v: v.version
    )
    assert (first.version, first.status) == (1, "archived")
    assert (second.version, second.status, second.crop_region) == (2, "active", taller)
    row = line.row(finished.video_id)
    assert (row.current_cropped_frames_version, row.crop_region_version) == (2, 2)
    assert (row.boundaries.status, row.text.status, row.text_caption_count) == ("annotate", "annotate", 3)
    after = line.stored(finished.video_id)
    old = [key for key in before if key.startswith(("cropped_frames_v1/", "caption_frame_extents_v1"))]
    assert old and all(after[key] == before[key] for key in old)
    assert "caption_frame_extents_v2.db.gz" in after


def test_chunks_alone_are_a_new_version_and_leave_no_stage_open(line: Line, finished: VideoRow):
    result = line.run("captions", finished.video_id, "cropped_chunks", "caption_frame_extents_db")
    assert result.success, failure(result)
    row = line.row(finished.video_id)
    assert (row.current_cropped_frames_version, row.boundaries.run_id) == (2, None)
    assert (row.boundaries.status, row.text.status) == ("annotate", "annotate")
