"""However a run ends, its video's row records it. On the catalogue and on Dagster's own storage and queue."""

import uuid
from datetime import timedelta

import dagster as dg
import pytest
from dagster._core.events import DagsterEventType

from captionacc_dagster.resources.catalog import (
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
    WrongStateError,
)
from captionacc_dagster.sensors import run_outcomes as run_outcomes_module
from tests.sensors.conftest import KILLED, World

NOT_STARTED = dg.DagsterRunStatus.NOT_STARTED


class TestRefusals:
    @pytest.mark.parametrize(
        "error",
        [
            CatalogUnavailableError("the database does not answer"),
            CatalogAccessError("the database refuses (password authentication failed): correct it"),
            CatalogAccessError("the disk of the database is full: make room, then try again"),
        ],
        ids=["down", "wrong password", "disk full"],
    )
    @pytest.mark.parametrize("call", ["get_video", "fail_stage"])
    def test_an_end_that_the_catalogue_did_not_record_is_reported_again(
        self, world: World, no_retry, monkeypatch, error: CatalogError, call: str
    ):
        """The service is at fault: if it counted as the video's, the row would stay in progress forever."""

        def refuses(*_: object) -> None:
            raise error

        video, run_id = world.working()
        no_retry(run_id)
        with monkeypatch.context() as patched:
            patched.setattr(world.catalog, call, refuses)
            with pytest.raises(type(error)):
                world.tick()
        assert world.row(video).layout.run_id == run_id
        world.tick()
        assert (world.row(video).layout.status, world.row(video).layout.run_id) == ("error", None)

    def test_a_refusal_by_the_stage_itself_is_logged_and_accepted(self, world: World, no_retry, monkeypatch):
        video, run_id = world.working()
        no_retry(run_id)

        def displaced(*_: object) -> None:
            raise WrongStateError("another run works on it")

        monkeypatch.setattr(world.catalog, "fail_stage", displaced)
        world.tick()
        assert world.row(video).layout.run_id == run_id


