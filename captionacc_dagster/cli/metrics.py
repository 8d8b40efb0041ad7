"""``metrics``: Prometheus metrics, health, and a watch on the sensor daemon."""

import logging
import threading
import time
from typing import TYPE_CHECKING, Annotated

import typer

from captionacc_dagster.cli.app import PortOption, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.cli.root import app, console
from captionacc_dagster.resources.start_line import log_start

if TYPE_CHECKING:
    import dagster as dg

_log = logging.getLogger(__name__)
WATCH_SECONDS = 60


@app.command()
def metrics(
    host: Annotated[str | None, typer.Option(help="address to listen on; default: CAPTIONACC_HOST")] = None,
    port: PortOption = None,
) -> None:
    """Serve /metrics for Prometheus, /healthz for the platform's health and /livez for this process's."""
    import dagster as dg

    from captionacc_dagster.definitions import defs
    from captionacc_dagster.operations.metrics import PlatformCollector, create_app, health
    from captionacc_dagster.platform.ports import require_free_port, url_of
    from captionacc_dagster.web.http_server import serve

    here = parts()
    settings = here.settings
    sensors = frozenset(sensor.name for sensor in defs.sensors or ())
    silent = settings.alert_silent_minutes * 60
    host, port = host or settings.host, port or settings.metrics_port
    require_free_port(host, port, "CAPTIONACC_METRICS_PORT")
    use_dagster_home(settings)
    with dg.DagsterInstance.get() as instance:
        collector = PlatformCollector(here.catalog, instance, sensors)
        application = create_app(collector, lambda: health(here.catalog, instance, sensors, silent))
        webhook = settings.alert_webhook.get_secret_value() if settings.alert_webhook else None
        ended = threading.Event()
        watch = threading.Thread(
            target=watch_sensor_daemon,
            args=(instance, webhook, silent, settings.alert_repeat_minutes * 60, ended),
            daemon=True,
        )
        watch.start()
        log_start(settings, "metrics")
        console.print(f"Metrics at {url_of(host, port)}/metrics, health on /healthz", highlight=False)
        try:
            serve(application, host, port)
        finally:
            ended.set()


def watch_sensor_daemon(
    instance: "dg.DagsterInstance",
    webhook: str | None,
    silent_seconds: float,
    repeat_seconds: float,
    ended: threading.Event,
) -> None:
    """Alert on the one silence that the ``alerts`` sensor cannot report: that of its own daemon.

    Runs until ``ended``. Also alerts if Dagster's storage does not answer.
    """
    from captionacc_dagster.operations.alerting import (
        Alert,
        AlertLimits,
        Observation,
        Reported,
        find_alerts,
        report,
    )
    from captionacc_dagster.operations.health import SENSOR_DAEMON, observe_dagster

    reported = Reported()
    while True:
        now = time.time()
        try:
            seen = Observation(dagster=observe_dagster(instance, ()))
            found = find_alerts(seen, AlertLimits(silent_seconds=silent_seconds), now)
            alerts = [alert for alert in found if alert.key == f"daemon/{SENSOR_DAEMON}"]
        except Exception as error:
            # The error's message may contain an address with a password.
            alerts = [Alert("dagster", f"Dagster's storage does not answer ({type(error).__name__})")]
        reported, summary = report(alerts, reported, webhook, now, repeat_seconds)
        if summary:
            _log.warning("%s", summary)
        if ended.wait(WATCH_SECONDS):
            return
