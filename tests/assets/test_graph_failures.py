"""Runs that fail, are cancelled or lose their lock: the row records it, and readers see none of it."""

import contextlib
import errno
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from dagster._core.errors import DagsterExecutionInterruptedError

from captionacc_dagster.assets import captions as captions_assets
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.databases.captions import read_captions
from modal_gpu.databases.layout import LayoutFile, read_layout, write_layout
from modal_gpu.errors import BadVideoError, OcrError, StorageError
from modal_gpu.functions import layout as layout_function
from modal_gpu.layout.reanalysis import layout_with_people
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line
from tests.run_results import failure, materialized


def raising(*errors: BaseException) -> Callable[[object], None]:
    """Raises each error once, then nothing."""
    waiting = list(errors)

    def act(request: object) -> None:
        if waiting:
            raise waiting.pop(0)

    return act


PASSING = "the bucket answered 503"


@pytest.mark.parametrize("function", ["crop_and_infer", "caption_ocr"])
def test_a_transient_error_is_retried(line: Line, laid_out: VideoRow, function: str):
    line.compute.before[function] = raising(StorageError(PASSING), StorageError(PASSING))
    result = line.run("captions", laid_out.video_id)
    assert result.success
    assert line.compute.names.count(function) == 3
    row = line.row(laid_out.video_id)
    assert (row.error, row.text.status, row.text_caption_count) == (None, "annotate", 3)
    versions = line.catalog.list_cropped_frames_versions(laid_out.video_id)
    expected = {"active": 1, "failed": 2} if function == "crop_and_infer" else {"active": 1}
    found = [version.status for version in versions]
    assert {status: found.count(status) for status in found} == expected


