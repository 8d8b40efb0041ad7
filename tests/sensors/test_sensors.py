"""The sensors on the real catalogue and bucket: each piece of work is requested from Dagster once."""

import itertools
from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.resources.catalog import LayoutOutcome, VideoRow
from captionacc_dagster.sensors import claims
from captionacc_dagster.sensors import layout_approvals as layout_approvals_module
from captionacc_dagster.sensors import new_videos as new_videos_module
from captionacc_dagster.sensors.caption_ocr_requests import caption_ocr_requests
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from captionacc_dagster.sensors.new_videos import new_videos
from captionacc_dagster.settings import get_settings
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.captions import read_captions
from tests.clip_fixtures import Clip
from tests.line_fixtures import Line

OTHER_REGION = CropRegion(0.1, 0.7, 0.9, 0.99)


@pytest.fixture
def tick(line: Line) -> Callable[..., dg.SensorResult]:
    """Evaluate a sensor once, and apply its result as the daemon does."""
    return line.tick


@pytest.fixture
def age(postgres_dsn: str) -> Callable[..., None]:
    """Moves a column of every video back in time, as if that long had passed."""

    def move(column: str, by: timedelta) -> None:
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute(f"update captionacc.videos set {column} = {column} - %s", [by])

    return move


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Sets variables, which the settings have for this test."""

    def set_all(variables: dict[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        get_settings.cache_clear()

    yield set_all
    get_settings.cache_clear()


CLAIM = timedelta(seconds=claims.CLAIM_SECONDS + 1)


def run_keys(result: dg.SensorResult) -> list[str]:
    return [request.run_key for request in result.run_requests or []]


def partitions(result: dg.SensorResult) -> list[str]:
    requests = result.dynamic_partitions_requests or []
    assert all(request.partitions_def_name == "videos" for request in requests)
    return [key for request in requests for key in request.partition_keys]


class TestNewVideos:
    def test_an_upload_becomes_a_partition_an_event_and_a_run(self, line: Line, clip: Clip, tick):
        video = line.upload(clip.path)
        result = tick(new_videos)
        assert partitions(result) == [video.partition_key]
        (event,) = result.asset_events
        assert (event.asset_key, event.partition) == (dg.AssetKey("source_video"), video.partition_key)
        assert event.metadata["size_bytes"].value == clip.path.stat().st_size
        assert event.metadata["file"].value == "harbour.mp4"
        assert event.tags["dagster/data_version"]
        (request,) = result.run_requests
        assert request.run_key == f"layout/{video.video_id}/1"
        assert request.partition_key == video.partition_key
        assert request.tags == {
            "tenant": line.catalog.get_tenant(line.tenant_id).name,
            "video": "harbour.mp4",
            ".dagster/captionacc-tenant-id": line.tenant_id,
            ".dagster/captionacc-video-id": video.video_id,
            ".dagster/captionacc-tenant-job": f"{line.tenant_id}/video",
            "tier": "free",
            # The tier's, and five for a small file.
            "priority": "55",
            ".dagster/captionacc-unaged-priority": "55",
            "dagster/priority": "55",
            "age-boosting": "on",
            ".dagster/captionacc-waiting-since": video.uploaded_at.isoformat(),
            "trigger": "new_videos",
            "event": "upload",
        }

    @pytest.mark.parametrize(
        "confidence, environment, job",
        [
            (0.5, {}, "video"),
            (0.0, {}, "video"),
            (None, {}, "layout"),
            (0.5, {"MODAL_ENABLED": "true"}, "layout"),
            (0.5, {"MODAL_ENABLED": "true", "CAPTIONACC_ONE_RUN": "true"}, "video"),
            (0.5, {"CAPTIONACC_ONE_RUN": "false"}, "layout"),
        ],
    )
    def test_one_run_makes_everything_where_a_policy_approves_and_this_machine_computes(
        self, line: Line, clip: Clip, tick, environ, confidence, environment, job
    ):
        environ(environment)
        line.catalog.set_auto_approve(line.tenant_id, confidence)
        line.upload(clip.path)
        (request,) = tick(new_videos).run_requests
        assert request.job_name == job
        assert request.tags[".dagster/captionacc-tenant-job"] == f"{line.tenant_id}/{job}"

    def test_a_layout_that_is_made_again_does_not_make_captions_again(
        self, line: Line, laid_out: VideoRow, tick
    ):
        line.catalog.begin_stage(laid_out.video_id, "layout", "again")
        line.catalog.fail_stage(laid_out.video_id, "layout", "again", "the file is damaged")
        line.catalog.retry_stage(laid_out.video_id, "layout")
        (request,) = tick(new_videos).run_requests
        assert request.job_name == "layout"

    def test_a_second_tick_requests_nothing(self, line: Line, clip: Clip, tick):
        line.upload(clip.path)
        tick(new_videos)
        result = tick(new_videos)
        assert run_keys(result) == [] and partitions(result) == []
        assert "no new video" in result.skip_reason.skip_message

    def test_an_expired_claim_requests_the_same_run(self, line: Line, clip: Clip, tick, age):
        """The first request may wait in Dagster's queue: the same key makes no second run."""
        line.upload(clip.path)
        first = run_keys(tick(new_videos))
        age("layout_requested_at", CLAIM)
        assert run_keys(tick(new_videos)) == first

    def test_nothing_is_requested_while_a_run_is_running(self, line: Line, clip: Clip, tick, age):
        video = line.upload(clip.path)
        tick(new_videos)
        line.catalog.begin_stage(video.video_id, "layout", "run-1")
        age("layout_requested_at", 10 * CLAIM)
        assert run_keys(tick(new_videos)) == []

    def test_a_retry_requests_another_run(self, line: Line, clip: Clip, tick):
        video = line.upload(clip.path)
        tick(new_videos)
        line.catalog.fail_stage(video.video_id, "layout", "run-1", "the file is damaged")
        assert run_keys(tick(new_videos)) == []
        line.catalog.retry_stage(video.video_id, "layout")
        assert run_keys(tick(new_videos)) == [f"layout/{video.video_id}/2"]

    def test_an_upload_without_its_object_is_checked_again(self, line: Line, clip: Clip, tick, age):
        late, whole = line.upload(clip.path), line.upload(clip.path)
        line.store.delete(late.storage_key)
        assert partitions(tick(new_videos)) == [whole.partition_key]
        line.catalog.begin_stage(whole.video_id, "layout", "run-1")

        age("layout_requested_at", CLAIM)
        result = tick(new_videos)
        assert result.run_requests in (None, [])
        assert "1 claimed, no object is there yet" in result.skip_reason.skip_message

        line.store.upload(clip.path, late.storage_key)
        age("layout_requested_at", CLAIM)
        assert partitions(tick(new_videos)) == [late.partition_key]

    def test_an_object_that_never_comes_ends_in_an_error(self, line: Line, clip: Clip, tick, age):
        video = line.upload(clip.path)
        line.store.delete(video.storage_key)
        age("created_at", new_videos_module.GIVE_UP_AFTER)
        assert run_keys(tick(new_videos)) == []
        row = line.row(video.video_id)
        assert row.layout.status == "error"
        assert row.error == f"there is no video at {video.storage_key}: upload it again"
        assert row.layout.error_details["error_type"] == "ObjectNotFoundError"

    def test_a_tick_handles_a_batch_and_the_next_one_continues(
        self, line: Line, clip: Clip, tick, monkeypatch
    ):
        monkeypatch.setattr(new_videos_module, "BATCH", 2)
        uploaded = [line.upload(clip.path).partition_key for _ in range(5)]
        taken = [partitions(tick(new_videos)) for _ in range(4)]
        assert [len(batch) for batch in taken] == [2, 2, 1, 0]
        assert list(itertools.chain(*taken)) == uploaded

    def test_deleted_and_unfinished_uploads_are_left_alone(self, line: Line, clip: Clip, tick):
        line.catalog.soft_delete_video(line.upload(clip.path).video_id)
        keys = line.keys("11111111-1111-4111-8111-111111111111")
        line.catalog.register_video(
            line.tenant_id, keys.video_id, keys.video, 1, "unfinished.mp4", uploaded=False
        )
        assert run_keys(tick(new_videos)) == []


