"""Dagster's UI shows a run that cannot succeed as one sentence, with no stack trace and no red check."""

import logging

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from captionacc_dagster.assets import layout as layout_assets
from captionacc_dagster.costs.estimates import CostLimitError
from captionacc_dagster.dagster_internals.quiet_failures import FinalFailure, quiet_failures
from captionacc_dagster.resources.catalog import CatalogAccessError, Stage, VideoRow
from modal_gpu.errors import (
    CaptionAccError,
    DiskFullError,
    InvalidCropRegionError,
    NoFramesError,
    NotAVideoError,
    RemoteTimeoutError,
    StorageAccessError,
    StorageError,
)
from tests.assets.test_graph_failures import raising
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.run_results import materialized

FINAL = [
    NotAVideoError("the file is not a video: its bytes are of no known video container"),
    NoFramesError("no frame of the video can be decoded; upload it again"),
    InvalidCropRegionError("the crop region is thinner than 16 pixels"),
    StorageAccessError("cannot read 'a' in bucket s3://b: access was refused (403)"),
    RemoteTimeoutError("ran longer than the function may"),
    CatalogAccessError("the catalogue's database refuses"),
    DiskFullError("the disk is full: /home: make room, then try again"),
]


def alarms(instance: dg.DagsterInstance, run_id: str) -> list[str]:
    """Lines that the UI shows in red: errors, without those of the step and the run themselves."""
    return [
        entry.user_message
        for entry in instance.all_logs(run_id)
        if entry.level >= logging.ERROR and not (entry.is_dagster_event and entry.dagster_event.is_failure)
    ]


@pytest.mark.parametrize("error", FINAL, ids=lambda error: type(error).__name__)
def test_a_permanent_failure_is_reported_in_one_sentence(line: Line, clip: Clip, error: CaptionAccError):
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(error)
    result = line.run("layout", video_id)
    assert not result.success
    (step,) = [event for event in result.all_events if event.is_step_failure]
    shown = step.step_failure_data.error
    assert shown.message.startswith(f"harbour.mp4: {error}. ") and "\n" not in shown.message
    assert (shown.stack, shown.cause, shown.context) == ([], None, None)
    assert shown.cls_name == type(error).__name__
    assert FinalFailure("x", "E").allow_retries is False
    # The assets' pages, which only link the run, have the sentence too.
    (observed,) = line.instance.fetch_observations(dg.AssetKey("layout_db"), limit=9).records
    assert observed.partition_key == line.row(video_id).partition_key
    assert observed.asset_observation.metadata["failed"].value == shown.message
    assert alarms(line.instance, result.run_id) == []


