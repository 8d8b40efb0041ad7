"""The service as a server: its parts from the settings, where it may listen, and a thread of its own."""

import logging
import threading
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from captionacc_dagster.logs import make_formatter
from captionacc_dagster.platform.homes import make_private
from captionacc_dagster.platform.ports import url_of
from captionacc_dagster.platform.role_lock import ServiceError
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.opening import database_dsn
from captionacc_dagster.resources.start_line import start_line
from captionacc_dagster.settings import Settings, SettingsError
from captionacc_dagster.web.announcements import Announcements
from captionacc_dagster.web.http_server import Server, make_server
from captionacc_dagster.web.service.app import create_app
from captionacc_dagster.web.service.limits import RateLimits
from captionacc_dagster.web.service.middleware import is_loopback
from captionacc_dagster.web.service.parts import ServiceParts, Starter
from captionacc_dagster.web.service.tokens import tokens_of
from captionacc_dagster.web.webhook import webhook_of
from modal_gpu.storage import ObjectStore

_log = logging.getLogger(__name__)
LOOPBACK = "127.0.0.1"
_START_SECONDS = 30.0


def parts_of(
    settings: Settings, catalog: Catalog, object_store: ObjectStore, starter: Starter | None
) -> ServiceParts:
    """Return the service's parts. Raises :class:`SettingsError` for an unusable secret."""
    return ServiceParts(
        settings,
        catalog,
        object_store,
        tokens=tokens_of(settings),
        starter=starter,
        limits=RateLimits(settings.serve_requests_a_minute),
        webhook=webhook_of(settings, starter) if settings.webhook_secret and starter else None,
        announcements=_announcements(settings),
    )


def _announcements(settings: Settings) -> Announcements | None:
    """Return what listens to the catalogue; ``None`` behind Supabase's API, which cannot be listened to."""
    if settings.supabase_url:
        return None
    return Announcements(database_dsn(settings), settings.catalogue_schema)


def check_exposure(settings: Settings, host: str) -> None:
    """Raise :class:`SettingsError` if other machines could reach a service that has no login."""
    if not is_loopback(host) and tokens_of(settings) is None:
        raise SettingsError(
            f"without a login the service listens on this machine only, not on {host}: set SUPABASE_URL, "
            "SUPABASE_JWKS_URL or SUPABASE_JWT_SECRET, or --host 127.0.0.1"
        )


def host_of_platform(settings: Settings) -> str:
    """Return where the service of ``captionacc up`` listens: the platform's host if callers sign in."""
    return settings.host if tokens_of(settings) is not None or is_loopback(settings.host) else LOOPBACK


def log_requests(settings: Settings, process: str, path: Path | None = None) -> None:
    """Write the service's log lines, one for its start and one for each request.

    They go to a file, or to standard error. ``process`` names the process in the first line.
    """
    if path is None:
        handler: logging.Handler = logging.StreamHandler()
    else:
        make_private(path.parent)
        # Renamed at 20 MB, with the two files before it kept.
        handler = RotatingFileHandler(path, maxBytes=20_000_000, backupCount=2, delay=True)
    handler.setFormatter(make_formatter())
    log = logging.getLogger("captionacc_dagster.web")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.info("%s", start_line(settings, process))


class ServiceThread:
    """The service in a thread of this process, from :meth:`begin` until :meth:`end`."""

    def __init__(self, parts: ServiceParts, host: str, port: int) -> None:
        self._parts = parts
        self.address = url_of(host, port)
        self._server: Server = make_server(create_app(parts), host, port, parts.end)
        self._thread = threading.Thread(target=self._serve, name="http service", daemon=True)

    def begin(self) -> None:
        """Start the thread, and wait until it serves. Raises :class:`ServiceError` if it cannot."""
        self._parts.begin()
        self._thread.start()
        deadline = time.monotonic() + _START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise ServiceError("the HTTP service did not start: its port may have been taken")
            time.sleep(0.02)

    def check(self) -> None:
        """Raise :class:`ServiceError` if the service has ended by itself."""
        if not self._thread.is_alive():
            raise ServiceError("the HTTP service ended by itself: its log has the reason")

    def end(self) -> None:
        """End the service; open requests have some seconds."""
        self._server.end()
        self._thread.join(15)
        self._parts.close()

    def _serve(self) -> None:
        try:
            self._server.run()
        except BaseException:
            # Nobody joins a thread for its error, and uvicorn ends with SystemExit.
            _log.exception("the HTTP service failed")