def test_a_lasting_error_is_in_the_row_after_three_attempts(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(*(StorageError(PASSING) for _ in range(9)))
    result = line.run("layout", video_id)
    assert not result.success
    assert line.compute.names == ["extract"] * 3
    row = line.row(video_id)
    assert (row.layout.status, row.layout.run_id) == ("error", None)
    assert row.layout.error_details["message"] == PASSING
    assert row.layout.error_details["run_id"] == result.run_id
    assert row.layout.error_details["error_type"] == "StorageError"
    assert (row.layout.attempts, row.layout.tries) == (0, 3)


def test_a_full_disk_is_reported_in_one_sentence_and_not_retried(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    line.compute.before["extract"] = raising(OSError(errno.ENOSPC, "No space left on device", "/tmp/frames"))
    result = line.run("layout", video_id)
    sentence = "the disk is full: /tmp/frames: make room, then try again"
    assert failure(result) == f"harbour.mp4: {sentence}. Then launch the job process_video."
    assert line.compute.names == ["extract"]
    assert line.row(video_id).layout.error_details["message"] == sentence


@pytest.mark.parametrize(
    ("job", "function", "stage", "error"),
    [
        ("layout", "extract", "layout", BadVideoError("the file is damaged; upload it again")),
        ("captions", "crop_and_infer", "boundaries", BadVideoError("the file is damaged; upload it again")),
        ("captions", "caption_ocr", "text", OcrError("OCR failed on every caption")),
    ],
)
def test_a_permanent_error_is_in_the_row_at_once(
    line: Line, laid_out: VideoRow, job: str, function: str, stage: str, error: Exception
):
    line.compute.before[function] = raising(error)
    result = line.run(job, laid_out.video_id)
    assert not result.success
    message = failure(result)
    assert message.startswith(f"harbour.mp4: {error}")
    assert "\n" not in message
    assert line.compute.names.count(function) == 1
    state = line.row(laid_out.video_id).stage(stage)
    assert (state.status, state.run_id) == ("error", None)
    details = state.error_details
    assert (details["message"], details["run_id"]) == (str(error), result.run_id)
    assert details["error_type"] == type(error).__name__
    assert details["failed_at"]
    assert line.catalog.list_locks() == []


def no_version_is_shown(line: Line, video_id: str) -> None:
    row = line.row(video_id)
    assert row.current_cropped_frames_version is None
    versions = line.catalog.list_cropped_frames_versions(video_id)
    assert versions and {version.status for version in versions} == {"failed"}
    assert not {"captions.db.gz", "captions.srt", "captions.vtt"} & line.stored(video_id).keys()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_failed_crop_run_publishes_nothing(line: Line, laid_out: VideoRow, moment: str):
    """This holds even if every chunk is already stored: readers go by the version."""
    getattr(line.compute, moment)["crop_and_infer"] = raising(BadVideoError("the file is damaged"))
    result = line.run("captions", laid_out.video_id)
    assert not result.success and materialized(result) == []
    no_version_is_shown(line, laid_out.video_id)
    (version,) = line.catalog.list_cropped_frames_versions(laid_out.video_id)
    assert version.error_message == "the file is damaged"


def test_a_failed_run_can_be_repeated(line: Line, laid_out: VideoRow):
    line.compute.before["crop_and_infer"] = raising(BadVideoError("the file is damaged"))
    assert not line.run("captions", laid_out.video_id).success
    line.catalog.retry_stage(laid_out.video_id, "boundaries")
    assert line.run("captions", laid_out.video_id).success
    row = line.row(laid_out.video_id)
    assert (row.error, row.current_cropped_frames_version, row.text_caption_count) == (None, 2, 3)


@pytest.mark.parametrize("interruption", [DagsterExecutionInterruptedError, KeyboardInterrupt])
def test_a_cancelled_crop_run_is_recorded_in_the_row(line: Line, laid_out: VideoRow, interruption: type):
    line.compute.after["crop_and_infer"] = raising(interruption())
    with contextlib.suppress(DagsterExecutionInterruptedError, KeyboardInterrupt):
        assert not line.run("captions", laid_out.video_id).success
    row = line.row(laid_out.video_id)
    assert (row.boundaries.status, row.boundaries.run_id) == ("error", None)
    assert row.boundaries.error_details["error_type"] == "Cancelled"
    assert "cancelled" in row.boundaries.error_details["message"]
    assert line.compute.names == ["crop_and_infer"]
    no_version_is_shown(line, laid_out.video_id)


def test_a_layout_run_that_is_cancelled_while_it_publishes_gives_its_lock_back(
    line: Line, clip: Clip, monkeypatch: pytest.MonkeyPatch
):
    video_id = line.upload(clip.path).video_id
    held = []

    def cancelled(*_: object, **__: object) -> None:
        held.extend(line.catalog.list_locks())
        raise DagsterExecutionInterruptedError

    monkeypatch.setattr(layout_function, "layout_with_people", cancelled)
    with contextlib.suppress(DagsterExecutionInterruptedError):
        assert not line.run("layout", video_id).success
    assert [(lock.video_id, lock.database_name) for lock in held] == [(video_id, "layout")]
    assert line.catalog.list_locks(include_expired=True) == []
    row = line.row(video_id)
    assert (row.layout.status, row.layout.error_details["error_type"]) == ("error", "Cancelled")
    assert "layout.db.gz" not in line.stored(video_id)
    assert line.catalog.database_version(video_id, "layout") == 0


def test_the_layout_is_free_for_people_while_the_call_runs(line: Line, laid_out: VideoRow):
    """What they write meanwhile under their own lock is in what the run publishes afterwards."""
    video_id, keys = laid_out.video_id, line.keys(laid_out.video_id)
    before = line.catalog.database_version(video_id, "layout")

    def label(request: object) -> None:
        token = line.catalog.take_lock(video_id, "layout", "ann", 60, lock_type="client")
        layout = read_layout(line.store.get(keys.layout_db))
        labelled = replace(layout.boxes[0], label="out", label_updated_at="2026-01-01T00:00:00Z")
        boxes = (labelled, *layout.boxes[1:])
        line.store.put(keys.layout_db, write_layout(replace(layout, boxes=boxes)))
        line.catalog.bump_database_version(token)
        line.catalog.release_lock(token)

    line.compute.after["extract"] = label
    result = line.run("layout", video_id)
    assert result.success, failure(result)
    layout = read_layout(line.store.get(keys.layout_db))
    assert (layout.boxes[0].label, layout.boxes[0].label_updated_at) == ("out", "2026-01-01T00:00:00Z")
    assert line.catalog.database_version(video_id, "layout") == before + 2


@pytest.mark.parametrize(("job", "function"), [("layout", "extract"), ("captions", "crop_and_infer")])
def test_a_run_that_fails_before_it_writes_a_database_leaves_its_version(
    line: Line, finished: VideoRow, job: str, function: str
):
    def versions() -> list[int]:
        return [line.catalog.database_version(finished.video_id, name) for name in ("layout", "captions")]

    before = versions()
    assert all(before)
    line.compute.before[function] = raising(BadVideoError("the file is damaged"))
    assert not line.run(job, finished.video_id).success
    assert versions() == before


def test_a_bug_in_the_code_is_recorded_in_the_row_too(line: Line, laid_out: VideoRow):
    line.compute.before["caption_ocr"] = raising(ZeroDivisionError("division by zero"))
    result = line.run("captions", laid_out.video_id)
    assert not result.success
    row = line.row(laid_out.video_id)
    assert row.text.error_details["message"] == "Unexpected ZeroDivisionError: division by zero"
    # Earlier results are kept: the captions can be reviewed.
    assert (row.boundaries.status, row.caption_count) == ("annotate", 3)


def steal(dsn: str, database_name: str) -> None:
    """Give a lock to another holder, and wait until the old holder's renewing thread has noticed."""
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "update captionacc.video_database_state set lock_token = gen_random_uuid(), "
            "lock_owner = 'ann', lock_expires_at = now() + interval '1 hour' where database_name = %s",
            [database_name],
        )
    for thread in threading.enumerate():
        if thread.name == f"lease-{database_name}":
            thread.join(10)


@pytest.mark.slow
def test_a_layout_run_that_loses_its_lock_stops_before_it_writes(
    line: Line, clip: Clip, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    video_id, held = line.upload(clip.path).video_id, line.catalog.lease

    def short_lease(video: str, name: str, owner: str, *, wait_seconds: float):
        return held(video, name, owner, 1, wait_seconds=0.1)

    def lose(*arguments: Any, **options: Any) -> LayoutFile:
        steal(postgres_dsn, "layout")
        return layout_with_people(*arguments, **options)

    monkeypatch.setattr(line.catalog, "lease", short_lease)
    monkeypatch.setattr(layout_function, "layout_with_people", lose)
    result = line.run("layout", video_id)
    # Its retries find that another holder has the lock.
    assert not result.success and "is locked by ann" in failure(result)
    assert "layout.db.gz" not in line.stored(video_id)
    assert line.catalog.database_version(video_id, "layout") == 0
    assert line.row(video_id).layout.error_details["error_type"] == "LockHeldError"


def test_a_lost_lease_writes_nothing(
    line: Line, finished: VideoRow, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    """Another holder took the lock of captions.db while this run was merging."""
    before = line.stored(finished.video_id)
    held, merge = line.catalog.lease, captions_assets.merge_zones

    def short_lease(video_id, name, owner):
        return held(video_id, name, owner, 1, wait_seconds=0.1)

    def robbed(*arguments):
        steal(postgres_dsn, "captions")
        return merge(*arguments)

    monkeypatch.setattr(line.catalog, "lease", short_lease)
    monkeypatch.setattr(captions_assets, "merge_zones", robbed)
    result = line.run("captions", finished.video_id, "captions_db")
    assert not result.success and "captions.db" in failure(result)
    assert line.stored(finished.video_id) == before
    row = line.row(finished.video_id)
    # Its retries wait for the lock's holder.
    assert row.boundaries.error_details["error_type"] == "LockHeldError"
    (lock,) = line.catalog.list_locks()
    assert lock.owner == "ann"


def test_a_lease_that_ran_out_is_taken_again(
    line: Line, finished: VideoRow, postgres_dsn: str, monkeypatch: pytest.MonkeyPatch
):
    """This is the state after a pause of the machine or of the database that outlasted the lease."""
    expected = read_captions(line.store.get(line.keys(finished.video_id).captions_db))
    merge, merges = captions_assets.merge_zones, []

    def paused(*arguments):
        merges.append(arguments)
        if len(merges) == 1:
            steal(postgres_dsn, "captions")
            with psycopg.connect(postgres_dsn) as connection:
                connection.execute(
                    "update captionacc.video_database_state set lock_expires_at = now() "
                    "where lock_owner = 'ann'"
                )
        return merge(*arguments)

    held = line.catalog.lease
    monkeypatch.setattr(line.catalog, "lease", lambda video, name, owner: held(video, name, owner, 1))
    monkeypatch.setattr(captions_assets, "merge_zones", paused)
    result = line.run("captions", finished.video_id, "captions_db")
    assert result.success, failure(result)
    assert len(merges) == 2
    assert read_captions(line.store.get(line.keys(finished.video_id).captions_db)) == expected
    assert line.catalog.list_locks() == []


def test_the_run_waits_for_a_database_that_is_being_edited(line: Line, finished: VideoRow, monkeypatch):
    token = line.catalog.take_lock(finished.video_id, "captions", "ann", 3600, lock_type="client")
    held = line.catalog.lease

    def impatient(*arguments, **options):
        return held(*arguments, **{**options, "wait_seconds": 0.1})

    monkeypatch.setattr(line.catalog, "lease", impatient)
    before = line.stored(finished.video_id)
    result = line.run("captions", finished.video_id, "captions_db")
    assert not result.success and "is locked by ann" in failure(result)
    assert line.stored(finished.video_id) == before
    line.catalog.release_lock(token)
    assert line.run("captions", finished.video_id, "captions_db").success


def test_a_video_deleted_meanwhile_is_not_published(line: Line, laid_out: VideoRow):
    line.compute.after["crop_and_infer"] = lambda _: line.catalog.soft_delete_video(laid_out.video_id)
    result = line.run("captions", laid_out.video_id)
    assert not result.success and "was deleted" in failure(result)
    no_version_is_shown(line, laid_out.video_id)


def test_a_displaced_run_publishes_nothing(line: Line, laid_out: VideoRow):
    def approve_another(request) -> None:
        crop = request.crop_region
        other = type(crop)(crop.crop_left, crop.crop_top - 0.02, crop.crop_right, crop.crop_bottom)
        line.catalog.approve_layout(laid_out.video_id, "ann", other)

    line.compute.after["crop_and_infer"] = approve_another
    result = line.run("captions", laid_out.video_id)
    assert not result.success
    no_version_is_shown(line, laid_out.video_id)
    row = line.row(laid_out.video_id)
    assert (row.boundaries.status, row.crop_region_version) == ("wait", 2)
    (approval,) = line.catalog.pending_layout_approvals()
    assert approval.crop_region_version == 2


def test_an_unknown_video_is_refused(line: Line):
    video_id = "11111111-1111-4111-8111-111111111111"
    line.instance.add_dynamic_partitions("videos", [video_id])
    result = line.run("layout", video_id)
    assert not result.success
    # A partition of a former version, without a name.
    assert failure(result).startswith(f"{video_id}: the video is not in the catalogue. ")
    assert line.compute.names == []


def test_a_missing_upload_is_reported(line: Line, clip: Clip):
    video_id = line.upload(clip.path).video_id
    line.store.delete(line.keys(video_id).video)
    assert not line.run("layout", video_id).success
    assert "upload it again" in line.row(video_id).error
