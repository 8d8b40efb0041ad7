"""What an operator should be told, and telling it once: the decisions, and the message to a webhook.

:func:`find_alerts` and :class:`Told` are plain functions of what was seen and of the time.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from captionacc_dagster.operations.health import SENSOR_DAEMON, DagsterState
from captionacc_dagster.resources.catalog import (
    Catalog,
    CatalogError,
    LockState,
    StageBacklog,
    StageFailures,
    TenantSpend,
)
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)

#: A chat's message holds some 4,000 characters; what is more is counted.
SHOWN_ALERTS = 20
SHOWN_KINDS = 3


class AlertDeliveryError(CaptionAccError):
    """The webhook did not take a message. Never says its address, which is a secret."""

    retryable = True


@dataclass(frozen=True)
class Alert:
    """Something to be told. ``key`` is equal for the same trouble at another time."""

    key: str
    text: str


@dataclass(frozen=True)
class AlertLimits:
    """From where on something is told. ``None`` and 0: never."""

    failures_an_hour: int = 10
    backlog_seconds: float = 3600
    stale_lock_seconds: float = 900
    spend_usd: float | None = None
    silent_seconds: float = 300


@dataclass(frozen=True)
class Seen:
    """The platform at one moment. ``catalogue_error``: why the catalogue's parts are empty."""

    failures: Sequence[StageFailures] = ()
    backlog: Sequence[StageBacklog] = ()
    locks: Sequence[LockState] = ()
    spend: Sequence[TenantSpend] = ()
    catalogue_error: str | None = None
    dagster: DagsterState | None = None


def observe(catalog: Catalog, dagster: DagsterState | None, spend_tenants: int = 100) -> Seen:
    """Read what alerts need. A catalogue that does not answer is something to tell, not an error."""
    try:
        return Seen(
            failures=catalog.stage_failures(3600),
            backlog=catalog.stage_backlog(),
            locks=catalog.lock_state(),
            spend=catalog.monthly_spend(spend_tenants),
            dagster=dagster,
        )
    except CatalogError as error:
        return Seen(catalogue_error=str(error).splitlines()[0], dagster=dagster)


def find_alerts(seen: Seen, limits: AlertLimits, now: float) -> list[Alert]:
    """What is beyond its limit. ``now``: seconds since 1970."""
    alerts = []
    if seen.catalogue_error is not None:
        alerts.append(Alert("catalogue", f"The catalogue does not answer: {seen.catalogue_error}"))
    alerts += _failures(seen.failures, limits)
    alerts += _backlog(seen.backlog, limits, now)
    alerts += _locks(seen.locks, limits, now)
    alerts += _spend(seen.spend, limits)
    if seen.dagster is not None:
        alerts += _silence(seen.dagster, limits, now)
    return alerts


def _failures(rows: Iterable[StageFailures], limits: AlertLimits) -> Iterable[Alert]:
    # Who cancels or is over quota is told in the web app; neither is the platform's failure.
    rows = [row for row in rows if row.error_type not in ("CancelledError", "QuotaExceededError")]
    total = sum(row.failures for row in rows)
    if limits.failures_an_hour and total >= limits.failures_an_hour:
        kinds = [f"{row.failures} × {row.stage} {row.error_type or 'without a kind'}" for row in rows]
        more = f" and {len(kinds) - SHOWN_KINDS} more kinds" if len(kinds) > SHOWN_KINDS else ""
        yield Alert(
            "failures",
            f"{total} stages failed within the last hour: {', '.join(kinds[:SHOWN_KINDS])}{more}",
        )


def _backlog(rows: Iterable[StageBacklog], limits: AlertLimits, now: float) -> Iterable[Alert]:
    for stage in sorted({row.stage for row in rows}) if limits.backlog_seconds else ():
        waiting = [row for row in rows if row.stage == stage and row.oldest_waiting_at is not None]
        if not waiting:
            continue
        oldest = min(waiting, key=lambda row: row.oldest_waiting_at.timestamp())
        age = now - oldest.oldest_waiting_at.timestamp()
        if age > limits.backlog_seconds:
            count = sum(row.waiting for row in waiting)
            yield Alert(
                f"backlog/{stage}",
                f"{_counted(count, 'video waits', 'videos wait')} for the {stage} stage, "
                f"the oldest (tier {oldest.tier}) for {_duration(age)}",
            )


def _locks(rows: Iterable[LockState], limits: AlertLimits, now: float) -> Iterable[Alert]:
    for row in rows if limits.stale_lock_seconds else ():
        if row.oldest_expired_at is None:
            continue
        age = now - row.oldest_expired_at.timestamp()
        if age > limits.stale_lock_seconds:
            yield Alert(
                f"locks/{row.database_name}",
                f"{_counted(row.expired, 'lease', 'leases')} on {row.database_name}.db ran out without being "
                f"given back, the oldest {_duration(age)} ago: its holder died and upkeep does not clean up",
            )


def _spend(rows: Iterable[TenantSpend], limits: AlertLimits) -> Iterable[Alert]:
    for row in rows:
        if limits.spend_usd and row.cost_usd >= limits.spend_usd:
            yield Alert(
                f"spend/{row.tenant_id}",
                f"tenant {row.tenant_id} ({row.tier}) has cost an estimated ${row.cost_usd:,.2f} this month; "
                f"the limit is ${limits.spend_usd:,.2f}",
            )


