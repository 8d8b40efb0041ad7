"""``serve``: the HTTP API, live events, the webhook and the review page."""

from typing import Annotated

import typer

from captionacc_dagster.cli.app import PortOption, parts
from captionacc_dagster.cli.deployment import use_dagster_home
from captionacc_dagster.cli.root import app, console


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="address to listen on; default: CAPTIONACC_HOST")] = None,
    port: PortOption = None,
) -> None:
    """Serve the HTTP API, live events, the webhook and the review page, until Ctrl-C."""
    from captionacc_dagster.platform.ports import require_free_port, url_of
    from captionacc_dagster.web.direct_start import open_starter
    from captionacc_dagster.web.http_server import serve as serve_app
    from captionacc_dagster.web.service.app import create_app
    from captionacc_dagster.web.service.serving import check_exposure, log_requests, parts_of

    here = parts()
    settings = here.settings
    host, port = host or settings.host, port or settings.effective_serve_port
    check_exposure(settings, host)
    require_free_port(host, port, "CAPTIONACC_SERVE_PORT")
    use_dagster_home(settings)
    with open_starter(here.catalog, here.object_store, trigger="api") as starter:
        service = parts_of(settings, here.catalog, here.object_store, starter)
        application = create_app(service)
        console.print(f"API and review page at {url_of(host, port)}, documentation on /docs", highlight=False)
        log_requests(settings, "serve")
        service.begin()
        try:
            serve_app(application, host, port, service.end)
        finally:
            service.close()
