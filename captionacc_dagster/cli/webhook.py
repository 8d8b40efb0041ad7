"""``webhook`` and ``listen``: the two fast paths beside the sensors."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from captionacc_dagster.cli.app import Parts, PortOption, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.cli.root import app, console
from captionacc_dagster.resources.start_line import log_start

if TYPE_CHECKING:
    from captionacc_dagster.web.starter import RunStarter


@app.command()
def webhook(
    host: Annotated[str | None, typer.Option(help="address to listen on; default: CAPTIONACC_HOST")] = None,
    port: PortOption = None,
) -> None:
    """Serve the webhook that Supabase calls for each new video. Needs a running Dagster daemon."""
    from captionacc_dagster.platform.ports import require_free_port, url_of
    from captionacc_dagster.web.http_server import serve
    from captionacc_dagster.web.webhook import app_of, require_secret, webhook_of

    here = parts()
    settings = here.settings
    require_secret(settings)
    host, port = host or settings.host, port or settings.webhook_port
    require_free_port(host, port, "CAPTIONACC_WEBHOOK_PORT")
    with _starter(here, "webhook") as starter:
        served = webhook_of(settings, starter)
        proxies = [proxy for proxy in settings.webhook_trusted_proxies.split(",") if proxy]
        application = app_of(served, proxies)
        log_start(settings, "webhook")
        console.print(f"Webhook at {url_of(host, port)}/webhooks/supabase/videos", highlight=False)
        serve(application, host, port)


@app.command()
def listen() -> None:
    """Start work as soon as the catalogue announces it, until Ctrl-C. Sensors alone take seconds longer."""
    from captionacc_dagster.resources.opening import database_dsn
    from captionacc_dagster.web.listeners import PostgresListener, SupabaseListener

    here = parts()
    settings = here.settings
    with _starter(here, "listener") as starter:

        def start(stage: str, video_id: str) -> None:
            started = (starter.start_layout if stage == "layout" else starter.start_captions)(video_id)
            console.print(f"{stage} of {video_id}: {started.outcome}", highlight=False)

        if settings.supabase_url and settings.supabase_service_role_key:
            key = settings.supabase_service_role_key.get_secret_value()
            listener: SupabaseListener | PostgresListener = SupabaseListener(
                settings.supabase_url, key, start, settings.catalogue_schema
            )
        else:
            listener = PostgresListener(database_dsn(settings), start, schema=settings.catalogue_schema)
        log_start(settings, "listen")
        console.print("Listening for new videos and approvals; Ctrl-C stops.")
        listener.run(threading.Event())


@contextmanager
def _starter(here: Parts, trigger: str) -> Iterator["RunStarter"]:
    """Open Dagster's instance and a starter on it."""
    from captionacc_dagster.web.direct_start import open_starter

    use_dagster_home(here.settings)
    with open_starter(here.catalog, here.object_store, trigger=trigger) as starter:
        yield starter
