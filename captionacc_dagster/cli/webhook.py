"""``webhook`` and ``listen``: the two fast paths beside the sensors."""

import threading
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Parts, app, console, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.settings import SettingsError


@app.command()
def webhook(
    host: Annotated[str | None, typer.Option(help="address to serve on")] = None,
    port: Annotated[int | None, typer.Option(help="port to serve on")] = None,
) -> None:
    """Serve the webhook that Supabase calls for each new video (needs a running Dagster web server)."""
    import uvicorn

    from captionacc_dagster.ports import require_free_port
    from captionacc_dagster.webhook import create_app

    here = parts()
    secret = here.settings.webhook_secret
    if secret is None or not secret.get_secret_value():
        raise SettingsError("CAPTIONACC_WEBHOOK_SECRET is not set: set it here and in Supabase's webhook")
    host, port = host or here.settings.host, port or here.settings.webhook_port
    require_free_port(host, port, "CAPTIONACC_WEBHOOK_PORT")
    with _starter(here) as starter:
        application = create_app(
            starter,
            secret=secret.get_secret_value(),
            schema=here.settings.catalogue_schema,
            requests_a_minute=here.settings.webhook_requests_a_minute,
        )
        console.print(f"Webhook on http://{host}:{port}/webhooks/supabase/videos", highlight=False)
        uvicorn.run(application, host=host, port=port, log_level="warning", server_header=False)


@app.command()
def listen() -> None:
    """Start work as soon as the catalogue tells of it, until Ctrl-C; the sensors take seconds more."""
    from captionacc_dagster.platform import database_dsn
    from captionacc_dagster.realtime import PostgresListener, SupabaseListener

    here = parts()
    settings = here.settings
    with _starter(here) as starter:

        def start(stage: str, video_id: str) -> None:
            started = (starter.start_layout if stage == "layout" else starter.start_captions)(video_id)
            console.print(f"{stage} of {video_id}: {started.outcome}", highlight=False)

        if settings.supabase_url and settings.supabase_service_role_key:
            key = settings.supabase_service_role_key.get_secret_value()
            listener = SupabaseListener(settings.supabase_url, key, start, settings.catalogue_schema)
        else:
            listener = PostgresListener(database_dsn(settings), start, schema=settings.catalogue_schema)
        console.print("Listening for new videos and approvals; Ctrl-C ends it.")
        listener.run(threading.Event())


def _starter(here: Parts):
    """The starter with Dagster's instance open, as a context."""
    from contextlib import contextmanager

    @contextmanager
    def opened():
        use_dagster_home(here.settings)
        import dagster as dg

        from captionacc_dagster.starter import RunStarter, launch_over_http

        with dg.DagsterInstance.get() as instance:
            launch = launch_over_http(here.settings.effective_dagster_url)
            yield RunStarter(here.catalog, here.object_store, instance, launch)

    return opened()
