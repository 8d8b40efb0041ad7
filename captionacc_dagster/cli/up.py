"""``up`` and ``stop``: start and stop the platform's services on this machine."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import psutil
from rich.markup import escape
from rich.panel import Panel

from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.root import app, console, note, say, waiting
from captionacc_dagster.platform.homes import require_home
from captionacc_dagster.platform.role_lock import Holder, ServiceError
from captionacc_dagster.settings import Settings

if TYPE_CHECKING:
    from captionacc_dagster.platform.daemon_keeper import Runner
    from captionacc_dagster.platform.services import Services
    from captionacc_dagster.web.direct_start import DirectStart
    from captionacc_dagster.web.service.serving import ServiceThread


@app.command()
def up() -> None:
    """Run the platform: catalogue, sensors, queue, Dagster's UI and the review page, until Ctrl-C."""
    from captionacc_dagster.platform.daemon_keeper import DaemonKeeper
    from captionacc_dagster.platform.dagster_home import prepare_dagster_home
    from captionacc_dagster.platform.ports import require_free_port, url_of
    from captionacc_dagster.platform.services import WEB_SERVER, Services, web_lock
    from captionacc_dagster.web.direct_start import DirectStart

    here = parts(Use.MAKE)
    here.is_home_named = True  # the panel names it once the platform is up
    settings = here.settings
    address = url_of(settings.host, settings.port)
    with ExitStack() as stack:
        _refuse_second_platform(web_lock(settings).holder(), settings)
        require_free_port(settings.host, settings.port, "CAPTIONACC_PORT")
        here.open_home()
        role = web_lock(settings)
        if not role.take(address):
            _refuse_second_platform(role.holder() or Holder(), settings)
        stack.callback(role.release)
        here.catalog.list_videos(limit=1)
        prepare_dagster_home(settings)
        services = Services(settings)
        stack.callback(services.stop)
        try:
            daemon = stack.enter_context(DaemonKeeper(settings, note))
            # Ends first: whoever takes over the daemon's role queues the runs that an ended process created.
            direct = stack.enter_context(DirectStart(settings, here.catalog, here.object_store))
            with waiting("Starting"):
                services.start_webserver()
                _wait_until_up(services, address, daemon.check)
            service = stack.enter_context(_service(here, direct))
            _announce(services, address, service.address, daemon.other)
            while services.ended() is None:
                daemon.check()
                service.check()
                if daemon.own is not None:
                    direct.begin()
                time.sleep(0.5)
        except KeyboardInterrupt:
            note("Stopping; no work is lost: the next `captionacc up` or `captionacc ingest` continues it.")
            return
        raise services.error(WEB_SERVER)


def _refuse_second_platform(holder: Holder | None, settings: Settings) -> None:
    """Raise :class:`ServiceError` if a process already serves this home, and name it."""
    if holder is None:
        return
    at = f" at {holder.address}" if holder.address else ""
    raise ServiceError(
        f"the platform in {settings.home} is already up{at}, started by {holder}: use that one, "
        "or stop it with `captionacc stop`"
    )


def _wait_until_up(
    services: "Services", address: str, check: Callable[[], None], timeout: float = 120
) -> None:
    """Wait until the web server that this command started, not another, answers at the address."""
    import httpx

    from captionacc_dagster.platform.ports import listens, require_free_port
    from captionacc_dagster.platform.services import WEB_SERVER

    settings, server = services.settings, services.processes[WEB_SERVER]
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        check()
        if services.ended():
            # Another process may have taken the port since the check.
            require_free_port(settings.host, settings.port, "CAPTIONACC_PORT")
            raise services.error(WEB_SERVER)
        with suppress(httpx.TransportError, psutil.NoSuchProcess):
            is_ours = listens(psutil.Process(server.pid), settings.port)
            if is_ours and httpx.get(f"{_reachable(address)}/server_info", timeout=5).is_success:
                return
        time.sleep(0.2)
    raise ServiceError(f"the Dagster UI at {address} did not answer within {timeout:.0f} s")


@contextmanager
def _service(here: Parts, direct: "DirectStart") -> Iterator["ServiceThread"]:
    """Run the HTTP service in a thread within the block."""
    from captionacc_dagster.web.service.serving import (
        ServiceThread,
        host_of_platform,
        log_requests,
        parts_of,
    )

    settings = here.settings
    host = host_of_platform(settings)
    port = _service_port(settings, host)
    log_requests(settings, "up", settings.home / "logs" / "service.log")
    service = ServiceThread(parts_of(settings, here.catalog, here.object_store, direct), host, port)
    service.begin()
    try:
        yield service
    finally:
        service.end()


def _service_port(settings: Settings, host: str) -> int:
    """Return the service's port: the setting, or the one after Dagster's UI, or any that is free."""
    from captionacc_dagster.platform.ports import PortError, free_port, require_free_port

    port = settings.effective_serve_port
    try:
        require_free_port(host, port, "CAPTIONACC_SERVE_PORT")
    except PortError:
        if settings.serve_port is not None:
            raise
        return free_port(host)
    return port


def _announce(services: "Services", address: str, service: str, other: "Runner | None") -> None:
    daemon = f"daemon       {escape(other.what)}; this command takes over when that ends\n" if other else ""
    console.print(
        Panel.fit(
            f"review       {service}\n"
            f"API          {service}/docs\n"
            f"Dagster UI   {address}/assets\n"
            f"state        {services.settings.home}\n"
            f"logs         {services.log_folder}\n"
            f"{daemon}\n"
            "Add videos from another terminal: captionacc ingest FILE…\n"
            "Ctrl-C stops everything; no work is lost.",
            title="CaptionA.cc is up",
        ),
        highlight=False,
    )


def _reachable(address: str) -> str:
    """Return the address for a client on this machine: loopback for a server on all addresses."""
    return address.replace("://0.0.0.0:", "://127.0.0.1:").replace("://[::]:", "://[::1]:")


@app.command()
def stop() -> None:
    """Stop what runs in this home: `up`, waiting `ingest` commands and the embedded PostgreSQL server.

    No work is lost: the next `up` or `ingest` continues it.
    """
    from captionacc_dagster.platform.daemon_keeper import find_runner
    from captionacc_dagster.platform.services import end_holders, end_leftovers
    from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres

    settings = parts().settings
    if settings.has_embedded_catalogue:
        require_home(settings.home)
    for holder in end_holders(settings):
        say(f"Stopped {holder}.")
    if runner := find_runner(settings):
        raise ServiceError(f"{runner.what} still runs the daemon of this home; stop it first")
    end_leftovers(settings)
    if not settings.has_embedded_catalogue:
        say("The catalogue is not embedded; there is no server to stop.")
        return
    EmbeddedPostgres(settings.home).stop()
    say("Stopped the embedded PostgreSQL server.")