class TestLayoutApprovals:
    def test_an_approval_becomes_an_event_and_a_run(self, line: Line, laid_out: VideoRow, tick):
        result = tick(layout_approvals)
        (request,) = result.run_requests
        assert request.run_key == f"captions/{laid_out.video_id}/1/1"
        assert request.partition_key == laid_out.partition_key
        assert request.tags["trigger"] == "layout_approvals"
        assert request.tags[".dagster/captionacc-tenant-id"] == line.tenant_id
        assert partitions(result) == [laid_out.partition_key]
        (event,) = result.asset_events
        assert (event.asset_key, event.partition) == (dg.AssetKey("layout_approval"), laid_out.partition_key)
        assert event.metadata["approved_by"].value == "auto"
        assert event.metadata["crop_top"].value == pytest.approx(laid_out.crop_region.crop_top, abs=1e-4)
        assert event.tags["dagster/data_version"] == "crop-1"

    def test_a_second_tick_requests_nothing_and_a_later_one_the_same(self, laid_out, tick, age):
        first = run_keys(tick(layout_approvals))
        second = tick(layout_approvals)
        assert run_keys(second) == []
        assert second.skip_reason.skip_message.startswith("no approval waits for a run")
        age("boundaries_requested_at", CLAIM)
        assert run_keys(tick(layout_approvals)) == first

    def test_without_a_policy_a_layout_waits_for_a_person(self, line: Line, clip: Clip, tick, laid_out):
        tick(layout_approvals)
        line.catalog.set_auto_approve(line.tenant_id, None)
        video_id = line.upload(clip.path).video_id
        line.catalog.begin_stage(video_id, "layout", "run-1")
        outcome = LayoutOutcome(
            duration_seconds=8.0,
            width=640,
            height=360,
            video_codec="h264",
            frame_count=80,
            layout_found=True,
            layout_confidence=1.0,
            crop_region=OTHER_REGION,
        )
        line.catalog.finish_layout(video_id, "run-1", outcome)
        assert run_keys(tick(layout_approvals)) == []
        line.catalog.approve_layout(video_id, "ann")
        result = tick(layout_approvals)
        assert run_keys(result) == [f"captions/{video_id}/1/1"]
        assert result.asset_events[0].metadata["approved_by"].value == "ann"

    def test_a_changed_crop_region_is_other_work(self, line: Line, finished: VideoRow, tick):
        assert run_keys(tick(layout_approvals)) == []
        line.catalog.approve_layout(finished.video_id, "ann", finished.crop_region)
        assert run_keys(tick(layout_approvals)) == []
        line.catalog.approve_layout(finished.video_id, "ann", OTHER_REGION)
        result = tick(layout_approvals)
        (key,) = run_keys(result)
        assert key.startswith(f"captions/{finished.video_id}/2/")
        assert result.asset_events[0].tags["dagster/data_version"] == "crop-2"

    def test_a_retry_requests_another_run(self, line: Line, laid_out: VideoRow, tick):
        (first,) = run_keys(tick(layout_approvals))
        line.catalog.begin_stage(laid_out.video_id, "boundaries", "run-1")
        line.catalog.fail_stage(laid_out.video_id, "boundaries", "run-1", "no space left")
        assert run_keys(tick(layout_approvals)) == []
        line.catalog.retry_stage(laid_out.video_id, "boundaries")
        (second,) = run_keys(tick(layout_approvals))
        assert second != first

    def test_a_tick_handles_a_batch(self, line: Line, laid_out: VideoRow, tick, monkeypatch):
        monkeypatch.setattr(layout_approvals_module, "BATCH", 1)
        assert len(run_keys(tick(layout_approvals))) == 1
        assert len(run_keys(tick(layout_approvals))) == 0


