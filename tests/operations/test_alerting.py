"""Contract: limits, reporting once and again, and webhooks that are slow, broken or gone."""

import json
import threading
import traceback
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import dagster as dg
import psycopg
import pytest
from dagster._core.scheduler.instigation import InstigatorStatus
from dagster._daemon.types import DaemonHeartbeat
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.definitions import defs
from captionacc_dagster.operations.alerting import (
    Alert,
    AlertDeliveryError,
    AlertLimits,
    Observation,
    Reported,
    deliver,
    find_alerts,
    report,
)
from captionacc_dagster.operations.health import DagsterState, SensorState, observe_dagster
from captionacc_dagster.resources.catalog import LockState, StageBacklog, StageFailures, TenantSpend
from captionacc_dagster.sensors.alerts import alerts
from captionacc_dagster.settings import Settings
from tests.full_catalog import FullCatalog, connected
from tests.operations.sensor_states import add_sensor_state

NOW = 1_800_000_000.0
LIMITS = AlertLimits(spend_usd=(25, 50, 100), month_limit_usd=200)
DAGSTER = DagsterState({}, None, {"SENSOR": NOW, "MONITORING": NOW}, ())


def ago(**units: float) -> datetime:
    return datetime.fromtimestamp(NOW, UTC) - timedelta(**units)


def keys(seen: Observation, limits: AlertLimits = LIMITS) -> list[str]:
    return [alert.key for alert in find_alerts(seen, limits, NOW)]


class TestLimits:
    def test_a_platform_at_rest_has_nothing_to_report(self):
        assert keys(Observation(dagster=DAGSTER)) == []

    def test_failures_are_reported_with_their_kinds_from_the_limit_on(self):
        rows = [StageFailures("layout", "NotAVideoError", 6), StageFailures("text", "", 3)]
        assert keys(Observation(failures=rows)) == []
        (alert,) = find_alerts(
            Observation(failures=[*rows, StageFailures("text", "RunFailed", 1)]), LIMITS, NOW
        )
        assert alert.text == (
            "10 stages failed within the last hour: 6 × layout NotAVideoError, 3 × text without a kind, "
            "1 × text RunFailed"
        )

    def test_cancellations_and_refusals_are_not_failures(self):
        # A stage is cancelled by a caller (CancelledError) or with its run in Dagster (Cancelled).
        kinds = ("CancelledError", "Cancelled", "QuotaExceededError")
        rows = [StageFailures("layout", kind, 99) for kind in kinds]
        assert keys(Observation(failures=rows)) == []

    def test_a_backlog_is_its_oldest_video_not_its_length(self):
        def row(**changes) -> StageBacklog:
            return replace(StageBacklog("layout", "free", 5, ago(minutes=59), 1, None), **changes)

        assert keys(Observation(backlog=[row(waiting=100_000)])) == []
        seen = Observation(backlog=[row(oldest_waiting_at=ago(minutes=90)), row(tier="premium", waiting=2)])
        (alert,) = find_alerts(seen, LIMITS, NOW)
        assert alert.key == "backlog/layout"
        assert alert.text == "7 videos wait for the layout stage, the oldest (tier free) for 1 h 30 min"
        assert keys(Observation(backlog=[row(waiting=0, oldest_waiting_at=None)])) == []

    def test_a_lease_that_ran_out_long_ago_is_reported(self):
        row = LockState("captions", 3, 1, ago(minutes=10), 0)
        assert keys(Observation(locks=[row])) == []
        assert keys(Observation(locks=[replace(row, oldest_expired_at=ago(minutes=20))])) == [
            "locks/captions"
        ]

    def test_spend_is_reported_for_each_tenant_at_the_highest_amount_it_has_reached(self):
        rows = [
            TenantSpend("a", "free", 100.0),
            TenantSpend("b", "free", 99.99),
            TenantSpend("c", "free", 24.9),
        ]
        assert keys(Observation(spend=rows)) == ["spend/a/100", "spend/b/50"]
        assert keys(Observation(spend=rows), AlertLimits()) == []
        (first, _) = find_alerts(Observation(spend=rows), LIMITS, NOW)
        assert first.text == (
            "tenant a (free) has cost an estimated $100.00 this month, more than $100.00; "
            "the installation's limit is $200.00"
        )

    def test_a_higher_amount_takes_the_place_of_a_lower_one(self):
        def alerts(cost: float) -> list[Alert]:
            return find_alerts(Observation(spend=[TenantSpend("a", "free", cost)]), LIMITS, NOW)

        low, high = alerts(30), alerts(60)
        told = Reported().after(Reported().changes(low, NOW, 60), low, NOW)
        changes = told.changes(high, NOW + 1, 60)
        assert [alert.key for alert in changes.started] == ["spend/a/50"] and not changes.ended
        told = told.after(changes, high, NOW + 1)
        assert [*told.alerts] == ["spend/a/50"]
        assert list(told.changes(alerts(0), NOW + 2, 60).ended) == [high[0].text]

    def test_silent_daemons_and_sensors_are_reported(self):
        sensors = (
            SensorState("quick", True, NOW - 301, 5),
            SensorState("slow", True, NOW - 301, 3600),
            SensorState("new", True, None, 30),
            SensorState("off", False, NOW - 301, 30),
        )
        seen = Observation(
            dagster=replace(DAGSTER, heartbeats={"SENSOR": NOW, "MONITORING": NOW - 301}, sensors=sensors)
        )
        assert keys(seen) == ["daemon/MONITORING", "sensor/quick", "sensor/off"]

    def test_a_dead_sensor_daemon_is_one_alert_and_not_one_for_each_sensor(self):
        sensors = (SensorState("quick", True, NOW - 9999, 5),)
        heartbeats = {"SENSOR": NOW - 9999, "MONITORING": None}
        seen = Observation(dagster=replace(DAGSTER, heartbeats=heartbeats, sensors=sensors))
        assert keys(seen) == ["daemon/MONITORING", "daemon/SENSOR"]
        assert "has never sent a heartbeat" in find_alerts(seen, LIMITS, NOW)[0].text

    def test_limits_of_zero_switch_alerts_off(self):
        seen = Observation(
            failures=[StageFailures("layout", "X", 10**6)],
            backlog=[StageBacklog("layout", "free", 5, ago(days=9), 1, None)],
            locks=[LockState("captions", 3, 1, ago(days=9), 0)],
        )
        assert keys(seen, AlertLimits(0, 0, 0)) == []


