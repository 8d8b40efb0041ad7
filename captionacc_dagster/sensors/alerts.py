"""``alerts``: notifies an operator of failures, backlog, stale locks, spend and silence, once each."""

import time

import dagster as dg

from captionacc_dagster.operations.alerting import AlertLimits, Reported, find_alerts, observe, report
from captionacc_dagster.operations.health import observe_dagster
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.settings import Settings, get_settings


@dg.sensor(
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Compares failures, backlog, leases, spend, daemons and sensors with their limits, and posts to "
        "CAPTIONACC_ALERT_WEBHOOK what is new, persists or is over. Requests no run."
    ),
)
def alerts(context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]) -> dg.SensorResult:
    """Send what changed; the cursor holds what was sent. Without a webhook the skip reason states it."""
    settings = get_settings()
    now = time.time()
    state = observe_dagster(context.instance, _own_sensors(context))
    found = find_alerts(observe(catalog, state), alert_limits(settings), now)
    webhook = settings.alert_webhook.get_secret_value() if settings.alert_webhook else None
    reported, summary = report(
        found, Reported.from_cursor(context.cursor), webhook, now, settings.alert_repeat_minutes * 60
    )
    return dg.SensorResult(cursor=reported.to_cursor(), skip_reason=summary or "nothing is beyond its limit")


def _own_sensors(context: dg.SensorEvaluationContext) -> frozenset[str]:
    """Return the names of this version's sensors: Dagster's storage also keeps those of earlier versions."""
    definitions = context.repository_def
    return frozenset(sensor.name for sensor in definitions.sensor_defs) if definitions else frozenset()


def alert_limits(settings: Settings) -> AlertLimits:
    """Return the limits of the settings."""
    return AlertLimits(
        failures_an_hour=settings.alert_failures_an_hour,
        backlog_seconds=settings.alert_backlog_minutes * 60,
        stale_lock_seconds=settings.alert_stale_lock_minutes * 60,
        spend_usd=settings.alert_spend_usd,
        month_limit_usd=settings.month_cost_limit,
        silent_seconds=settings.alert_silent_minutes * 60,
    )