class TestFailures:
    def test_a_killed_run_is_recorded_in_its_videos_row(self, world: World, no_retry):
        video, run_id = world.working()
        no_retry(run_id)
        assert "1 failures and 0 cancellations" in world.tick()
        row = world.row(video)
        assert (row.layout.status, row.layout.run_id) == ("error", None)
        assert row.layout.error_details["run_id"] == run_id
        assert "The run ended before it was done" in row.error and "killed" in row.error
        assert "0 failures" in world.tick()

    def test_between_the_tries_of_a_run_that_dagster_starts_again_there_is_no_error(self, world: World):
        video, run_id = world.working()
        world.fail(run_id)
        world.tick()
        assert (world.row(video).layout.status, world.row(video).layout.run_id) == ("wait", run_id)

    def test_a_retry_that_dies_before_it_took_over_ends_the_stage(self, world: World):
        video, first = world.working()
        world.fail(first)
        world.tick()
        (second,) = world.queue.submit("layout", [dg.RunRequest(partition_key=video.video_id)])
        run = world.queue.run(second)
        again = run._replace(run_id=str(uuid.uuid4()), parent_run_id=first, root_run_id=first)
        again = again.with_tags({**run.tags, "dagster/will_retry": "false", "dagster/max_retries": "0"})
        world.instance.add_run(again)
        world.instance.report_run_failed(again, KILLED)
        world.tick()
        assert world.row(video).layout.status == "error"

    def test_a_failure_that_dagsters_daemon_skipped_is_reported_again(self, world: World, monkeypatch):
        """It read the event before the run's status had changed, and will not read it again."""
        video, run_id = world.working()
        world.fail(run_id)
        world.tick()
        assert "0 retries requested again" in world.tick()
        monkeypatch.setattr(run_outcomes_module, "RETRY_AFTER", timedelta(0))
        messages = [world.tick() for _ in range(2 * run_outcomes_module.MAX_FAILURES_REPORTED)]
        assert sum("1 retries requested again" in message for message in messages) == 4
        failures = world.instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)
        assert [entry.dagster_event.message for entry in failures] == [KILLED] * 5
        assert world.queue.run(run_id).tags["dagster/will_retry"] == "true"
        assert world.row(video).layout.run_id == run_id

    @pytest.mark.parametrize("made", [False, True], ids=["no-run", "run-not-queued"])
    def test_a_retry_that_dagster_could_not_start_is_requested_again(
        self, world: World, monkeypatch, made: bool
    ):
        """Its daemon leaves a run like this when the code server or the database does not answer."""
        video, run_id = world.working()
        world.fail(run_id)
        if made:
            again = str(uuid.uuid4())
            world.instance.add_run(world.queue.run(run_id)._replace(run_id=again, status=NOT_STARTED))
            world.instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": again})
        world.could_not_retry(run_id)
        world.tick()
        world.later(run_outcomes_module.RETRY_AFTER + timedelta(minutes=1))
        assert "0 retries requested again" in world.tick()
        assert world.row(video).layout.run_id == run_id
        monkeypatch.setattr(run_outcomes_module, "RETRY_AFTER", timedelta(0))
        assert "1 retries requested again" in world.tick()
        # Dagster's own decision, repeated.
        assert world.queue.run(run_id).tags["dagster/will_retry"] == "true"

    def test_a_retry_that_dagster_can_never_start_is_recorded_in_the_row(self, world: World, monkeypatch):
        video, run_id = world.working()
        world.fail(run_id)
        monkeypatch.setattr(run_outcomes_module, "RETRY_AFTER", timedelta(0))
        for _ in range(2 * run_outcomes_module.MAX_FAILURES_REPORTED):
            world.could_not_retry(run_id)
            world.tick()
        assert world.row(video).layout.status == "error" and KILLED in world.row(video).error

    def test_a_run_that_was_started_again_is_left_alone(self, world: World, monkeypatch):
        _, run_id = world.working()
        world.fail(run_id)
        world.tick()
        monkeypatch.setattr(run_outcomes_module, "RETRY_AFTER", timedelta(0))
        world.instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": "another"})
        assert "0 retries requested again" in world.tick()
        assert len(world.instance.all_logs(run_id, of_type=DagsterEventType.RUN_FAILURE)) == 1

    def test_a_failure_that_dagster_decides_on_later_is_settled_then(self, world: World):
        video, run_id = world.working()
        world.fail(run_id)
        world.tick()
        world.instance.add_run_tags(run_id, {"dagster/will_retry": "false"})
        world.tick()
        assert world.row(video).layout.status == "error" and KILLED in world.row(video).error

    def test_a_run_that_failed_before_it_began_is_recorded_in_the_row(self, world: World, no_retry):
        """Its run key is used up, so no other run would ever come."""
        video, run_id = world.asked_for()
        no_retry(run_id, "the code server did not load")
        world.tick()
        row = world.row(video)
        assert row.layout.status == "error" and "the code server did not load" in row.error
        world.catalog.retry_stage(video.video_id, "layout")
        assert [claimed.layout.attempts for claimed in world.catalog.claim_new_videos()] == [2]

    def test_an_old_attempts_run_does_not_end_a_new_attempt(self, world: World, no_retry):
        video, run_id = world.asked_for()
        world.catalog.fail_stage(video.video_id, "layout", "somebody", "gave up")
        world.catalog.retry_stage(video.video_id, "layout")
        world.catalog.claim_new_videos()
        no_retry(run_id)
        world.tick()
        assert world.row(video).layout.status == "wait"

    def test_what_the_run_wrote_itself_stands(self, world: World, no_retry):
        video, run_id = world.working()
        world.catalog.fail_stage(video.video_id, "layout", run_id, "the file is not a video", "BadVideoError")
        no_retry(run_id)
        world.tick()
        assert world.row(video).error == "the file is not a video"

    def test_a_run_that_another_displaced_changes_nothing(self, world: World, no_retry):
        video, run_id = world.working()
        world.catalog.begin_stage(video.video_id, "layout", "another")
        no_retry(run_id)
        world.tick()
        assert (world.row(video).layout.status, world.row(video).layout.run_id) == ("wait", "another")

    def test_runs_of_no_video_of_an_unknown_and_of_a_deleted_one_are_no_error(self, world: World, no_retry):
        video, run_id = world.working()
        world.catalog.soft_delete_video(video.video_id)
        unknown, nothing = world.queue.submit(
            "layout", [dg.RunRequest(partition_key=str(uuid.uuid4())), dg.RunRequest(partition_key="x")]
        )
        for run in (unknown, nothing, run_id):
            no_retry(run)
        assert "3 failures" in world.tick()

    def test_requests_that_the_run_was_to_read_fail_with_it(self, world: World, no_retry):
        video = world.with_captions()
        begun = world.catalog.request_caption_ocr(video.video_id, [1])
        (claimed,) = world.catalog.claim_caption_ocr_requests()
        key = f"request/{video.video_id}/{claimed.id}/1"
        (run_id,) = world.queue.submit(
            "caption_text", [dg.RunRequest(run_key=key, partition_key=video.video_id)]
        )
        world.queue.dequeue()
        world.catalog.begin_caption_ocr_request(begun.id, run_id)
        no_retry(run_id)
        world.tick()
        (row,) = world.catalog.list_caption_ocr_requests(video.video_id)
        assert row.status == "failed" and "killed" in row.error_message
        assert world.row(video).text.status == "wait"

        # A run that died before it began.
        world.catalog.request_caption_ocr(video.video_id, [2])
        (claimed,) = world.catalog.claim_caption_ocr_requests()
        key = f"request/{video.video_id}/{claimed.id}/1"
        (run_id,) = world.queue.submit(
            "caption_text", [dg.RunRequest(run_key=key, partition_key=video.video_id)]
        )
        no_retry(run_id)
        world.tick()
        rows = world.catalog.list_caption_ocr_requests(video.video_id)
        assert {row.status for row in rows} == {"failed"}

    def test_a_tick_reads_a_batch_and_the_next_one_continues(self, world: World, no_retry, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "BATCH", 2)
        videos = []
        for _ in range(3):
            video, run_id = world.working()
            no_retry(run_id)
            videos.append(video)
        seen = [world.tick() for _ in range(3)]
        assert [message.split()[0] for message in seen] == ["2", "1", "0"]
        assert {world.row(video).layout.status for video in videos} == {"error"}