class TestTellingOnce:
    ALERT = Alert("failures", "many")

    def test_it_is_reported_when_it_begins_again_after_a_while_and_when_it_is_over(self):
        reported = Reported()
        said = []
        for minute in range(0, 100, 10):
            now = NOW + 60 * minute
            current = [self.ALERT] if minute < 70 else []
            changes = reported.changes(current, now, repeat_seconds=1800)
            if changes:
                said.append((minute, changes.text()))
            reported = Reported.from_cursor(reported.after(changes, current, now).to_cursor())
        assert said == [
            (0, ":red_circle: many"),
            (30, ":repeat: still: many"),
            (60, ":repeat: still: many"),
            (70, ":white_check_mark: over: many"),
        ]

    @given(st.lists(st.sets(st.sampled_from("abcd")), max_size=30))
    def test_whatever_comes_and_goes_each_beginning_and_end_is_reported_exactly_once(self, ticks):
        reported, on = Reported(), set()
        for second, current in enumerate(ticks):
            found = [Alert(key, f"text {key}") for key in sorted(current)]
            changes = reported.changes(found, NOW + second, repeat_seconds=10**6)
            assert {alert.key for alert in changes.started} == current - on
            assert set(changes.ended) == {f"text {key}" for key in on - current}
            assert not changes.still
            reported = Reported.from_cursor(reported.after(changes, found, NOW + second).to_cursor())
            on = current

    @pytest.mark.parametrize(
        "cursor", [None, "", "{", "[]", "7", '{"a": 1}', '{"a": ["x"]}', '{"a": ["x", "y"]}']
    )
    def test_an_unreadable_cursor_is_an_empty_one(self, cursor):
        assert Reported.from_cursor(cursor).alerts == {}

    def test_text_is_not_markup_and_is_bounded(self):
        found = [Alert(str(n), f"<!channel> {n} & more") for n in range(50)]
        text = Reported().changes(found, NOW, 60).text()
        assert "<!channel>" not in text and "&lt;!channel&gt; 0 &amp; more" in text
        assert text.endswith("and 30 more")


