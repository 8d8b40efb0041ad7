"""A server for small ASGI apps whose clients may be slow, broken or hostile."""

import asyncio
import contextlib
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Limit from the connection, or the last response, until a request's headers are complete.
HEADER_SECONDS = 10.0
#: Open connections; further ones get a 503.
MAX_CONNECTIONS = 500
_SHUTDOWN_SECONDS = 10


class PromptH11Protocol(H11Protocol):
    """uvicorn's protocol with a time limit for a request's headers, which uvicorn lacks.

    The app limits the time for the body.
    """

    header_seconds = HEADER_SECONDS
    _header_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._header_timer is not None and self.cycle is not None and not self.cycle.response_complete:
            self._header_timer.cancel()
            self._header_timer = None

    def on_response_complete(self) -> None:
        # First, because the base class may begin the next request, if it has arrived already.
        self._await_headers()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
        self._header_timer = self.loop.call_later(self.header_seconds, self._headers_are_late)

    def _headers_are_late(self) -> None:
        self._header_timer = None
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and not self.transport.is_closing():
            self.transport.close()


class Server(uvicorn.Server):
    """uvicorn's server, with a call when it is asked to end: open streams would delay the end."""

    def __init__(self, config: uvicorn.Config, on_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_end = on_end

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End on a signal."""
        self._on_end()
        super().handle_exit(sig, frame)

    def end(self) -> None:
        """End without a signal; the thread that serves returns within seconds."""
        self._on_end()
        self.should_exit = True


def make_server(app: ASGIApp, host: str, port: int, on_end: Callable[[], None] = lambda: None) -> Server:
    """Return a server that :meth:`uvicorn.Server.run` starts.

    It ignores ``X-Forwarded-For``; an app that trusts a proxy handles it. ``on_end``: called first when the
    server is asked to end.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=PromptH11Protocol,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
    return Server(config, on_end)


def serve(app: ASGIApp, host: str, port: int, on_end: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or Ctrl-C: see :func:`make_server`."""
    with contextlib.suppress(KeyboardInterrupt):
        # uvicorn ends in order, and then raises the signal that ended it.
        make_server(app, host, port, on_end).run()
