"""Layers that every request passes: its id and log line, security headers, checks and time limits."""

import asyncio
import contextlib
import ipaddress
import logging
import time
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from captionacc_dagster.web.service.callers import COOKIE
from captionacc_dagster.web.service.problems import problem_response
from captionacc_dagster.web.service.request_ids import new_request_id, request_id

_log = logging.getLogger("captionacc_dagster.web.requests")
_SAFE = ("GET", "HEAD", "OPTIONS")
#: Requests outside of an upload are small.
MAX_BODY_BYTES = 4 * 1024 * 1024
#: Limits for receiving the body, and for the beginning of the answer: a slow body has its own answer.
BODY_SECONDS = 20.0
ANSWER_SECONDS = 30.0


def is_upload(scope: Scope) -> bool:
    """Return whether the request brings a video's file, which may be large and take hours."""
    path: str = scope["path"]
    return scope["method"] == "PUT" and path.startswith("/videos/") and path.endswith("/content")


class RequestIds:
    """Gives each request an id, names it in the answer, and writes one line for it to the log.

    It also answers 500 for what no other layer expected: Starlette's own layer for that is outside of all
    others, where the id and the security headers are missing.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        known = new_request_id(Headers(scope=scope).get("x-request-id"))
        token = request_id.set(known)
        began, status, is_answered = time.monotonic(), 500, False

        async def named(message: Message) -> None:
            nonlocal status, is_answered
            if message["type"] == "http.response.start":
                status, is_answered = message["status"], True
                MutableHeaders(scope=message)["x-request-id"] = known
            await send(message)

        try:
            await self.app(scope, receive, named)
        except Exception as error:
            if is_answered:
                raise
            _log.error("request %s failed", known, exc_info=error)
            detail = "this should not happen: the log has the request's id and the reason"
            await problem_response(500, detail)(scope, receive, named)
        finally:
            seconds = time.monotonic() - began
            # The path without its query, which may hold names of files.
            level = logging.WARNING if status >= 500 else logging.INFO
            _log.log(level, "%s %s %d %.3f s %s", scope["method"], scope["path"], status, seconds, known)
            request_id.reset(token)


class SecurityHeaders:
    """Adds the headers that keep other sites and injected text from acting in a page of ours."""

    def __init__(self, app: ASGIApp, *, connect: str = "") -> None:
        """``connect``: an origin beside our own that pages send uploads to."""
        self.app = app
        policy = {
            "default-src": "'none'",
            "script-src": "'self'",
            "style-src": "'self'",
            "img-src": "'self' data: blob:",
            "media-src": "'self' blob:",
            "font-src": "'self'",
            "connect-src": f"'self' {connect}".strip(),
            "form-action": "'self'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        self._headers = {
            "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "same-origin",
            "permissions-policy": "camera=(), microphone=(), geolocation=()",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
                # Answers are a caller's own; scripts of two versions do not fit together.
                headers.setdefault("cache-control", "no-store")
            await send(message)

        await self.app(scope, receive, guarded if scope["type"] == "http" else send)


class OriginCheck:
    """Refuses changes that a page of another site asks for, and other hosts' names for this machine.

    Without login, the name that the browser used must be one of this machine: a name of another site that
    points here (DNS rebinding) would make its pages ours.
    """

    def __init__(self, app: ASGIApp, *, origins: Collection[str] = (), only_loopback: bool = True) -> None:
        self.app, self._origins, self._only_loopback = app, frozenset(origins), only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
        else:
            await problem_response(403, refusal, reason="other_origin")(scope, receive, send)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._only_loopback and not is_loopback(_split(f"//{host}").hostname or ""):
            return "without a login this service answers to names of this machine only, such as localhost"
        if scope["method"] in _SAFE:
            return None
        origin = headers.get("origin")
        if origin is not None:
            same = _split(origin).netloc == host and bool(host)
            return None if same or origin in self._origins else "a page of another site may not ask for this"
        site = headers.get("sec-fetch-site")
        if site is not None:
            return None if site in ("same-origin", "none") else "a page of another site may not ask for this"
        # Programs send neither. A browser that sends neither is too old to be trusted with a cookie.
        by_cookie = COOKIE in headers.get("cookie", "") and "authorization" not in headers
        return "a change with a session's cookie needs the header Origin" if by_cookie else None


def _split(url: str) -> SplitResult:
    """Split a URL; one that cannot be split has no host."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def is_loopback(host: str) -> bool:
    """Return whether a host's name or address is this machine for itself only."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return False


class BodyLimits:
    """Limits a request's body in size and time, except for uploads, whose route does so itself."""

    def __init__(
        self, app: ASGIApp, *, max_bytes: int = MAX_BODY_BYTES, seconds: float = BODY_SECONDS
    ) -> None:
        self.app, self._max_bytes, self._seconds = app, max_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_upload(scope):
            await self.app(scope, receive, send)
            return
        received, is_complete = 0, False
        deadline = time.monotonic() + self._seconds

        # FastAPI lets HTTPException pass, and answers 400 for any other error in the middle of a body.
        def refusal(status: int, detail: str) -> HTTPException:
            return HTTPException(status, detail, {"connection": "close"})

        async def limited() -> Message:
            nonlocal received, is_complete
            if is_complete:
                # Only the end of the connection is left to wait for.
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise refusal(408, f"the body was not sent within {self._seconds:g} s") from None
            received += len(message.get("body", b""))
            is_complete = not message.get("more_body", False)
            if received > self._max_bytes:
                raise refusal(413, f"the body is larger than {self._max_bytes} bytes")
            return message

        await self.app(scope, limited, send)


class AnswerTime:
    """Answers 503 if a route has not begun to answer in time. Its thread is left to end by itself."""

    def __init__(self, app: ASGIApp, *, seconds: float = ANSWER_SECONDS) -> None:
        self.app, self._seconds = app, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or is_upload(scope):
            await self.app(scope, receive, send)
            return
        began = abandoned = False

        async def noted(message: Message) -> None:
            nonlocal began
            if not abandoned:
                began = True
                await send(message)

        route = asyncio.ensure_future(self.app(scope, receive, noted))
        try:
            await asyncio.wait({route}, timeout=self._seconds)
            if route.done() or began:
                await route
                return
        except asyncio.CancelledError:
            route.cancel()
            raise
        abandoned = True
        route.add_done_callback(_log_late)
        detail = "the catalogue, the bucket or Dagster does not answer in time: try again"
        answer = problem_response(503, detail, reason="timeout", headers={"retry-after": "5"})
        await answer(scope, receive, send)


def _log_late(route: "asyncio.Future[None]") -> None:
    if not route.cancelled() and (error := route.exception()):
        _log.warning("a request failed after its answer: %s", type(error).__name__)
