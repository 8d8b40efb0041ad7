"""However a run ends, its video's row records it. On the catalogue and on Dagster's own storage and queue."""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import dagster as dg
import psycopg
import pytest
from dagster._core.events import DagsterEvent, DagsterEventType

from benchmarks.run_queue import RunQueue, run_queue
from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.dagster_internals import run_processes
from captionacc_dagster.resources.catalog import (
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
    LayoutOutcome,
    VideoRow,
    WrongStateError,
)
from captionacc_dagster.sensors import run_outcomes as run_outcomes_module
from captionacc_dagster.sensors.run_outcomes import run_outcomes
from captionacc_dagster.settings import Settings
from modal_gpu.contracts import CropRegion
from tests.full_catalog import FullCatalog

STRIP = CropRegion(0.1, 0.8, 0.9, 0.95)
NOT_STARTED = dg.DagsterRunStatus.NOT_STARTED
KILLED = "The process of this run was killed"


@pytest.fixture(scope="module")
def shared_queue() -> Iterator[RunQueue]:
    with run_queue(Settings(CAPTIONACC_MAX_RUNS=4)) as queue:
        yield queue


class World:
    """A catalogue, a run queue, and the sensor's cursor from tick to tick."""

    def __init__(self, catalog: FullCatalog, queue: RunQueue, dsn: str) -> None:
        self.catalog, self.queue, self.instance = catalog, queue, queue.instance
        self._dsn, self._cursor = dsn, None
        # Ignores what other tests left in the event log.
        for _ in range(20):
            self.tick()

    def tick(self) -> str:
        with dg.build_sensor_context(
            instance=self.instance, resources={"catalog": self.catalog}, cursor=self._cursor
        ) as context:
            result = run_outcomes(context)
        self._cursor = result.cursor
        return result.skip_reason.skip_message

    def video(self) -> VideoRow:
        video_id = str(uuid.uuid4())
        key = f"{LOCAL_TENANT_ID}/{video_id}"
        return self.catalog.register_video(LOCAL_TENANT_ID, video_id, key, 1, "a.mp4")

    def asked_for(self, **tags: str) -> tuple[VideoRow, str]:
        """A claimed video and its queued layout run."""
        self.video()
        (video,) = self.catalog.claim_new_videos()
        request = dg.RunRequest(
            run_key=f"layout/{video.video_id}/{video.layout.attempts}",
            partition_key=video.video_id,
            tags=tags,
        )
        (run_id,) = self.queue.submit("layout", [request])
        return video, run_id

    def working(self, **tags: str) -> tuple[VideoRow, str]:
        """A video whose layout a run works on."""
        video, run_id = self.asked_for(**tags)
        assert self.queue.dequeue() == [run_id]
        return self.catalog.begin_stage(video.video_id, "layout", run_id), run_id

    def with_captions(self) -> VideoRow:
        """A video whose captions are there, and whose text is about to be read."""
        video_id = self.video().video_id
        self.catalog.begin_stage(video_id, "layout", "layout-run")
        outcome = LayoutOutcome(
            duration_seconds=8.0,
            width=640,
            height=360,
            video_codec="h264",
            frame_count=80,
            layout_found=True,
            layout_confidence=0.9,
            crop_region=STRIP,
        )
        self.catalog.finish_layout(video_id, "layout-run", outcome)
        self.catalog.approve_layout(video_id, "ann")
        self.catalog.begin_stage(video_id, "boundaries", "crop-run")
        version = self.catalog.allot_cropped_frames_version(video_id, "crop-run", STRIP)
        self.catalog.activate_cropped_frames_version(
            video_id, version, chunk_count=1, total_frames=80, total_size_bytes=1
        )
        return self.catalog.finish_boundaries(video_id, "crop-run", version=version, caption_count=4)

    def row(self, video: VideoRow) -> VideoRow:
        return self.catalog.get_video(video.video_id)

    def fail(self, run_id: str, message: str = KILLED) -> None:
        self.instance.report_run_failed(self.queue.run(run_id), message)

    def could_not_retry(self, run_id: str) -> None:
        """Do what Dagster's daemon does after an error of its own."""
        self.instance.report_engine_event("Failed to retry run", self.queue.run(run_id))
        self.instance.add_run_tags(run_id, {"dagster/will_retry": "false"})

    def later(self, by: timedelta) -> None:
        """Moves what the catalogue and Dagster noted back in time."""
        with psycopg.connect(self._dsn) as connection:
            connection.execute(
                "update captionacc.videos set layout_started_at = layout_started_at - %s", [by]
            )
        for record in self.instance.get_run_records():
            if record.end_time:
                with self.instance.run_storage.connect() as connection:
                    connection.exec_driver_sql(
                        "update runs set end_time = end_time - ? where run_id = ?",
                        (by.total_seconds(), record.dagster_run.run_id),
                    )

    def cancelled_in_the_queue(self, run_id: str) -> None:
        self.instance.run_coordinator.cancel_run(run_id)


@pytest.fixture
def world(catalog: FullCatalog, shared_queue: RunQueue, postgres_dsn: str) -> World:
    shared_queue.clear()
    catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME)
    return World(catalog, shared_queue, postgres_dsn)


@pytest.fixture
def no_retry(world: World) -> Callable[[str], None]:
    """Fails a run that Dagster does not start again."""

    def fail(run_id: str, message: str = KILLED) -> None:
        world.instance.add_run_tags(run_id, {"dagster/max_retries": "0"})
        world.fail(run_id, message)

    return fail


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
        told = [world.tick() for _ in range(2 * run_outcomes_module.MAX_FAILURES_REPORTED)]
        assert sum("1 retries requested again" in message for message in told) == 4
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


