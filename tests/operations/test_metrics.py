"""The metrics of a real catalogue and a real Dagster instance, as Prometheus reads them over HTTP."""

import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_origin import (
    RemoteJobOrigin,
)
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._daemon.types import DaemonHeartbeat
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from captionacc_dagster.cli import metrics as metrics_command
from captionacc_dagster.operations.health import UNFINISHED, observe_dagster
from captionacc_dagster.operations.metrics import PlatformCollector, create_app, health
from captionacc_dagster.resources.catalog import CatalogUnavailableError
from tests.full_catalog import FullCatalog, connected
from tests.operations.sensor_states import REPOSITORY, add_sensor_state


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def alive(instance: dg.DagsterInstance) -> Callable[..., None]:
    """Let every daemon have had a heartbeat this many seconds ago."""

    def beat(seconds_ago: float = 0, only: str | None = None) -> None:
        for kind in [only] if only else instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - seconds_ago, kind, "test", []))

    beat()
    return beat


class Clock:
    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def collector(catalog: FullCatalog, instance, clock: Clock) -> PlatformCollector:
    return PlatformCollector(catalog, instance, ["new_videos"], cache_seconds=5, clock=clock)


@pytest.fixture
def client(collector: PlatformCollector, catalog, instance) -> Iterator[TestClient]:
    application = create_app(collector, lambda: health(catalog, instance, ["new_videos"], 300))
    with TestClient(application) as client:
        yield client


@pytest.fixture
def scrape(client: TestClient) -> Callable[[], dict[tuple, float]]:
    """Samples by name and the values of their labels, sorted by label."""

    def read() -> dict[tuple, float]:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=")
        seen = {}
        for family in text_string_to_metric_families(answer.text):
            for sample in family.samples:
                labels = [value for _, value in sorted(sample.labels.items())]
                seen[sample.name.removeprefix("captionacc_"), *labels] = sample.value
        return seen

    return read


@pytest.fixture
def upload(catalog: FullCatalog, tenant) -> Callable[[], str]:
    def make() -> str:
        video_id = str(uuid.uuid4())
        key = f"{tenant.tenant_id}/client/videos/{video_id}/video.mp4"
        return catalog.register_video(tenant.tenant_id, video_id, key, 1, "v.mp4").video_id

    return make


def test_a_scrape_reports_the_state_of_the_catalogue(scrape, catalog, upload, tenant, postgres_dsn: str):
    upload(), upload()
    catalog.begin_stage(upload(), "layout", "run-1")
    failed = upload()
    catalog.begin_stage(failed, "layout", "run-2")
    catalog.fail_stage(failed, "layout", "run-2", "broken", "BrokenError")
    catalog.take_lock(failed, "captions", "run-2", 60)
    catalog.record_usage(tenant.tenant_id, "modal_seconds", 9, cost_estimate_usd=1.5)
    waiter = str(uuid.uuid4())
    catalog.open_compute_call(failed, "run-2", "extract_frames_and_ocr", "hash", waiter)
    with psycopg.connect(postgres_dsn) as connection:
        connection.execute("update captionacc.videos set uploaded_at = now() - interval '1 h'")
    seen = scrape()
    assert seen["up", "catalogue"] == seen["up", "dagster"] == 1
    assert seen["videos_waiting", "layout", "free"] == 2
    assert seen["videos_running", "layout", "free"] == 1
    assert seen["oldest_waiting_seconds", "layout", "free"] == pytest.approx(3600, abs=60)
    assert seen["stage_failures_last_hour", "BrokenError", "layout"] == 1
    assert seen["leases", "captions", "held"] == 1
    assert seen["leases", "layout", "expired"] == 0
    assert seen["database_lock_waits",] == 0
    assert seen["compute_calls_open", "modal", "extract_frames_and_ocr", "pending"] == 1
    assert seen["spend_month_usd", tenant.tenant_id, "free"] == 1.5
    assert seen["scrape_seconds",] > 0
    assert "process_resident_memory_bytes" in {name for name, *_ in seen}


