"""Contract: any number of calls starts a video once, and each is answered in time."""

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from starlette.testclient import TestClient

from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.sensors import claims
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from captionacc_dagster.sensors.new_videos import new_videos
from captionacc_dagster.web.starter import LaunchError, Started
from captionacc_dagster.web.webhook import create_app
from modal_gpu.errors import InvalidKeyError, StorageError
from tests.clip_fixtures import Clip
from tests.full_catalog import Limits
from tests.line_fixtures import Line
from tests.web.conftest import SECRET, USUAL, payload, post


class TestStarting:
    def test_a_new_video_gets_its_run_with_the_sensors_key(
        self, line: Line, clip: Clip, client, starter, launches, tick
    ):
        video = line.upload(clip.path)
        answer = post(client, payload(video.video_id, video.tenant_id))
        assert answer.status_code == 202
        body = answer.json()
        assert (body["status"], body["outcome"], body["priority"]) == ("accepted", "started", 55)
        assert starter.wait_until_created()
        ((job, tags),) = launches.made
        assert job == "video"
        assert tags["dagster/run_key"] == f"layout/{video.video_id}/1"
        assert (tags["dagster/sensor_name"], tags["dagster/partition"]) == ("new_videos", video.partition_key)
        assert line.instance.has_dynamic_partition("videos", video.partition_key)
        # The second call and the sensor find that it is done.
        again = post(client, payload(video.video_id, video.tenant_id)).json()
        assert (again["outcome"], again["run_id"]) == ("running", body["run_id"])
        assert not tick(new_videos).run_requests
        assert len(launches.made) == 1

    def test_an_expired_claim_finds_its_queued_run(
        self, line: Line, clip: Clip, client, starter, launches, tick, monkeypatch
    ):
        video = line.upload(clip.path)
        first = post(client, payload(video.video_id, video.tenant_id)).json()
        assert starter.wait_until_created()
        monkeypatch.setattr("captionacc_dagster.web.starter.CLAIM_SECONDS", 0)
        again = post(client, payload(video.video_id, video.tenant_id)).json()
        assert (again["outcome"], again["run_id"]) == ("running", first["run_id"])
        assert len(launches.made) == 1
        # The sensor requests the same key, for which Dagster's daemon finds the same run.
        monkeypatch.setattr(claims, "CLAIM_SECONDS", 0)
        (request,) = tick(new_videos).run_requests
        runs = line.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key}))
        assert [run.run_id for run in runs] == [first["run_id"]]
        assert runs[0].tags["dagster/sensor_name"] == new_videos.name

    def test_four_calls_and_a_sensor_at_once_make_one_run(
        self, line: Line, clip: Clip, client, starter, launches, tick
    ):
        video = line.upload(clip.path)
        barrier = threading.Barrier(5)

        def call(number: int) -> int:
            barrier.wait(20)
            if number == 0:
                return len(tick(new_videos).run_requests or [])
            post(client, payload(video.video_id, video.tenant_id))
            return 0

        with ThreadPoolExecutor(5) as threads:
            asked = sum(threads.map(call, range(5)))
        assert starter.wait_until_created()
        assert asked + len(launches.made) == 1

    def test_a_video_without_its_object_is_left_to_the_sensor(
        self, line: Line, client, launches, tick, monkeypatch
    ):
        video_id = str(uuid.uuid4())
        line.catalog.register_video(line.tenant_id, video_id, f"{line.tenant_id}/{video_id}.mp4", 1, "a.mp4")
        body = post(client, payload(video_id, line.tenant_id)).json()
        assert (body["outcome"], body["run_id"], launches.made) == ("waiting", None, [])
        # A minute later, by the sensor.
        assert "no new video" in tick(new_videos).skip_reason.skip_message
        monkeypatch.setattr(claims, "CLAIM_SECONDS", claims.CLAIM_SECONDS - claims.LOOK_AGAIN_SECONDS)
        assert "1 claimed" in tick(new_videos).skip_reason.skip_message

    def test_a_run_that_dagster_refused_is_left_to_the_sensor_at_once(
        self, line: Line, clip: Clip, client, starter, launches, tick
    ):
        video = line.upload(clip.path)
        launches.error = LaunchError("down")
        assert post(client, payload(video.video_id, video.tenant_id)).status_code == 202
        assert starter.wait_until_created()
        (request,) = tick(new_videos).run_requests
        assert request.run_key == f"layout/{video.video_id}/1"

    def test_the_answer_does_not_wait_for_the_run(self, line: Line, clip: Clip, client, starter):
        """Creating a run takes Dagster far longer than a caller should wait; its id is known before."""
        made, go_on = starter.submit, threading.Event()

        def slow(*order) -> None:
            assert go_on.wait(30)
            made(*order)

        starter.submit = slow
        video = line.upload(clip.path)
        bodies = [post(client, payload(video.video_id, video.tenant_id)).json() for _ in range(2)]
        assert [body["outcome"] for body in bodies] == ["started", "running"]
        assert bodies[0]["run_id"] == bodies[1]["run_id"]
        assert line.instance.get_run_by_id(bodies[0]["run_id"]) is None
        go_on.set()
        assert starter.wait_until_created()
        assert line.instance.get_run_by_id(bodies[0]["run_id"]).tags["trigger"] == "webhook"

    def test_every_caller_is_answered_in_time_whatever_hangs(self):
        class Hangs:
            go_on = threading.Event()

            def start_layout(self, video_id: str) -> Started:
                assert self.go_on.wait(30)
                return Started("started", "run-1")

        client = TestClient(create_app(Hangs(), secret=SECRET, answer_seconds=0.2))
        began = time.monotonic()
        try:
            answer = post(client, USUAL)
            assert time.monotonic() - began < 5
        finally:
            Hangs.go_on.set()
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert "does not answer; the sensor will start the video" in answer.json()["reason"]

    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (CatalogUnavailableError("host db.internal refused"), 503),
            (StorageError("host db.internal refused"), 503),
            (LaunchError("host db.internal refused"), 503),
            (InvalidKeyError("host db.internal refused"), 500),
            (ValueError("host db.internal refused"), 500),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
    )
    def test_an_error_is_json_in_one_line_without_its_details(self, error, status):
        class Down:
            def start_layout(self, video_id: str):
                raise error

        answer = post(TestClient(create_app(Down(), secret=SECRET)), USUAL)
        assert (answer.status_code, answer.json()["status"]) == (status, "refused")
        assert "db.internal" not in answer.text and "\n" not in answer.json()["reason"]

    def test_a_video_beyond_its_quota_is_not_started(self, line: Line, clip: Clip, client, launches):
        video = line.upload(clip.path)
        line.catalog.set_tenant_limits(line.tenant_id, Limits(video_count_limit=0))
        body = post(client, payload(video.video_id, video.tenant_id)).json()
        assert (body["outcome"], launches.made) == ("nothing to do", [])

    def test_an_approval_is_started_once_too(self, line: Line, laid_out, starter, launches, tick):
        started = starter.start_captions(laid_out.video_id)
        assert started.outcome == "started"
        assert starter.wait_until_created()
        ((job, tags),) = launches.made
        assert (job, tags["dagster/run_key"]) == ("captions", f"captions/{laid_out.video_id}/1/1")
        assert starter.start_captions(laid_out.video_id).run_id == started.run_id
        assert not tick(layout_approvals).run_requests
