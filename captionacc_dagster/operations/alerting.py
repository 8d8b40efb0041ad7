"""Alerts for operators: which there are, which are due to be reported, and the message to a webhook.

:func:`find_alerts` and :class:`Reported` depend only on their arguments and the time they are given.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Self

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

#: A chat message holds some 4,000 characters; further alerts are only counted.
SHOWN_ALERTS = 20
SHOWN_KINDS = 3
#: Error types that say nothing about the platform.
_NO_FAILURES = ("Cancelled", "CancelledError", "QuotaExceededError")


class AlertDeliveryError(CaptionAccError):
    """The webhook did not accept a message. The text never contains its address, which is a secret."""

    retryable = True


@dataclass(frozen=True)
class Alert:
    """A problem to report. ``key`` is the same whenever the same problem is found.

    Problems in ``replaces`` are not reported as over when this one takes their place.
    """

    key: str
    text: str
    replaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class AlertLimits:
    """Limits beyond which there is an alert. 0, and no amounts: never."""

    failures_an_hour: int = 10
    backlog_seconds: float = 3600
    stale_lock_seconds: float = 900
    #: Amounts of one tenant in a month, ascending: an alert for the highest that is reached.
    spend_usd: Sequence[float] = ()
    #: The installation's limit of a tenant's month, for the message.
    month_limit_usd: float | None = None
    silent_seconds: float = 300


@dataclass(frozen=True)
class Observation:
    """The platform at one moment. ``catalogue_error``: the reason why the catalogue's parts are empty."""

    failures: Sequence[StageFailures] = ()
    backlog: Sequence[StageBacklog] = ()
    locks: Sequence[LockState] = ()
    spend: Sequence[TenantSpend] = ()
    catalogue_error: str | None = None
    dagster: DagsterState | None = None


def observe(catalog: Catalog, dagster: DagsterState | None, spend_tenants: int = 100) -> Observation:
    """Read what alerts need. A catalogue that does not answer is an alert, not an error."""
    try:
        return Observation(
            failures=catalog.stage_failures(3600),
            backlog=catalog.stage_backlog(),
            locks=catalog.lock_state(),
            spend=catalog.monthly_spend(spend_tenants),
            dagster=dagster,
        )
    except CatalogError as error:
        return Observation(catalogue_error=str(error).splitlines()[0], dagster=dagster)


def find_alerts(seen: Observation, limits: AlertLimits, now: float) -> list[Alert]:
    """Return an alert for each limit that is exceeded. ``now``: seconds since 1970."""
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
    # Cancellations and refusals over quota are shown in the web app; neither is the platform's failure.
    rows = [row for row in rows if row.error_type not in _NO_FAILURES]
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
        waiting = [
            (row.oldest_waiting_at.timestamp(), row)
            for row in rows
            if row.stage == stage and row.oldest_waiting_at is not None
        ]
        if not waiting:
            continue
        waiting_since, oldest = min(waiting, key=lambda pair: pair[0])
        age = now - waiting_since
        if age > limits.backlog_seconds:
            count = sum(row.waiting for _, row in waiting)
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
                f"given back, the oldest {_duration(age)} ago: its holder died; the "
                "next run of the video takes it, or upkeep removes it",
            )


def _spend(rows: Iterable[TenantSpend], limits: AlertLimits) -> Iterable[Alert]:
    limit = f"; the installation's limit is ${limits.month_limit_usd:,.2f}" if limits.month_limit_usd else ""
    for row in rows:
        reached = [amount for amount in limits.spend_usd if row.cost_usd >= amount]
        if reached:
            *lower, highest = (f"spend/{row.tenant_id}/{amount:g}" for amount in reached)
            yield Alert(
                highest,
                f"tenant {row.tenant_id} ({row.tier}) has cost an estimated ${row.cost_usd:,.2f} this month, "
                f"more than ${reached[-1]:,.2f}{limit}",
                replaces=tuple(lower),
            )


def _silence(dagster: DagsterState, limits: AlertLimits, now: float) -> Iterable[Alert]:
    for daemon in dagster.silent_daemons(now, limits.silent_seconds) if limits.silent_seconds else ():
        at = dagster.heartbeats[daemon]
        silence = "has never sent a heartbeat" if at is None else f"has been silent for {_duration(now - at)}"
        yield Alert(f"daemon/{daemon}", f"Dagster's {daemon} daemon {silence}")
    if dagster.silent_daemons(now, limits.silent_seconds).count(SENSOR_DAEMON):
        return  # its sensors are silent because it is
    for sensor in dagster.silent_sensors(now, limits.silent_seconds) if limits.silent_seconds else ():
        age = _duration(now - (sensor.last_tick_at or now))
        yield Alert(f"sensor/{sensor.name}", f"sensor {sensor.name} is on, but did not run for {age}")
    for sensor in dagster.sensors:
        if not sensor.is_on:
            yield Alert(f"sensor/{sensor.name}", f"sensor {sensor.name} is switched off")