def test_durations_and_outcomes_are_counted_once_each(scrape, catalog, upload, clock, postgres_dsn: str):
    def end(seconds: float) -> None:
        video_id = upload()
        catalog.begin_stage(video_id, "layout", video_id)
        catalog.fail_stage(video_id, "layout", video_id, "x", "BrokenError")
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute(
                "update captionacc.stage_outcomes set seconds = %s, occurred_at = now() - interval '21 s'"
                " where video_id = %s",
                [seconds, video_id],
            )

    end(0.5), end(30)
    for _ in range(3):
        seen = scrape()
        clock.ahead += 6
    assert seen["stage_outcomes_total", "BrokenError", "error", "layout"] == 2
    assert seen["stage_duration_seconds_count", "error", "layout"] == 2
    assert seen["stage_duration_seconds_sum", "error", "layout"] == 30.5
    assert seen["stage_duration_seconds_bucket", "1.0", "error", "layout"] == 1
    assert seen["stage_duration_seconds_bucket", "40.0", "error", "layout"] == 2
    end(10)
    clock.ahead += 6
    assert scrape()["stage_duration_seconds_count", "error", "layout"] == 3


def test_scrapes_in_quick_succession_query_once(scrape, catalog, clock, monkeypatch):
    asked = []
    monkeypatch.setattr(catalog, "stage_backlog", lambda: asked.append(1) or [])
    for _ in range(5):
        scrape()
    assert len(asked) == 1
    clock.ahead += 6
    scrape()
    assert len(asked) == 2


def test_an_unavailable_part_hides_no_other(scrape, catalog, monkeypatch, caplog):
    def broken():
        raise CatalogUnavailableError("no answer")

    monkeypatch.setattr(catalog, "stage_backlog", broken)
    seen = scrape()
    assert (seen["up", "catalogue"], seen["up", "dagster"]) == (0, 1)
    assert seen["runs", "queued"] == 0
    assert "no answer" in caplog.text


def test_a_driver_s_message_does_not_get_into_the_log(scrape, collector, monkeypatch, caplog):
    def broken(*arguments):
        raise RuntimeError("connection to postgresql://me:s3cret@db failed")

    monkeypatch.setattr("captionacc_dagster.operations.metrics.observe_dagster", broken)
    assert scrape()["up", "dagster"] == 0
    assert "RuntimeError" in caplog.text and "s3cret" not in caplog.text


def test_all_but_the_most_expensive_tenants_are_one_series(scrape, catalog, monkeypatch):
    monkeypatch.setattr("captionacc_dagster.operations.metrics.SPEND_TENANTS", 1)
    for number, cost in enumerate((5, 2, 1)):
        tenant = catalog.ensure_tenant(str(uuid.UUID(int=number + 1)), f"tenant {number}")
        catalog.record_usage(tenant.tenant_id, "modal_seconds", 1, cost_estimate_usd=cost)
    spend = {key[1:]: value for key, value in scrape().items() if key[0] == "spend_month_usd"}
    assert spend == {(str(uuid.UUID(int=1)), "free"): 5, ("other", "free"): 3}