def test_each_try_of_a_transient_error_is_one_sentence_too(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(StorageError("the bucket answered 503"))
    result = line.run("layout", video_id)
    assert result.success
    (retry,) = [event for event in result.all_events if event.is_step_up_for_retry]
    shown = retry.step_retry_data.error
    assert shown.message == "harbour.mp4: the bucket answered 503 (try 1 of 3; again in 0 s)"
    assert (shown.stack, shown.cause, shown.cls_name) == ([], None, "StorageError")


def test_a_bucket_that_fails_while_the_result_is_read_for_the_page_is_a_try(
    line: Line, clip: Clip, monkeypatch: pytest.MonkeyPatch
):
    """The row says that the layout is made only when nothing of the step can fail any more."""
    video_id, statuses, read = line.upload(clip.path).video_id, [], layout_assets.read_raw_ocr

    def failing_once(data: bytes):
        statuses.append(line.row(video_id).layout.status)
        if len(statuses) == 1:
            raise StorageError("the bucket answered 503")
        return read(data)

    monkeypatch.setattr(layout_assets, "read_raw_ocr", failing_once)
    assert line.run("layout", video_id).success
    assert statuses == ["wait", "wait"]


@pytest.mark.parametrize(
    ("job", "function", "stage", "asset"),
    [
        ("layout", "extract", "layout", "full_frames"),
        ("captions", "crop_and_infer", "boundaries", "cropped_chunks"),
        ("captions", "caption_ocr", "text", "caption_ocr"),
    ],
)
def test_rejected_work_is_a_warning_and_what_follows_is_skipped(
    line: Line, laid_out: VideoRow, job: str, function: str, stage: Stage, asset: str
):
    """A limit that people set is no failure of a run; the row has the reason."""
    line.compute.before[function] = raising(CostLimitError("the month's limit of $100 is reached"))
    result = line.run(job, laid_out.video_id)
    assert result.success
    assert alarms(line.instance, result.run_id) == []
    assert asset not in materialized(result) and "subtitles" not in materialized(result)
    details = line.row(laid_out.video_id).stage(stage).error_details
    assert (details["error_type"], details["message"]) == (
        "CostLimitError",
        "the month's limit of $100 is reached",
    )
    (observed,) = [
        event.asset_observation_data.asset_observation
        for event in result.all_events
        if event.is_asset_observation and event.asset_key == dg.AssetKey(asset)
    ]
    assert observed.metadata["rejected"].value == "harbour.mp4: the month's limit of $100 is reached"
    assert observed.partition == laid_out.partition_key
    skipped = {event.step_key for event in result.all_events if event.is_step_skipped}
    assert job == "layout" or "subtitles" in skipped


def checks_of(line: Line, name: str, asset: str):
    """Newest first."""
    key = dg.AssetCheckKey(dg.AssetKey(asset), name)
    return line.instance.event_log_storage.get_asset_check_execution_history(key, limit=9)


@pytest.mark.parametrize(
    ("asset", "check"),
    [
        ("full_frames", "every_frame_present"),
        ("raw_ocr_db", "every_frame_read"),
        ("layout_db", "boxes_match_ocr"),
    ],
)
def test_a_check_that_did_not_run_is_a_warning(line: Line, clip: Clip, asset: str, check: str):
    """Dagster takes a planned check of a failed run for one whose execution failed, in red."""
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(FINAL[0])
    result = line.run("layout", video_id)
    newest, *_ = checks_of(line, check, asset)
    assert newest.status == AssetCheckExecutionRecordStatus.FAILED
    evaluation = newest.event.dagster_event.asset_check_evaluation_data
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.partition == line.row(video_id).partition_key
    assert evaluation.description == "not checked: the step that makes the asset failed"
    # Not in the run's own log, where it would be red.
    own = [entry.dagster_event for entry in line.instance.all_logs(result.run_id) if entry.is_dagster_event]
    assert "ASSET_CHECK_EVALUATION" not in {event.event_type_value for event in own}


def test_downstream_assets_of_a_failed_one_report_that_they_did_not_run(line: Line, laid_out: VideoRow):
    line.compute.before["crop_and_infer"] = raising(FINAL[0])
    result = line.run("captions", laid_out.video_id)
    said = [entry.user_message for entry in line.instance.all_logs(result.run_id)]
    for step in ("captions_db", "caption_ocr", "subtitles"):
        assert f"{step} was not run, since a step before it failed." in said
    assert alarms(line.instance, result.run_id) == []


def test_a_bug_in_the_code_keeps_its_stack_trace(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(ZeroDivisionError("division by zero"))
    result = line.run("layout", video_id)
    (step,) = [event for event in result.all_events if event.is_step_failure]
    assert step.step_failure_data.error.cause.stack


def test_a_run_after_the_fix_runs_every_step(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(FINAL[0])
    assert not line.run("layout", video_id).success
    line.catalog.retry_stage(video_id, "layout")
    assert line.run("layout", video_id).success
    newest, *_ = checks_of(line, "every_frame_present", "full_frames")
    assert newest.status == AssetCheckExecutionRecordStatus.SUCCEEDED


def test_the_engine_is_patched_once_however_often_the_definitions_load():
    from dagster._core.execution.plan.active import ActiveExecution

    before = ActiveExecution.plan_events_iterator
    quiet_failures()
    assert ActiveExecution.plan_events_iterator is before and before.is_quiet