class TestCaptionOcrRequests:
    def test_captions_without_text_are_read_by_a_run_of_their_own(self, line: Line, finished, tick, age):
        assert run_keys(tick(caption_ocr_requests)) == []
        assert line.run("captions", finished.video_id, "captions_db").success
        # A run that makes only the captions leaves their text to another one.
        (request,) = tick(caption_ocr_requests).run_requests
        assert request.partition_key == finished.partition_key
        assert request.tags["trigger"] == "caption_ocr_requests"
        age("text_requested_at", CLAIM)
        assert run_keys(tick(caption_ocr_requests)) == [request.run_key]
        assert line.run("caption_text", finished.video_id).success
        assert line.row(finished.video_id).text.status == "annotate"

        # Again, later: other work, so another key, or Dagster would take no notice.
        assert line.run("captions", finished.video_id, "captions_db").success
        (again,) = run_keys(tick(caption_ocr_requests))
        assert again != request.run_key

    def test_a_retry_requests_at_once(self, line: Line, finished: VideoRow, tick):
        line.catalog.begin_stage(finished.video_id, "text", "run-1")
        line.catalog.fail_stage(finished.video_id, "text", "run-1", "the engine was killed")
        line.catalog.retry_stage(finished.video_id, "text")
        (key,) = run_keys(tick(caption_ocr_requests))
        assert key.startswith(f"text/{finished.video_id}/1/")

    def test_requests_of_one_video_are_one_run_which_reads_what_they_name(self, line: Line, finished, tick):
        before = {c.id: c for c in read_captions(line.store.get(line.keys(finished.video_id).captions_db))}
        chosen, other = sorted(before)[:2]
        first = line.catalog.request_caption_ocr(finished.video_id, [chosen], requested_by="ann")
        second = line.catalog.request_caption_ocr(finished.video_id, [chosen, 10_000], requested_by="bob")
        (request,) = tick(caption_ocr_requests).run_requests
        assert request.run_key == f"request/{finished.video_id}/{first.id}/1"
        assert request.partition_key == finished.partition_key
        assert request.tags["event"] == "request"
        assert run_keys(tick(caption_ocr_requests)) == []

        line.compute.calls.clear()
        assert line.run("caption_text", finished.video_id).success
        ((_, asked),) = line.compute.calls
        assert [c.caption_id for c in asked.captions] == [chosen]
        rows = {row.id: row for row in line.catalog.list_caption_ocr_requests(finished.video_id)}
        assert {row.status for row in rows.values()} == {"completed"}
        assert (rows[first.id].caption_count, rows[second.id].caption_count) == (1, 1)
        after = {c.id: c for c in read_captions(line.store.get(line.keys(finished.video_id).captions_db))}
        assert after[chosen].ocr_processed_at > before[chosen].ocr_processed_at
        assert after[other] == before[other]

    def test_a_request_waits_while_a_run_reads_its_video(self, line: Line, finished, tick, age, postgres_dsn):
        line.catalog.begin_stage(finished.video_id, "text", "run-1")
        line.catalog.request_caption_ocr(finished.video_id)
        result = tick(caption_ocr_requests)
        assert "1 videos with requests are being read" in result.skip_reason.skip_message
        line.catalog.finish_text(finished.video_id, "run-1", caption_count=3)
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute(
                "update captionacc.caption_ocr_requests set requested_at = requested_at - interval '2 min'"
            )
        assert len(run_keys(tick(caption_ocr_requests))) == 1