class TestLostRuns:
    def test_a_row_whose_run_ended_unnoticed_is_settled_after_a_while(self, world: World, no_retry):
        """This happens when the sensor was off, or the machine stopped between two writes."""
        video, run_id = world.working()
        no_retry(run_id)
        world._cursor = json.dumps({"failures": 10**9, "cancellations": 10**9, "missing": {}})
        assert "0 stages" in world.tick()
        world.later(timedelta(minutes=2))
        assert "1 stages" in world.tick()
        assert world.row(video).layout.error_details["error_type"] == "RunFailed"

    def test_a_retry_that_never_came_is_recorded_in_the_row(self, world: World):
        video, run_id = world.working()
        world.fail(run_id)
        world.later(timedelta(minutes=5))
        world.tick()
        assert world.row(video).layout.run_id == run_id
        world.later(timedelta(minutes=6))
        world.tick()
        assert world.row(video).layout.status == "error"

    def test_a_retry_that_died_before_it_began_and_is_repeated_itself_is_no_error(self, world: World):
        """The row still names the first run; the third one is on its way."""
        video, first = world.working()
        second, third = (
            world.queue.submit("layout", [dg.RunRequest(partition_key=video.video_id)])[0] for _ in range(2)
        )
        for run_id, retry in ((first, second), (second, third)):
            world.instance.add_run_tags(run_id, {"dagster/auto_retry_run_id": retry})
            world.fail(run_id)
        world.later(timedelta(minutes=5))
        assert "0 stages" in world.tick()
        assert (world.row(video).layout.status, world.row(video).layout.run_id) == ("wait", first)

        # Once the last one has died too, nothing continues.
        world.instance.add_run_tags(third, {"dagster/max_retries": "0"})
        world._cursor = json.dumps({"failures": 10**9, "cancellations": 10**9, "missing": {}})
        world.fail(third)
        world.later(timedelta(minutes=2))
        assert "1 stages" in world.tick()
        assert world.row(video).layout.status == "error"

    def test_a_row_of_a_lost_instance_is_settled_after_an_hour(self, world: World):
        video = world.video()
        world.catalog.begin_stage(video.video_id, "layout", str(uuid.uuid4()))
        world.later(timedelta(minutes=50))
        world.tick()
        assert world.row(video).layout.status == "wait"
        world.later(timedelta(minutes=11))
        world.tick()
        assert world.row(video).layout.error_details["error_type"] == "RunLostError"

    def test_a_running_run_is_left_alone_however_long(self, world: World):
        video, run_id = world.working()
        world.later(timedelta(days=2))
        world.tick()
        assert world.row(video).layout.run_id == run_id


class TestProcesses:
    """After a reboot no code server has the run, and Dagster's default launcher never checks."""

    @pytest.fixture
    def default_launcher(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dg, "DefaultRunLauncher", object)

    GONE = json.dumps({"host": "localhost", "socket": "/nonexistent/captionacc"})

    def test_a_run_whose_server_is_gone_fails_so_that_dagster_restarts_it(
        self, world: World, default_launcher, monkeypatch
    ):
        video, run_id = world.working(**{".dagster/grpc_info": self.GONE})
        assert "0 without their process" in world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.STARTED
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        assert "1 without their process" in world.tick()
        run = world.queue.run(run_id)
        assert run.status == dg.DagsterRunStatus.FAILURE
        assert run.tags["dagster/will_retry"] == "true"
        assert world.row(video).layout.status == "wait"

    def test_a_process_that_died_unnoticed_by_its_server_is_gone(
        self, world: World, default_launcher, monkeypatch
    ):
        """Its server could not inform Dagster's database, and still lists the run."""
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        monkeypatch.setattr(run_processes, "_has", lambda server, run_id: True)
        _, run_id = world.working(**{".dagster/grpc_info": self.GONE})
        assert "0 without their process" in world.tick(), (
            "a process that did not tell its number is believed in"
        )
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            world.instance.report_engine_event(
                f"Started process for run (pid: {process.pid}).", world.queue.run(run_id)
            )
            assert "0 without their process" in world.tick()
            process.kill()
            # Its exit status has not been collected yet.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert "1 without their process" in world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.FAILURE

    def test_a_server_on_another_machine_is_believed(self, world: World, default_launcher, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        monkeypatch.setattr(run_processes, "_has", lambda server, run_id: True)
        # An address of the range for documentation.
        _, run_id = world.working(**{".dagster/grpc_info": json.dumps({"host": "192.0.2.1", "port": 4000})})
        world.instance.report_engine_event(
            "Started process for run (pid: 999999999).", world.queue.run(run_id)
        )
        assert "0 without their process" in world.tick()

    def test_one_that_was_being_cancelled_is_cancelled(self, world: World, default_launcher, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        _, run_id = world.working(**{".dagster/grpc_info": self.GONE})
        event = DagsterEvent(DagsterEventType.RUN_CANCELING.value, "layout")
        world.instance.report_dagster_event(event, run_id=run_id)
        world.tick()
        assert world.queue.run(run_id).status == dg.DagsterRunStatus.CANCELED

    def test_runs_of_other_launchers_are_left_to_dagster(self, world: World, monkeypatch):
        monkeypatch.setattr(run_outcomes_module, "GONE_AFTER", timedelta(0))
        world.working(**{".dagster/grpc_info": self.GONE})
        assert "0 without their process" in world.tick()