class TestCancellations:
    def test_a_cancelled_run_is_recorded_and_its_remote_calls_are_cancelled(self, world: World):
        video, run_id = world.working()
        call = world.catalog.open_compute_call(
            video.video_id, run_id, "extract", "hash", "11111111-1111-4111-8111-111111111111"
        )
        world.instance.run_coordinator.cancel_run(run_id)
        assert "1 cancellations" in world.tick()
        row = world.row(video)
        assert (row.layout.status, row.layout.error_details["error_type"]) == ("error", "Cancelled")
        assert world.catalog.get_compute_call(call.id).status == "cancelled"

    def test_a_run_that_was_cancelled_in_the_queue_is_recorded(self, world: World):
        video, run_id = world.asked_for()
        world.instance.run_coordinator.cancel_run(run_id)
        world.tick()
        assert world.row(video).layout.error_details["error_type"] == "Cancelled"

    def test_a_cancellation_in_the_web_app_ends_dagsters_run(self, world: World):
        video, run_id = world.working()
        world.catalog.cancel_stage(video.video_id, "layout", "ann")
        assert "1 runs terminated" in world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.CANCELED
        assert "0 runs terminated" in world.tick()
        assert world.catalog.pending_run_cancellations() == []
        assert world.row(video).layout.error_details["error_type"] == "CancelledError"

    def test_a_deleted_videos_run_is_ended(self, world: World):
        video, run_id = world.working()
        world.catalog.soft_delete_video(video.video_id)
        world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.CANCELED

    def test_a_cancelled_run_that_dagster_does_not_know_is_done_with(self, world: World):
        video = world.video()
        world.catalog.begin_stage(video.video_id, "layout", "unknown")
        world.catalog.cancel_stage(video.video_id, "layout", "ann")
        world.tick()
        assert world.catalog.pending_run_cancellations() == []
