"""Assets that people materialize by hand: afterwards the video's row says what is true."""

import re
from dataclasses import replace

import pytest

from captionacc_dagster.resources.catalog import STAGES, VideoRow
from captionacc_dagster.sensors.caption_ocr_requests import caption_ocr_requests
from modal_gpu.databases.captions import read_captions, write_captions
from tests.dagster_page import DagsterPage
from tests.line_fixtures import Line

BY_HAND = "__ASSET_JOB"
ASSETS = (
    *("full_frames", "raw_ocr_db", "layout_db", "layout_approval", "cropped_chunks"),
    *("caption_frame_extents_db", "captions_db", "caption_ocr", "subtitles"),
)


def statuses(row: VideoRow) -> dict[str, str]:
    return {stage: row.stage(stage).status for stage in STAGES}


@pytest.mark.parametrize("asset", ASSETS)
def test_each_asset_of_a_finished_video_leaves_the_row_true(
    ui: DagsterPage, line: Line, finished: VideoRow, asset: str
):
    page = ui.launch(BY_HAND, partition=finished.partition_key, assets=[asset])
    assert page.status == "SUCCESS", page.errors
    row = line.row(finished.video_id)
    # Nobody works on it any more, nothing failed, and only what the new captions need is due.
    assert [row.stage(stage).run_id for stage in STAGES] == [None] * 3 and row.error is None
    due = {"text": "wait"} if asset == "captions_db" else {}
    assert statuses(row) == statuses(finished) | due
    assert row.crop_region_version == finished.crop_region_version
    assert len(line.tick(caption_ocr_requests).run_requests or []) == len(due)
    # What is named in the row is in the bucket.
    assert read_captions(line.store.get(line.keys(row.video_id).captions_db))
    assert {"captions.srt", "captions.vtt"} <= line.stored(row.video_id).keys()
    assert page.visible_tags["video"] == "harbour.mp4" and page.visible_tags["trigger"] == "ui"


@pytest.mark.parametrize("asset", ASSETS)
def test_each_asset_of_a_deleted_video_fails_in_one_sentence(ui, line: Line, finished: VideoRow, asset: str):
    line.catalog.soft_delete_video(finished.video_id)
    page = ui.launch(BY_HAND, partition=finished.partition_key, assets=[asset])
    assert re.match(r"harbour.mp4: the video was deleted on [\d-]+ [\d:]+( UTC|[+-]\d\d)\. ", page.failure)


@pytest.mark.parametrize(
    ("asset", "says"),
    [
        ("layout_db", "was never read: materialize raw_ocr_db as well"),
        ("layout_approval", "is not approved: approve it with the job approve_layout"),
        ("cropped_chunks", "is not approved"),
        ("captions_db", "is not approved"),
        ("caption_ocr", "has no captions to read"),
        ("subtitles", "captions.db"),
    ],
)
def test_an_asset_before_its_turn_says_what_is_missing(ui, line: Line, clip, asset: str, says: str):
    row = line.upload(clip.path)
    page = ui.launch(BY_HAND, partition=row.partition_key, assets=[asset])
    assert page.failure.startswith("harbour.mp4: ") and says in page.failure
    after = line.row(row.video_id)
    assert [after.stage(stage).run_id for stage in STAGES] == [None] * 3


def test_the_text_alone_publishes_the_subtitles_too(ui, line: Line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    first, *others = read_captions(line.store.get(keys.captions_db))
    line.store.put(keys.captions_db, write_captions([replace(first, text="By a person."), *others]))
    assert ui.launch(BY_HAND, partition=finished.partition_key, assets=["caption_ocr"]).status == "SUCCESS"
    assert "By a person." in line.store.get(keys.srt).decode()


def test_subtitles_alone_end_the_error_of_a_run_that_failed_to_write_them(ui, line, finished: VideoRow):
    line.catalog.begin_stage(finished.video_id, "text", "run-1")
    line.catalog.fail_stage(finished.video_id, "text", "run-1", "the bucket answered 503")
    assert ui.launch(BY_HAND, partition=finished.partition_key, assets=["subtitles"]).status == "SUCCESS"
    row = line.row(finished.video_id)
    assert (row.error, row.text.status, row.text_caption_count) == (None, "annotate", 3)


def test_subtitles_alone_leave_the_error_of_captions_that_are_not_read(ui, line, finished: VideoRow):
    keys = line.keys(finished.video_id)
    first, *others = read_captions(line.store.get(keys.captions_db))
    unread = replace(first, ocr_text=None, ocr_status="error", ocr_error="the engine was killed")
    line.store.put(keys.captions_db, write_captions([unread, *others]))
    line.catalog.begin_stage(finished.video_id, "text", "run-1")
    line.catalog.fail_stage(finished.video_id, "text", "run-1", "OCR failed")
    assert ui.launch(BY_HAND, partition=finished.partition_key, assets=["subtitles"]).status == "SUCCESS"
    assert line.row(finished.video_id).error == "OCR failed"


def test_an_approval_and_what_follows_it_go_on_with_the_standing_approval(ui, line, laid_out: VideoRow):
    assets = ["layout_approval", "cropped_chunks", "caption_frame_extents_db"]
    page = ui.launch(BY_HAND, partition=laid_out.partition_key, assets=assets)
    assert page.status == "SUCCESS", page.errors
    assert line.row(laid_out.video_id).current_cropped_frames_version == 1


def test_a_policy_may_approve_a_layout_that_was_made_by_hand(ui, line, waiting: VideoRow):
    assert ui.launch(BY_HAND, partition=waiting.partition_key, assets=["layout_db"]).status == "SUCCESS"
    row = line.row(waiting.video_id)
    assert (row.layout.status, row.layout_approved_by) == ("done", "auto")