# -- reporting each once -----------------------------------------------------------------------


@dataclass(frozen=True)
class Changes:
    """Alerts to report now."""

    started: Sequence[Alert] = ()
    still: Sequence[Alert] = ()
    ended: Sequence[str] = ()

    def __bool__(self) -> bool:
        return bool(self.started or self.still or self.ended)

    def text(self) -> str:
        """Return lines for a chat, without mark-up of their own; at most ``SHOWN_ALERTS`` of a kind."""
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
class Reported:
    """Alerts that were reported, and when. A sensor's cursor holds it."""

    #: By key: the alert's last text, and when it was last reported (seconds since 1970).
    alerts: dict[str, tuple[str, float]] = field(default_factory=dict)

    @classmethod
    def from_cursor(cls, cursor: str | None) -> Self:
        """Read a cursor. An unreadable one counts as empty, so that alerts are reported once more."""
        try:
            stored = json.loads(cursor or "{}")
            return cls({str(key): (str(text), float(at)) for key, (text, at) in stored.items()})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def to_cursor(self) -> str:
        """Return the cursor that :meth:`from_cursor` reads."""
        return json.dumps(self.alerts, sort_keys=True)

    def changes(self, alerts: Iterable[Alert], now: float, repeat_seconds: float) -> Changes:
        """Return which alerts are new, still there after ``repeat_seconds``, or over."""
        alerts = list(alerts)
        current = {key for alert in alerts for key in (alert.key, *alert.replaces)}
        return Changes(
            started=[alert for alert in alerts if alert.key not in self.alerts],
            still=[
                alert
                for alert in alerts
                if alert.key in self.alerts and now - self.alerts[alert.key][1] >= repeat_seconds
            ],
            ended=[text for key, (text, _) in sorted(self.alerts.items()) if key not in current],
        )

    def after(self, changes: Changes, alerts: Iterable[Alert], now: float) -> "Reported":
        """Return the state after ``changes`` were reported."""
        reported_now = {alert.key for alert in (*changes.started, *changes.still)}
        return Reported(
            {
                alert.key: (alert.text, now if alert.key in reported_now else self.alerts[alert.key][1])
                for alert in alerts
            }
        )


def deliver(url: str, text: str, *, attempts: int = 3, timeout_seconds: float = 5) -> None:
    """Post a message in the format of Slack, Mattermost and Discord's ``/slack``.

    Retries with growing pauses after a lost connection, 429 and 5xx, for about 20 s at most. Raises
    :class:`AlertDeliveryError`.
    """
    import httpx  # Every process that loads the definitions imports this module, and few post.

    def again(error: BaseException) -> bool:
        if isinstance(error, httpx.HTTPStatusError):
            return error.response.status_code == 429 or error.response.status_code >= 500
        return isinstance(error, httpx.TransportError)

    def note(state: RetryCallState) -> None:
        _log.info("the alert webhook accepted no message at attempt %s of %s", state.attempt_number, attempts)

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
        # Not httpx's own message: it contains the address, and whoever knows that may post.
        raise AlertDeliveryError(
            f"the webhook of CAPTIONACC_ALERT_WEBHOOK answered {error.response.status_code}"
        ) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise AlertDeliveryError(
            f"the webhook of CAPTIONACC_ALERT_WEBHOOK was not reached ({type(error).__name__})"
        ) from None


def report(
    alerts: Sequence[Alert], reported: Reported, url: str | None, now: float, repeat_seconds: float
) -> tuple[Reported, str]:
    """Post what has changed; return the state to keep and a summary in one line.

    Changes that were not delivered, or have no ``url`` to go to, are reported by the next call.
    """
    changes = reported.changes(alerts, now, repeat_seconds)
    texts = "; ".join(alert.text for alert in alerts)
    summary = f"{_counted(len(alerts), 'alert', 'alerts')}: {texts}" if alerts else ""
    if not changes:
        return reported.after(changes, alerts, now), summary
    if url is None:
        return reported, f"{summary} (CAPTIONACC_ALERT_WEBHOOK is not set: nothing was sent)"
    try:
        deliver(url, changes.text())
    except AlertDeliveryError as error:
        _log.warning("%s; the next tick tries again", error)
        return reported, f"{summary or 'alerts are over'} ({error}; the next tick tries again)"
    return reported.after(changes, alerts, now), summary or "reported that all alerts are over"


def _escaped(text: str) -> str:
    """Escape text that Slack would take for mark-up."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _duration(seconds: float) -> str:
    span = timedelta(seconds=round(seconds))
    if span >= timedelta(days=2):
        return f"{span.days} days"
    minutes = span // timedelta(minutes=1)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{max(1, minutes)} min"