class TestDagster:
    def test_runs_are_counted_by_status(self, instance):
        before = observe_dagster(instance, [])
        assert set(before.runs) == set(UNFINISHED) and before.oldest_queued_at is None
        origin = RemoteJobOrigin(REPOSITORY, "noop")
        queued = {"status": dg.DagsterRunStatus.QUEUED, "remote_job_origin": origin}
        run = instance.create_run_for_job(noop, **queued)
        instance.create_run_for_job(noop, **queued)
        state = observe_dagster(instance, [])
        assert state.runs["queued"] == 2
        assert state.oldest_queued_at == pytest.approx(time.time(), abs=60)
        assert (
            state.oldest_queued_at
            == instance.get_run_record_by_id(run.run_id).create_timestamp.replace(tzinfo=UTC).timestamp()
        )
        instance.wipe()

    def test_daemons_without_a_heartbeat_are_silent(self, instance, alive):
        alive(0)
        alive(1000, only="SENSOR")
        state = observe_dagster(instance, [])
        assert state.silent_daemons(time.time(), 300) == ["SENSOR"]
        assert state.silent_daemons(time.time() + 5000, 300) == sorted(state.heartbeats)

    def test_only_sensors_of_this_version_are_reported(self, instance):
        add_sensor_state(instance, "new_videos", InstigatorStatus.DECLARED_IN_CODE, last_tick=1234.5)
        add_sensor_state(instance, "gone", InstigatorStatus.RUNNING, last_tick=1234.5)
        (sensor,) = observe_dagster(instance, ["new_videos"]).sensors
        assert (sensor.name, sensor.is_on, sensor.last_tick_at, sensor.interval_seconds) == (
            "new_videos",
            True,
            1234.5,
            5.0,
        )


class TestHealth:
    def test_it_is_ok_when_everything_answers(self, client, alive):
        answer = client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "problems": []})
        assert client.get("/livez").status_code == 200

    def test_a_silent_daemon_fails_it_and_not_the_process(self, client, alive):
        alive(1000, only="SENSOR")
        answer = client.get("/healthz")
        assert answer.status_code == 503
        assert answer.json()["problems"] == ["daemon SENSOR is silent for more than 300 s"]
        assert client.get("/livez").status_code == 200

    def test_a_catalogue_that_does_not_answer_fails_it_without_its_password(self, instance, alive):
        gone = connected("postgresql://me:s3cretword@127.0.0.1:1/none", connect_timeout_seconds=1)
        found = health(gone, instance, [], 300)
        assert found["status"] == "failing" and found["problems"][0].startswith("catalogue: ")
        assert "s3cretword" not in str(found)


class TestWatch:
    """The watch reports what no sensor can: that the daemon that runs the sensors is dead."""

    class Ended:
        """Lets the watch go round so many times."""

        def __init__(self, rounds: list[Callable[[], None]]) -> None:
            self.rounds = rounds

        def wait(self, seconds: float) -> bool:
            if not self.rounds:
                return True
            self.rounds.pop(0)()
            return False

    def test_the_sensor_daemons_silence_and_return_are_reported(self, instance, alive, monkeypatch):
        said: list[str] = []
        monkeypatch.setattr(
            "captionacc_dagster.operations.alerting.deliver", lambda url, text: said.append(text)
        )
        alive(1000, only="SENSOR")
        rounds = [lambda: None, lambda: alive(0)]
        metrics_command.watch_sensor_daemon(instance, "http://chat", 300, 3600, self.Ended(rounds))
        assert said == [
            ":red_circle: Dagster's SENSOR daemon has been silent for 16 min",
            ":white_check_mark: over: Dagster's SENSOR daemon has been silent for 16 min",
        ]

    def test_an_unreachable_storage_is_reported_and_does_not_end_the_watch(self, instance, monkeypatch):
        said: list[str] = []
        monkeypatch.setattr(
            "captionacc_dagster.operations.alerting.deliver", lambda url, text: said.append(text)
        )

        def broken(*arguments):
            raise RuntimeError("postgresql://me:s3cret@db")

        monkeypatch.setattr("captionacc_dagster.operations.health.observe_dagster", broken)
        metrics_command.watch_sensor_daemon(instance, "http://chat", 300, 3600, self.Ended([lambda: None]))
        assert said == [":red_circle: Dagster's storage does not answer (RuntimeError)"]


@dg.job
def noop() -> None: ...


def test_times_of_the_catalogue_are_ages_by_this_clock(scrape, upload, clock):
    upload()
    assert scrape()["oldest_waiting_seconds", "layout", "free"] < 60
    clock.ahead = 7200
    assert scrape()["oldest_waiting_seconds", "layout", "free"] == pytest.approx(7200, abs=60)
    assert datetime.now(UTC).timestamp() < clock()
