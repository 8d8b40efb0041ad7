"""A server for small ASGI apps whose clients may be slow, broken or hostile."""

import asyncio

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


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve until SIGTERM or Ctrl-C. Ignores ``X-Forwarded-For``; an app that trusts a proxy handles it."""
    uvicorn.run(
        app,
        host=host,
        port=port,
        http=PromptH11Protocol,
        ws="none",
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
    )
