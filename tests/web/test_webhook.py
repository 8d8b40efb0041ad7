"""Contract: the webhook's authentication, its payloads, and that any number of calls starts a video once."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from captionacc_dagster.resources.catalog import CatalogUnavailableError
from captionacc_dagster.sensors import claims
from captionacc_dagster.sensors.layout_approvals import layout_approvals
from captionacc_dagster.sensors.new_videos import new_videos
from captionacc_dagster.settings import SettingsError
from captionacc_dagster.web.starter import LaunchError, RunStarter, Started
from captionacc_dagster.web.webhook import MAX_BODY_BYTES, RateLimit, create_app
from modal_gpu.errors import InvalidKeyError, StorageError
from tests.full_catalog import Limits
from tests.line_fixtures import Clip, Line

SECRET = "a secret of the tests"
PATH = "/webhooks/supabase/videos"


class Submits:
    """A stand-in for Dagster's queue: the run is in the instance and launched, or ``error`` is raised."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance, self.made, self.error = instance, [], None

    def __call__(self, job: str, run_id: str, tags: dict[str, str]) -> None:
        if self.error:
            raise self.error
        status = dg.DagsterRunStatus.STARTING
        self.instance.add_run(dg.DagsterRun(job_name=job, run_id=run_id, tags=tags, status=status))
        self.made.append((job, tags))


@pytest.fixture
def launches(line: Line) -> Submits:
    return Submits(line.instance)


@pytest.fixture
def starter(line: Line, launches: Submits) -> Iterator[RunStarter]:
    starter = RunStarter(line.catalog, line.store, line.instance, launches)
    yield starter
    starter.close()


@pytest.fixture
def client(starter: RunStarter) -> TestClient:
    return TestClient(create_app(starter, secret=SECRET))


@pytest.fixture
def tick(line: Line) -> Callable[[dg.SensorDefinition], dg.SensorResult]:
    """Evaluate a sensor once, and apply its result as the daemon does."""
    return line.tick


def payload(video_id: str, tenant_id: str, **changes) -> dict:
    """Build the payload that Supabase sends."""
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


def raw(**changes) -> bytes:
    """Encode a payload as JSON in ASCII, so that it can contain what no text can."""
    return json.dumps({**USUAL, **changes}).encode("ascii")


