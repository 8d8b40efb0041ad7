"""Contract: who may call the webhook, what it takes, and that a video is started once whoever tells of it."""

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from starlette.testclient import TestClient

from captionacc_dagster.resources.catalog import CatalogUnavailableError, Limits
from captionacc_dagster.sensors import claims
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from captionacc_dagster.sensors.new_videos import new_videos
from captionacc_dagster.starter import LaunchError, LaunchUncertainError, RunStarter, launch_over_http
from captionacc_dagster.webhook import MAX_BODY_BYTES, RateLimit, create_app
from tests.line_fixtures import Clip, Line

SECRET = "a secret of the tests"
PATH = "/webhooks/supabase/videos"


class Launches:
    """Stands for Dagster's web server: makes a run with the tags in the instance, as it does."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.made, self.error = instance, [], None

    def __call__(self, job: str, tags: dict[str, str]) -> str:
        if self.error:
            raise self.error
        run_id = str(uuid.uuid4())
        self.instance.add_run(dg.DagsterRun(job_name=job, run_id=run_id, tags=tags))
        self.made.append((job, tags))
        return run_id


@pytest.fixture
def launches(line: Line) -> Launches:
    return Launches(line.instance)


@pytest.fixture
def starter(line: Line, launches: Launches) -> RunStarter:
    return RunStarter(line.catalog, line.store, line.instance, launches)


@pytest.fixture
def client(starter: RunStarter) -> TestClient:
    return TestClient(create_app(starter, secret=SECRET))


@pytest.fixture
def tick(line: Line) -> Callable[[dg.SensorDefinition], dg.SensorResult]:
    """One evaluation of a sensor, and what the daemon makes of it."""
    return line.tick


def payload(video_id: str, tenant_id: str, **changes) -> dict:
    """What Supabase sends."""
    record = {"id": video_id, "tenant_id": tenant_id, "display_path": "a.mp4"}
    usual = {
        "type": "INSERT",
        "table": "videos",
        "schema": "captionacc",
        "record": record,
        "old_record": None,
    }
    return {**usual, **changes}


def post(client: TestClient, body, secret: str | None = SECRET):
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    if isinstance(body, dict):
        return client.post(PATH, json=body, headers=headers)
    return client.post(PATH, content=body, headers=headers)


NOBODY = "11111111-1111-4111-8111-111111111111"
USUAL = payload(NOBODY, NOBODY)


class TestDoor:
    @pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "ä"])
    def test_without_the_secret_nobody_comes_in(self, client, secret):
        headers = {} if secret is None else {"authorization": f"Bearer {secret}".encode()}
        answer = client.post(PATH, json=USUAL, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")

    def test_with_no_secret_set_nobody_comes_in_either(self, starter):
        client = TestClient(create_app(starter, secret=None))
        for given in (None, "", "None"):
            assert post(client, USUAL, given).status_code == 401

    def test_another_scheme_is_no_bearer(self, client):
        answer = client.post(PATH, json=USUAL, headers={"authorization": f"Basic {SECRET}"})
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"type": "UPDATE"}, "UPDATE is not INSERT"),
            ({"type": "DELETE", "record": None}, "DELETE is not INSERT"),
            ({"table": "tenants"}, "table tenants is not videos"),
            ({"schema": "public"}, "schema is not captionacc"),
        ],
    )
    def test_what_is_no_new_video_is_ignored(self, client, changes, reason):
        answer = post(client, {**USUAL, **changes})
        assert (answer.status_code, answer.json()) == (200, {"status": "ignored", "reason": reason})

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b"[" * 20_000, "not JSON"),
            (b"[]", "not a JSON object"),
            ({"table": "videos"}, "type is missing"),
            ({"type": "INSERT"}, "table is missing"),
            ({"type": 1, "table": "videos"}, "type is missing"),
            ({**USUAL, "record": None}, "record is missing"),
            ({**USUAL, "record": {}}, "record.tenant_id"),
            ({**USUAL, "record": {"id": "../x", "tenant_id": NOBODY}}, "record.id '../x' is not a UUID"),
            (USUAL, "is not in the catalogue"),
        ],
    )
    def test_what_cannot_be_read_is_refused_with_the_reason(self, client, body, reason):
        answer = post(client, body)
        assert answer.status_code == 400, answer.text
        assert reason in answer.json()["reason"]

    def test_a_large_body_is_not_read_to_its_end(self, client):
        assert post(client, b" " * (MAX_BODY_BYTES + 1)).status_code == 413

    def test_many_calls_of_one_client_are_slowed_down(self, starter):
        now = [0.0]
        app = create_app(starter, secret=SECRET, requests_a_minute=3, clock=lambda: now[0])
        client = TestClient(app)
        ignored = {**USUAL, "type": "DELETE"}
        # Wrong secrets count too: guessing is slow.
        statuses = [post(client, ignored, secret).status_code for secret in (SECRET, "x", SECRET, SECRET)]
        assert statuses == [200, 401, 200, 429]
        assert post(client, ignored).headers["retry-after"] == "21"
        now[0] += 21
        assert post(client, ignored).status_code == 200

    def test_the_limits_memory_is_bounded(self):
        limit = RateLimit(1)
        for number in range(3000):
            limit.wait_seconds(str(number))
        assert len(limit._buckets) == 1024

    def test_health_needs_no_secret_and_other_methods_are_none(self, client):
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get(PATH).status_code == 405


class TestStarting:
    def test_a_new_video_gets_its_run_with_the_sensors_key(
        self, line: Line, clip: Clip, client, launches, tick
    ):
        video = line.upload(clip.path)
        answer = post(client, payload(video.video_id, video.tenant_id))
        assert answer.status_code == 202
        body = answer.json()
        assert (body["status"], body["outcome"], body["priority"]) == ("accepted", "started", 55)
        ((job, tags),) = launches.made
        assert job == "layout"
        assert tags["dagster/run_key"] == f"layout/{video.video_id}/1"
        assert (tags["dagster/sensor_name"], tags["dagster/partition"]) == ("new_videos", video.video_id)
        assert line.instance.has_dynamic_partition("videos", video.video_id)
        # The second call, and the sensor, find it done.
        again = post(client, payload(video.video_id, video.tenant_id)).json()
        assert (again["outcome"], again["run_id"]) == ("running", body["run_id"])
        assert not tick(new_videos).run_requests
        assert len(launches.made) == 1

    def test_a_claim_that_ran_out_finds_the_run_that_waits_in_its_queue(
        self, line: Line, clip: Clip, client, launches, tick, postgres_dsn, monkeypatch
    ):
        video = line.upload(clip.path)
        first = post(client, payload(video.video_id, video.tenant_id)).json()
        monkeypatch.setattr("captionacc_dagster.starter.CLAIM_SECONDS", 0)
        again = post(client, payload(video.video_id, video.tenant_id)).json()
        assert (again["outcome"], again["run_id"]) == ("running", first["run_id"])
        assert len(launches.made) == 1
        # The sensor asks under the same key, for which Dagster's daemon finds the same run.
        monkeypatch.setattr(claims, "CLAIM_SECONDS", 0)
        (request,) = tick(new_videos).run_requests
        runs = line.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key}))
        assert [run.run_id for run in runs] == [first["run_id"]]
        assert runs[0].tags["dagster/sensor_name"] == new_videos.name

    def test_eight_calls_and_a_sensor_at_once_make_one_run(
        self, line: Line, clip: Clip, client, launches, tick
    ):
        video = line.upload(clip.path)
        barrier = threading.Barrier(5)

        def tell(number: int) -> int:
            barrier.wait(20)
            if number == 0:
                return len(tick(new_videos).run_requests or [])
            post(client, payload(video.video_id, video.tenant_id))
            return 0

        with ThreadPoolExecutor(5) as threads:
            asked = sum(threads.map(tell, range(5)))
        assert asked + len(launches.made) == 1

    def test_a_video_whose_object_is_not_there_is_left_to_the_sensor(
        self, line: Line, client, launches, tick
    ):
        video_id = str(uuid.uuid4())
        line.catalog.register_video(line.tenant_id, video_id, f"{line.tenant_id}/{video_id}.mp4", 1, "a.mp4")
        body = post(client, payload(video_id, line.tenant_id)).json()
        assert (body["outcome"], body["run_id"], launches.made) == ("waiting", None, [])
        assert "1 claimed" in tick(new_videos).skip_reason.skip_message

    @pytest.mark.parametrize(
        ("error", "sensor_asks"), [(LaunchError("down"), 1), (LaunchUncertainError("timed out"), 0)]
    )
    def test_when_dagster_does_not_answer_the_sensor_takes_over(
        self, line: Line, clip: Clip, client, launches, tick, error, sensor_asks
    ):
        video = line.upload(clip.path)
        launches.error = error
        answer = post(client, payload(video.video_id, video.tenant_id))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        requests = tick(new_videos).run_requests or []
        # At once when there is certainly no run; otherwise when it is known, under the same key.
        assert len(requests) == sensor_asks
        assert {request.run_key for request in requests} <= {f"layout/{video.video_id}/1"}

    def test_a_catalogue_that_does_not_answer_is_said_without_its_details(self, line: Line):
        class Down:
            def start_layout(self, video_id: str):
                raise CatalogUnavailableError("host db.internal refused")

        answer = post(TestClient(create_app(Down(), secret=SECRET)), USUAL)
        assert answer.status_code == 503
        assert "db.internal" not in answer.text

    def test_a_video_beyond_its_quota_is_not_started(self, line: Line, clip: Clip, client, launches):
        video = line.upload(clip.path)
        line.catalog.set_tenant_limits(line.tenant_id, Limits(video_count_limit=0))
        body = post(client, payload(video.video_id, video.tenant_id)).json()
        assert (body["outcome"], launches.made) == ("nothing to do", [])

    def test_an_approval_is_started_once_too(self, line: Line, laid_out, starter, launches, tick):
        started = starter.start_captions(laid_out.video_id)
        assert started.outcome == "started"
        ((job, tags),) = launches.made
        assert (job, tags["dagster/run_key"]) == ("captions", f"captions/{laid_out.video_id}/1/1")
        assert starter.start_captions(laid_out.video_id).run_id == started.run_id
        assert not tick(layout_approvals).run_requests

    def test_a_web_server_that_is_not_there_is_a_launch_error(self):
        with pytest.raises(LaunchError, match=r"127\.0\.0\.1:9 does not answer"):
            launch_over_http("http://127.0.0.1:9")("layout", {})


class TestCommand:
    def test_without_a_secret_the_command_says_what_to_set(self, monkeypatch, tmp_path):
        from typer.testing import CliRunner

        from captionacc_dagster.cli import app
        from captionacc_dagster.settings import SettingsError, get_settings

        monkeypatch.setenv("CAPTIONACC_HOME", str(tmp_path))
        monkeypatch.delenv("CAPTIONACC_WEBHOOK_SECRET", raising=False)
        get_settings.cache_clear()
        try:
            result = CliRunner().invoke(app, ["webhook"])
        finally:
            get_settings.cache_clear()
        assert isinstance(result.exception, SettingsError)
        assert "CAPTIONACC_WEBHOOK_SECRET is not set" in str(result.exception)
