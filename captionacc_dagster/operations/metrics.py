"""Prometheus metrics and health of the platform, as a small ASGI app beside Dagster's web server.

A scrape reads aggregates whose cost grows with what waits, runs or is new. Answers are cached for a few
seconds, so that several scrapers, or an impatient one, put no more load on the databases.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from captionacc_dagster.operations.health import DagsterState, observe_dagster
from captionacc_dagster.resources.catalog import Catalog
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)

#: From a second to Dagster's longest run; most stages take between ten seconds and ten minutes.
DURATION_BUCKETS = (1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600, 1200, 2400, 3600, 7200)
#: Tenants whose monthly cost is a series of its own; all others are one series, ``other``.
SPEND_TENANTS = 50
#: How long the month's costs are cached: summing them reads every row, and they change slowly.
SPEND_SECONDS = 60
#: Most outcomes that one scrape reads; the next one reads the rest.
OUTCOMES_A_SCRAPE = 5000
_OUTCOMES_PAGE = 1000

Family = GaugeMetricFamily


class PlatformCollector(Collector):
    """Exports the platform's state as metrics. A part that does not answer is left out; its ``up`` is 0.

    Durations and outcomes are counted from the process's start, as Prometheus expects of counters.
    One instance serves many threads; it queries the databases at most once every ``cache_seconds``.
    """

    def __init__(
        self,
        catalog: Catalog,
        instance: dg.DagsterInstance,
        sensors: Iterable[str],
        *,
        cache_seconds: float = 5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog, self._instance, self._sensors = catalog, instance, frozenset(sensors)
        self._cache_seconds, self._clock = cache_seconds, clock
        self._guard = threading.Lock()
        self._families: list[Metric] = []
        self._collected_at = float("-inf")
        self._spend: tuple[float, Metric] | None = None
        self._after = (datetime.fromtimestamp(clock(), UTC) - timedelta(seconds=30), 0)
        self._own = CollectorRegistry()
        self._durations = Histogram(
            "captionacc_stage_duration_seconds",
            "Time from when a run begins a stage until the stage ends.",
            ["stage", "outcome"],
            buckets=DURATION_BUCKETS,
            registry=self._own,
        )
        self._outcomes = Counter(
            "captionacc_stage_outcomes",
            "Stages that ended, by outcome; error_type is empty for those that finished.",
            ["stage", "outcome", "error_type"],
            registry=self._own,
        )
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def describe(self) -> Iterable[Metric]:
        # Without this, registering would collect.
        return []

    def collect(self) -> Iterator[Metric]:
        with self._guard:
            if self._clock() - self._collected_at >= self._cache_seconds:
                self._families = self._observe()
                self._collected_at = self._clock()
            yield from self._families

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _observe(self) -> list[Metric]:
        started = time.monotonic()
        up = Family("captionacc_up", "Whether a part of the platform answered this scrape.", labels=["part"])
        families: list[Metric] = [up]
        for part, observe in (("catalogue", self._from_catalogue), ("dagster", self._from_dagster)):
            try:
                families += observe()
                up.add_metric([part], 1)
            except Exception as error:
                # Any error: a scrape that fails entirely would hide the parts that do answer.
                _log.warning("%s is not observed: %s", part, _one_line(error))
                up.add_metric([part], 0)
        families += self._own.collect()
        families.append(
            _gauge(
                "captionacc_scrape_seconds", "Time that this observation took.", time.monotonic() - started
            )
        )
        return families

    # -- catalogue ---------------------------------------------------------------------------

    def _from_catalogue(self) -> list[Metric]:
        now = self._clock()
        return [
            *self._backlog(now),
            *self._locks(now),
            *self._calls(now),
            self._failures(),
            self._spending(now),
            self._take_outcomes(),
        ]

    def _backlog(self, now: float) -> list[Metric]:
        labels = ["stage", "tier"]
        waiting = Family("captionacc_videos_waiting", "Videos that wait for a run of a stage.", labels=labels)
        running = Family("captionacc_videos_running", "Videos that a run works on, by stage.", labels=labels)
        oldest = Family(
            "captionacc_oldest_waiting_seconds",
            "How long the oldest waiting video has waited.",
            labels=labels,
        )
        longest = Family(
            "captionacc_longest_running_seconds", "How long the longest-running stage has run.", labels=labels
        )
        for row in self._catalog.stage_backlog():
            key = [row.stage, row.tier]
            waiting.add_metric(key, row.waiting)
            running.add_metric(key, row.running)
            if row.oldest_waiting_at is not None:
                oldest.add_metric(key, _age(now, row.oldest_waiting_at))
            if row.oldest_running_at is not None:
                longest.add_metric(key, _age(now, row.oldest_running_at))
        return [waiting, running, oldest, longest]

    def _locks(self, now: float) -> list[Metric]:
        leases = Family(
            "captionacc_leases",
            "Leases on client databases: held, or expired without being released.",
            labels=["database", "state"],
        )
        stale = Family(
            "captionacc_oldest_expired_lease_seconds",
            "Time since the oldest expired lease ran out.",
            labels=["database"],
        )
        waits = 0
        for row in self._catalog.lock_state():
            leases.add_metric([row.database_name, "held"], row.held)
            leases.add_metric([row.database_name, "expired"], row.expired)
            if row.oldest_expired_at is not None:
                stale.add_metric([row.database_name], _age(now, row.oldest_expired_at))
            waits = row.database_waits
        help_text = "Transactions of the catalogue's database that wait for another's lock."
        return [leases, stale, _gauge("captionacc_database_lock_waits", help_text, waits)]

    def _calls(self, now: float) -> list[Metric]:
        labels = ["function", "backend", "status"]
        calls = Family("captionacc_compute_calls_open", "Compute calls that have not ended.", labels=labels)
        oldest = Family(
            "captionacc_oldest_compute_call_seconds", "Age of the oldest open compute call.", labels=labels
        )
        for row in self._catalog.open_compute_calls():
            key = [row.function_name, row.backend, row.status]
            calls.add_metric(key, row.calls)
            oldest.add_metric(key, _age(now, row.oldest_at))
        return [calls, oldest]

    def _failures(self) -> Metric:
        failures = Family(
            "captionacc_stage_failures_last_hour",
            "Stages that ended in an error within the last hour, by kind.",
            labels=["stage", "error_type"],
        )
        for row in self._catalog.stage_failures(3600):
            failures.add_metric([row.stage, row.error_type], row.failures)
        return failures

    def _spending(self, now: float) -> Metric:
        if self._spend is not None and 0 <= now - self._spend[0] < SPEND_SECONDS:
            return self._spend[1]
        spend = Family(
            "captionacc_spend_month_usd",
            "Estimated cost of this calendar month (UTC) so far; the tenants beyond the "
            f"{SPEND_TENANTS} most expensive ones are 'other'.",
            labels=["tenant", "tier"],
        )
        rows = self._catalog.monthly_spend(1000)
        for row in rows[:SPEND_TENANTS]:
            spend.add_metric([row.tenant_id, row.tier], row.cost_usd)
        others: dict[str, float] = {}
        for row in rows[SPEND_TENANTS:]:
            others[row.tier] = others.get(row.tier, 0.0) + row.cost_usd
        for tier, cost in sorted(others.items()):
            spend.add_metric(["other", tier], cost)
        self._spend = (now, spend)
        return spend

    def _take_outcomes(self) -> Metric:
        taken = 0
        while taken < OUTCOMES_A_SCRAPE:
            page = self._catalog.stage_outcomes_after(*self._after, limit=_OUTCOMES_PAGE)
            for row in page:
                self._outcomes.labels(row.stage, row.outcome, row.error_type).inc()
                if row.seconds is not None:
                    self._durations.labels(row.stage, row.outcome).observe(row.seconds)
                self._after = (row.occurred_at, row.id)
            taken += len(page)
            if len(page) < _OUTCOMES_PAGE:
                break
        help_text = "Outcomes that this scrape read; at its limit it lags behind."
        return _gauge("captionacc_outcomes_taken", help_text, taken)

    # -- Dagster -----------------------------------------------------------------------------

    def _from_dagster(self) -> list[Metric]:
        now = self._clock()
        state = observe_dagster(self._instance, self._sensors)
        runs = Family("captionacc_runs", "Dagster's runs that have not ended.", labels=["status"])
        for status, count in state.runs.items():
            runs.add_metric([status], count)
        queued = 0.0 if state.oldest_queued_at is None else max(0.0, now - state.oldest_queued_at)
        beats = Family(
            "captionacc_daemon_heartbeat_age_seconds",
            "Time since a daemon's last heartbeat.",
            labels=["daemon"],
        )
        for daemon, at in state.heartbeats.items():
            beats.add_metric([daemon], float("inf") if at is None else max(0.0, now - at))
        ticks = Family(
            "captionacc_sensor_tick_age_seconds", "Time since a sensor last ran.", labels=["sensor"]
        )
        on = Family("captionacc_sensor_on", "Whether a sensor is switched on.", labels=["sensor"])
        for sensor in state.sensors:
            on.add_metric([sensor.name], sensor.is_on)
            if sensor.last_tick_at is not None:
                ticks.add_metric([sensor.name], max(0.0, now - sensor.last_tick_at))
        help_text = "How long the oldest queued run has waited; 0 without one."
        return [runs, _gauge("captionacc_oldest_queued_run_seconds", help_text, queued), beats, ticks, on]


def health(
    catalog: Catalog, instance: dg.DagsterInstance, sensors: Iterable[str], silent_seconds: float
) -> dict[str, Any]:
    """Return ``{"status": "ok" | "failing", "problems": [...]}``: what stops the platform now."""
    problems: list[str] = []
    try:
        catalog.lock_state()
    except CaptionAccError as error:
        problems.append(f"catalogue: {_one_line(error)}")
    try:
        state: DagsterState = observe_dagster(instance, frozenset(sensors))
    except Exception as error:
        # A driver's error, whose message may contain an address with a password.
        problems.append(f"dagster: its storage does not answer ({type(error).__name__})")
    else:
        silent = state.silent_daemons(time.time(), silent_seconds)
        problems += [f"daemon {name} is silent for more than {silent_seconds:.0f} s" for name in silent]
    return {"status": "failing" if problems else "ok", "problems": problems}


def create_app(collector: PlatformCollector, check: Callable[[], dict[str, Any]]) -> Starlette:
    """Serve ``/metrics``, the platform's ``/healthz`` (503 when failing) and this process's ``/livez``."""

    async def metrics(request: Request) -> Response:
        body = await run_in_threadpool(collector.exposition)
        return Response(body, headers={"content-type": CONTENT_TYPE_LATEST})

    async def healthz(request: Request) -> Response:
        found = await run_in_threadpool(check)
        return JSONResponse(found, 200 if found["status"] == "ok" else 503)

    async def livez(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/metrics", metrics, methods=["GET"]),
            Route("/healthz", healthz, methods=["GET"]),
            Route("/livez", livez, methods=["GET"]),
        ]
    )


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, help_text, value=value)


def _age(now: float, moment: datetime) -> float:
    return max(0.0, now - moment.timestamp())


def _one_line(error: Exception) -> str:
    if isinstance(error, CaptionAccError):
        return str(error).splitlines()[0]
    # A driver's own message may contain an address with a password.
    return type(error).__name__