#: With lone surrogates, NUL, huge numbers, NaN.
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class TestDoor:
    @pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "ä"])
    def test_without_the_secret_every_request_is_refused(self, client, secret):
        headers = {} if secret is None else {"authorization": f"Bearer {secret}".encode()}
        answer = client.post(PATH, json=USUAL, headers=headers)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")

    @pytest.mark.parametrize("secret", ["", " ", "\t\n", " abc", "abc ", "a\nb", "a\0b", "\u2003"])
    def test_a_secret_that_cannot_be_sent_is_refused_at_startup(self, starter, secret):
        """Otherwise the server would refuse every request."""
        with pytest.raises(SettingsError, match="CAPTIONACC_WEBHOOK_SECRET"):
            create_app(starter, secret=secret)

    @pytest.mark.parametrize("secret", ["a b", "Schlüssel", "密", "=" * 500])
    def test_any_other_secret_can_be_sent(self, starter, secret):
        client = TestClient(create_app(starter, secret=secret))
        headers = {"authorization": f"Bearer {secret}".encode()}
        assert client.post(PATH, json={**USUAL, "type": "DELETE"}, headers=headers).status_code == 200

    def test_another_scheme_is_not_accepted(self, client):
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
    def test_a_request_without_a_new_video_is_ignored(self, client, changes, reason):
        answer = post(client, {**USUAL, **changes})
        assert (answer.status_code, answer.json()) == (200, {"status": "ignored", "reason": reason})

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "not JSON"),
            (b"{", "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b"[" * 20_000, "nested too deeply"),
            (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
            (b"[]", "not a JSON object"),
            ({"table": "videos"}, "type is missing"),
            ({"type": "INSERT"}, "table is missing"),
            ({"type": 1, "table": "videos"}, "type is missing"),
            ({**USUAL, "schema": ["captionacc"]}, "schema is missing"),
            (raw(type="\ud800"), "type is not plain text"),
            (raw(table="videos\udfff"), "table is not plain text"),
            (raw(schema="\ud800"), "schema is not plain text"),
            (raw(type="INSERT\0"), "type is not plain text"),
            (raw(table="a\nb"), "table is not plain text"),
            (raw(record={"id": "\ud800", "tenant_id": NOBODY}), "record.id '\\ud800' is not a UUID"),
            (raw(record={"id": NOBODY, "tenant_id": "\0"}), "record.tenant_id '\\x00' is not a UUID"),
            (raw(record={"id": {"a": 1}, "tenant_id": NOBODY}), "is not a UUID"),
            (raw(record={"id": 10**400, "tenant_id": NOBODY}), "is not a UUID"),
            (b'{"type":' + b"1" * 5000 + b"}", "not JSON"),
            ({**USUAL, "record": None}, "record is missing"),
            ({**USUAL, "record": {}}, "record.tenant_id"),
            ({**USUAL, "record": {"id": "../x", "tenant_id": NOBODY}}, "record.id '../x' is not a UUID"),
            (USUAL, "is not in the catalogue"),
        ],
    )
    def test_an_invalid_request_is_refused_with_the_reason(self, client, body, reason):
        answer = post(client, body)
        assert answer.status_code == 400, answer.text
        assert reason in answer.json()["reason"]

    @settings(max_examples=25)
    @given(json_values)
    def test_any_body_is_at_most_a_refusal(self, value):
        """Any JSON value, anywhere in a payload or instead of one."""

        class Nobody:
            def start_layout(self, video_id: str) -> Started:
                return Started("nothing to do")

        client = TestClient(create_app(Nobody(), secret=SECRET, requests_a_minute=10**9))
        bodies = [value, *({**USUAL, name: value} for name in ("type", "table", "schema", "record"))]
        bodies += [{**USUAL, "record": {**USUAL["record"], name: value}} for name in ("id", "tenant_id")]
        for body in bodies:
            answer = post(client, json.dumps(body).encode("ascii"))
            assert answer.status_code in (200, 202, 400), answer.text
            assert "\n" not in answer.json().get("reason", "")

    def test_a_large_body_is_not_read_to_its_end(self, client):
        assert post(client, b" " * (MAX_BODY_BYTES + 1)).status_code == 413

    def test_many_calls_of_one_client_are_rate_limited(self, starter):
        now = [0.0]
        app = create_app(starter, secret=SECRET, requests_a_minute=3, clock=lambda: now[0])
        client = TestClient(app)
        ignored = {**USUAL, "type": "DELETE"}
        assert [post(client, ignored).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert post(client, ignored).headers["retry-after"] == "21"
        now[0] += 21
        assert post(client, ignored).status_code == 200

    def test_wrong_secrets_have_a_rate_limit_of_their_own(self, starter):
        client = TestClient(create_app(starter, secret=SECRET, requests_a_minute=3, clock=lambda: 0.0))
        ignored = {**USUAL, "type": "DELETE"}
        guesses = [post(client, ignored, f"guess {number}").status_code for number in range(6)]
        assert guesses == [401, 401, 401, 429, 429, 429]
        assert [post(client, ignored).status_code for _ in range(4)] == [200, 200, 200, 429]

    def test_the_limits_memory_is_bounded(self):
        limit = RateLimit(1)
        for number in range(3000):
            limit.wait_seconds(str(number))
        assert len(limit._buckets) == 1024

    def test_health_needs_no_secret_and_allows_no_other_method(self, client):
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get(PATH).status_code == 405


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

    def test_eight_calls_and_a_sensor_at_once_make_one_run(
        self, line: Line, clip: Clip, client, starter, launches, tick
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
        told = [post(client, payload(video.video_id, video.tenant_id)).json() for _ in range(2)]
        assert [body["outcome"] for body in told] == ["started", "running"]
        assert told[0]["run_id"] == told[1]["run_id"]
        assert line.instance.get_run_by_id(told[0]["run_id"]) is None
        go_on.set()
        assert starter.wait_until_created()
        assert line.instance.get_run_by_id(told[0]["run_id"]).tags["trigger"] == "webhook"

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


class TestCommand:
    def test_without_a_secret_the_command_explains_what_to_set(self, monkeypatch, tmp_path):
        from typer.testing import CliRunner

        from captionacc_dagster.cli.commands import load_all

        app = load_all()
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

    @pytest.mark.parametrize("command", ["webhook", "metrics"])
    @pytest.mark.parametrize("port", ["0", "-1", "65536", "70000"])
    def test_an_invalid_port_is_refused(self, command, port):
        from typer.testing import CliRunner

        from captionacc_dagster.cli.commands import load_all

        app = load_all()

        result = CliRunner().invoke(app, [command, "--port", port])
        assert result.exit_code == 2
        assert "1<=x<=65535" in result.output