def _silence(dagster: DagsterState, limits: AlertLimits, now: float) -> Iterable[Alert]:
    for daemon in dagster.silent_daemons(now, limits.silent_seconds) if limits.silent_seconds else ():
        at = dagster.heartbeats[daemon]
        since = "ever" if at is None else f"for {_duration(now - at)}"
        yield Alert(f"daemon/{daemon}", f"Dagster's {daemon} daemon was not heard of {since}")
    if dagster.silent_daemons(now, limits.silent_seconds).count(SENSOR_DAEMON):
        return  # what its sensors do not do follows from that
    for sensor in dagster.silent_sensors(now, limits.silent_seconds) if limits.silent_seconds else ():
        age = _duration(now - (sensor.last_tick_at or now))
        yield Alert(f"sensor/{sensor.name}", f"sensor {sensor.name} is on, but did not run for {age}")
    for sensor in dagster.sensors:
        if not sensor.is_on:
            yield Alert(f"sensor/{sensor.name}", f"sensor {sensor.name} is switched off")


# -- telling it once ---------------------------------------------------------------------------


@dataclass(frozen=True)
class News:
    """What is to be told now."""

    started: Sequence[Alert] = ()
    still: Sequence[Alert] = ()
    ended: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.started or self.still or self.ended)

    def text(self) -> str:
        """Lines for a chat, in its mark-up's plain form; at most ``SHOWN_ALERTS`` of a kind."""
        lines = []
        for mark, texts in (
            (":red_circle:", [alert.text for alert in self.started]),
            (":repeat: still:", [alert.text for alert in self.still]),
            (":white_check_mark: over:", list(self.ended)),
        ):
            lines += [f"{mark} {_escaped(text)}" for text in texts[:SHOWN_ALERTS]]
            if len(texts) > SHOWN_ALERTS:
                lines.append(f"{mark} and {len(texts) - SHOWN_ALERTS} more")
        return "\n".join(lines)


@dataclass
class Told:
    """Which alerts were told and when, as a sensor's cursor keeps it."""

    #: Alert's key: its last text, and when it was last told (seconds since 1970).
    alerts: dict[str, tuple[str, float]] = field(default_factory=dict)

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Self:
        """An unreadable cursor is an empty one: an alert is told once more."""
        try:
            stored = json.loads(cursor or "{}")
            return cls({str(key): (str(text), float(at)) for key, (text, at) in stored.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def to_cursor(self) -> str:
        return json.dumps(self.alerts, sort_keys=True)

    def news(self, alerts: Iterable[Alert], now: float, repeat_seconds: float) -> News:
        """What of these is new, still there after ``repeat_seconds``, or over."""
        alerts = list(alerts)
        current = {alert.key for alert in alerts}
        return News(
            started=[alert for alert in alerts if alert.key not in self.alerts],
            still=[
                alert
                for alert in alerts
                if alert.key in self.alerts and now - self.alerts[alert.key][1] >= repeat_seconds
            ],
            ended=[text for key, (text, _) in sorted(self.alerts.items()) if key not in current],
        )

    def after(self, news: News, alerts: Iterable[Alert], now: float) -> "Told":
        """The state once the news was told."""
        told_now = {alert.key for alert in (*news.started, *news.still)}
        return Told(
            {
                alert.key: (alert.text, now if alert.key in told_now else self.alerts[alert.key][1])
                for alert in alerts
            }
        )


def deliver(url: str, text: str, *, attempts: int = 3, timeout_seconds: float = 5) -> None:
    """Post a message in the form that Slack, Mattermost and Discord's ``/slack`` take.

    Repeated with growing pauses on a lost connection, 429 and 5xx; at most some 20 s in all. Raises
    :class:`AlertDeliveryError`.
    """

    def again(error: BaseException) -> bool:
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code == 429 or error.response.status_code >= 500
        return isinstance(error, httpx.TransportError)

    def note(state: RetryCallState) -> None:
        _log.info("the alert webhook took no message at attempt %s of %s", state.attempt_number, attempts)

    try:
        for attempt in Retrying(
            retry=retry_if_exception(again),
            wait=wait_random_exponential(multiplier=0.3, max=1),
            stop=stop_after_attempt(attempts),
            before_sleep=note,
            reraise=True,
        ):
            with attempt:
                httpx.post(url, json={"text": text}, timeout=timeout_seconds).raise_for_status()
    except httpx.HTTPStatusError as error:
        # Not httpx's own message: the address in it is the permission to post.
        raise AlertDeliveryError(
            f"the webhook of CAPTIONACC_ALERT_WEBHOOK answered {error.response.status_code}"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise AlertDeliveryError(
            f"the webhook of CAPTIONACC_ALERT_WEBHOOK was not reached ({type(error).__name__})"
        ) from None


def tell(
    alerts: Sequence[Alert], told: Told, url: str | None, now: float, repeat_seconds: float
) -> tuple[Told, str]:
    """Tell what is news, and give the state to keep and a line for people.

    What could not be delivered counts as not told, so that the next time tries again. Without a ``url``
    nothing is kept either.
    """
    news = told.news(alerts, now, repeat_seconds)
    texts = "; ".join(alert.text for alert in alerts)
    summary = f"{_counted(len(alerts), 'alert', 'alerts')}: {texts}" if alerts else ""
    if not news:
        return told.after(news, alerts, now), summary
    if url is None:
        return told, f"{summary} (CAPTIONACC_ALERT_WEBHOOK is not set: nobody was told)"
    try:
        deliver(url, news.text())
    except AlertDeliveryError as error:
        _log.warning("%s; the next tick tries again", error)
        return told, f"{summary or 'alerts are over'} ({error}; the next tick tries again)"
    return told.after(news, alerts, now), summary or "told that all alerts are over"


def _escaped(text: str) -> str:
    """As Slack wants text that is not mark-up."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _duration(seconds: float) -> str:
    span = timedelta(seconds=round(seconds))
    if span >= timedelta(days=2):
        return f"{span.days} days"
    minutes = span // timedelta(minutes=1)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