class Webhook:
    """A chat's webhook: remembers what it was sent, and answers as instructed."""

    def __init__(self) -> None:
        self.messages: list[dict] = []
        self.answers: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                webhook.hold.wait(10)
                status = webhook.answers.pop(0) if webhook.answers else 200
                if status == 200:
                    assert self.headers["content-type"] == "application/json"
                    webhook.messages.append(json.loads(body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/services/T0/B0/s3cretpath"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    webhook = Webhook()
    thread = threading.Thread(target=webhook.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield webhook
    webhook.hold.set()
    webhook.server.shutdown()
    thread.join()
    webhook.server.server_close()


class TestDelivery:
    def test_a_message_has_slacks_format(self, webhook):
        deliver(webhook.url, "hello")
        assert webhook.messages == [{"text": "hello"}]

    def test_a_transient_refusal_is_retried(self, webhook):
        webhook.answers = [500, 429]
        deliver(webhook.url, "hello")
        assert webhook.messages == [{"text": "hello"}]

    @pytest.mark.parametrize(("answers", "left"), [([403, 403], 1), ([503] * 5, 2)])
    def test_a_lasting_refusal_is_an_error_that_hides_the_address(self, webhook, answers, left):
        webhook.answers = list(answers)
        with pytest.raises(AlertDeliveryError, match=f"answered {answers[0]}") as refused:
            deliver(webhook.url, "hello")
        assert len(webhook.answers) == left
        # As a log or Dagster would show it.
        assert "s3cretpath" not in "".join(traceback.format_exception(refused.value))

    def test_a_hanging_webhook_times_out(self, webhook):
        webhook.hold.clear()
        with pytest.raises(AlertDeliveryError, match="ReadTimeout"):
            deliver(webhook.url, "hello", attempts=1, timeout_seconds=0.2)

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:1/s3cretpath", "not-an-address-s3cretpath", "http://[s3cretpath"]
    )
    def test_a_missing_webhook_is_an_error_that_hides_the_address(self, url):
        with pytest.raises(AlertDeliveryError) as refused:
            deliver(url, "hello", attempts=1)
        assert "s3cretpath" not in str(refused.value)

    def test_what_was_not_delivered_is_reported_at_the_next_tick(self, webhook):
        found = [Alert("failures", "many")]
        webhook.answers = [500] * 3
        reported, summary = report(found, Reported(), webhook.url, NOW, 3600)
        assert "the next tick tries again" in summary and reported.alerts == {}
        reported, summary = report(found, reported, webhook.url, NOW + 60, 3600)
        assert webhook.messages == [{"text": ":red_circle: many"}]
        reported, summary = report(found, reported, webhook.url, NOW + 120, 3600)
        assert len(webhook.messages) == 1 and summary == "1 alert: many"
        # Its end is not lost either.
        webhook.answers = [500] * 3
        reported, _ = report([], reported, webhook.url, NOW + 180, 3600)
        reported, _ = report([], reported, webhook.url, NOW + 240, 3600)
        assert [message["text"] for message in webhook.messages[1:]] == [":white_check_mark: over: many"]
        assert reported.alerts == {}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


class TestSensor:
    @pytest.fixture
    def settings(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        def give(webhook: Webhook | str | None, **changes: str) -> None:
            url = webhook.url if isinstance(webhook, Webhook) else webhook
            variables = {"CAPTIONACC_ALERT_FAILURES_AN_HOUR": "2", **changes}
            if url:
                variables["CAPTIONACC_ALERT_WEBHOOK"] = url
            settings = Settings(**variables)
            monkeypatch.setattr("captionacc_dagster.sensors.alerts.get_settings", lambda: settings)

        return give

    @pytest.fixture
    def tick(
        self, catalog: FullCatalog, instance: dg.DagsterInstance
    ) -> Callable[[str | None], dg.SensorResult]:
        def evaluate(cursor: str | None = None) -> dg.SensorResult:
            now = datetime.now(UTC).timestamp()
            for kind in instance.get_required_daemon_types():
                instance.add_daemon_heartbeat(DaemonHeartbeat(now, kind, "test", []))
            with dg.build_sensor_context(
                instance=instance,
                cursor=cursor,
                repository_def=defs.get_repository_def(),
                resources={"catalog": catalog},
            ) as context:
                return alerts(context)

        return evaluate

    def test_the_sensors_that_it_watches_are_those_of_the_definitions(
        self, settings, catalog: FullCatalog, instance: dg.DagsterInstance, monkeypatch
    ):
        settings(None)
        watched = []

        def observe(instance: dg.DagsterInstance, sensors: Collection[str]) -> DagsterState:
            watched.extend(sensors)
            return observe_dagster(instance, sensors)

        monkeypatch.setattr("captionacc_dagster.sensors.alerts.observe_dagster", observe)
        with dg.build_sensor_context(
            instance=instance, definitions=defs, resources={"catalog": catalog}
        ) as context:
            alerts(context)
        assert {"new_videos", "run_outcomes", "alerts"} <= set(watched)

    @pytest.fixture
    def fail(self, catalog: FullCatalog, tenant) -> Callable[[int], None]:
        def fail(number: int) -> None:
            for _ in range(number):
                video_id = str(uuid.uuid4())
                key = f"{tenant.tenant_id}/client/videos/{video_id}/video.mp4"
                catalog.register_video(tenant.tenant_id, video_id, key, 1, "v.mp4")
                catalog.begin_stage(video_id, "layout", video_id)
                catalog.fail_stage(video_id, "layout", video_id, "broken", "BrokenError")

        return fail

    def test_a_quiet_platform_says_so(self, settings, tick, webhook):
        settings(webhook)
        result = tick()
        assert result.skip_reason.skip_message == "nothing is beyond its limit"
        assert webhook.messages == []

    def test_failures_are_reported_once_and_their_end_too(
        self, settings, tick, webhook, fail, postgres_dsn: str
    ):
        settings(webhook)
        fail(2)
        first = tick()
        second = tick(first.cursor)
        text = "2 stages failed within the last hour: 2 × layout BrokenError"
        assert [message["text"] for message in webhook.messages] == [f":red_circle: {text}"]
        assert second.skip_reason.skip_message == f"1 alert: {text}"
        with psycopg.connect(postgres_dsn) as connection:
            connection.execute("update captionacc.stage_outcomes set occurred_at = now() - interval '2 h'")
        tick(second.cursor)
        assert webhook.messages[1:] == [{"text": f":white_check_mark: over: {text}"}]

    def test_only_sensors_of_these_definitions_are_watched(self, settings, tick, webhook, instance):
        settings(webhook)
        add_sensor_state(instance, "new_videos", InstigatorStatus.STOPPED, last_tick=1234.5)
        add_sensor_state(instance, "of_an_earlier_version", InstigatorStatus.STOPPED, last_tick=1234.5)
        assert tick().skip_reason.skip_message == "1 alert: sensor new_videos is switched off"

    def test_a_dead_webhook_does_not_fail_the_tick(self, settings, tick, fail):
        settings("http://127.0.0.1:1/s3cretpath")
        fail(2)
        result = tick()
        assert "was not reached (ConnectError)" in result.skip_reason.skip_message
        assert "s3cretpath" not in result.skip_reason.skip_message + (result.cursor or "")
        assert Reported.from_cursor(result.cursor).alerts == {}

    def test_without_a_webhook_the_tick_shows_what_it_saw(self, settings, tick, fail):
        settings(None)
        fail(2)
        message = tick().skip_reason.skip_message
        assert "2 × layout BrokenError" in message and "CAPTIONACC_ALERT_WEBHOOK is not set" in message

    def test_a_catalogue_that_is_gone_is_reported(self, settings, tick, webhook, monkeypatch, catalog):
        settings(webhook)
        gone = connected("postgresql://nobody:s3cretword@127.0.0.1:1/none", connect_timeout_seconds=1)
        monkeypatch.setattr(catalog, "stage_failures", gone.stage_failures)
        tick()
        ((message,),) = [list(message.values()) for message in webhook.messages]
        assert message.startswith(":red_circle: The catalogue does not answer:")
        assert "s3cretword" not in message
