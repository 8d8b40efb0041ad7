"""A small ASGI app for Supabase's database webhooks, so that a new video does not wait for a sensor's tick.

:class:`~captionacc_dagster.web.starter.RunStarter` claims the video as the sensor does, so a call that is
repeated, late or lost only changes when the work starts.
"""

import hmac
import ipaddress
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from captionacc_dagster.resources.catalog import UnknownVideoError
from captionacc_dagster.settings import SettingsError
from captionacc_dagster.web.starter import Started
from modal_gpu.errors import CaptionAccError, InvalidIdError
from modal_gpu.keys import canonical_uuid

_log = logging.getLogger(__name__)

#: A row of ``videos`` as JSON is a few kilobytes.
MAX_BODY_BYTES = 64 * 1024
#: Limit for receiving the body.
BODY_SECONDS = 10.0
#: Limit for the response, even if the catalogue, the bucket or Dagster hangs.
ANSWER_SECONDS = 5.0
_KNOWN_CLIENTS = 1024


class Starter(Protocol):
    """The part of :class:`~captionacc_dagster.web.starter.RunStarter` that the app uses."""

    def start_layout(self, video_id: str) -> Started: ...


class _Answer(Exception):
    def __init__(self, code: int, headers: dict[str, str] | None = None, /, **body: Any) -> None:
        self.response = JSONResponse(body, code, headers)


@dataclass
class RateLimit:
    """A token bucket for each client, with a capacity and a refill of ``a_minute``."""

    a_minute: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait_seconds(self, client: str) -> float:
        """Take a token. Return 0, or the seconds until there is one."""
        now = self.clock()
        tokens, since = self._buckets.pop(client, (float(self.a_minute), now))
        tokens = min(self.a_minute, tokens + (now - since) * self.a_minute / 60)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _KNOWN_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / self.a_minute


def usable_secret(secret: str | None) -> str:
    """Return the secret. Raises :class:`SettingsError` if it is unset, or does not fit in a header."""
    name = "CAPTIONACC_WEBHOOK_SECRET"
    if not secret or not secret.strip():
        raise SettingsError(f"{name} is not set: set it here and in Supabase's webhook")
    if secret != secret.strip() or not secret.isprintable():
        raise SettingsError(
            f"{name} begins or ends with a space, or has a control character, which a header cannot carry: "
            "set another secret"
        )
    return secret


def client_of(request: Request) -> str:
    """Return the key of the rate limit: the client's IPv4 address, or the /64 network of its IPv6 address.

    An IPv6 host can use all addresses of its /64.
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))


def create_app(
    starter: Starter,
    *,
    secret: str,
    schema: str = "captionacc",
    requests_a_minute: int = 300,
    trusted_proxies: Sequence[str] = (),
    body_seconds: float = BODY_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """Build the app. Raises :class:`SettingsError` for an unusable secret.

    ``POST /webhooks/supabase/videos`` accepts Supabase's payload ``{type, table, schema, record}``. The
    status is 202 with the run's id and priority, 200 ``ignored`` for anything but an insert into ``videos``,
    400 with the reason for an invalid payload, or 401, 408, 413, 429 or 503. ``GET /healthz`` returns 200
    while the process serves.

    ``trusted_proxies`` are addresses and networks whose ``X-Forwarded-For`` is trusted, from the right up to
    the first hop that is not one of them. Requests with a wrong secret have their own rate limit, so that
    they do not use up that of valid requests from the same address.
    """
    secret = usable_secret(secret)
    right, wrong = RateLimit(requests_a_minute, clock), RateLimit(requests_a_minute, clock)

    def check(request: Request) -> None:
        is_right = _has_secret(request, secret)
        if wait := (right if is_right else wrong).wait_seconds(client_of(request)):
            _refuse(429, "too many requests", {"retry-after": str(int(wait) + 1)})
        if not is_right:
            _refuse(401, "the bearer secret is missing or wrong", {"www-authenticate": "Bearer"})

    async def videos(request: Request) -> JSONResponse:
        try:
            check(request)
            video_id = _inserted_video(await _body(request, body_seconds), schema)
            with anyio.move_on_after(answer_seconds):
                # A hanging thread is abandoned. If it continues, it creates the run or returns the claim.
                return await anyio.to_thread.run_sync(_start, starter, video_id, abandon_on_cancel=True)
            _log.warning("video %s: no answer within %g s", video_id, answer_seconds)
            return _left_to_the_sensor("the catalogue, the bucket or Dagster does not answer")
        except _Answer as answer:
            return answer.response
        except ClientDisconnect:
            return JSONResponse({"status": "refused", "reason": "the body is incomplete"}, 400)

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    proxies = [Middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted_proxies))]
    return Starlette(
        routes=[
            Route("/webhooks/supabase/videos", videos, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
        middleware=proxies if trusted_proxies else [],
    )


def _refuse(code: int, reason: str, headers: dict[str, str] | None = None) -> NoReturn:
    raise _Answer(code, headers, status="refused", reason=reason)


def _left_to_the_sensor(reason: str) -> JSONResponse:
    body = {"status": "refused", "reason": f"{reason}; the sensor will start the video"}
    return JSONResponse(body, 503, {"retry-after": "30"})


def _has_secret(request: Request, secret: str) -> bool:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    # Starlette reads headers as Latin-1, whatever the bytes are.
    same = hmac.compare_digest(given.strip().encode("latin-1"), secret.encode())
    return scheme.lower() == "bearer" and same


async def _body(request: Request, seconds: float) -> bytes:
    body = bytearray()
    try:
        with anyio.fail_after(seconds):
            async for part in request.stream():
                body += part
                # The Content-Length header is not trusted.
                if len(body) > MAX_BODY_BYTES:
                    _refuse(413, f"the body is larger than {MAX_BODY_BYTES} bytes", {"connection": "close"})
    except TimeoutError:
        _refuse(408, f"the body was not sent within {seconds:g} s", {"connection": "close"})
    return bytes(body)


def _inserted_video(body: bytes, schema: str) -> str:
    """Return the id of the video that the payload inserts."""
    try:
        payload = json.loads(body)
    except RecursionError:
        _refuse(400, "the body is nested too deeply")
    except ValueError:
        _refuse(400, "the body is not JSON")
    if not isinstance(payload, dict):
        _refuse(400, "the body is not a JSON object")
    kind, table = _text(payload, "type"), _text(payload, "table")
    if kind != "INSERT":
        raise _Answer(200, status="ignored", reason=f"{kind[:40]} is not INSERT")
    if table != "videos":
        raise _Answer(200, status="ignored", reason=f"table {table[:80]} is not videos")
    if "schema" in payload and _text(payload, "schema") != schema:
        raise _Answer(200, status="ignored", reason=f"schema is not {schema}")
    record = payload.get("record")
    if not isinstance(record, dict):
        _refuse(400, "record is missing")
    try:
        canonical_uuid(record.get("tenant_id", ""), "record.tenant_id")
        return canonical_uuid(record.get("id", ""), "record.id")
    except InvalidIdError as error:
        _refuse(400, str(error))


def _text(payload: dict[str, Any], name: str) -> str:
    """Return a field of plain text. JSON allows lone surrogates, which no response can encode."""
    value = payload.get(name)
    if not isinstance(value, str):
        _refuse(400, f"{name} is missing")
    if not value.isprintable():
        _refuse(400, f"{name} is not plain text")
    return value


def _start(starter: Starter, video_id: str) -> JSONResponse:
    try:
        started = starter.start_layout(video_id)
    except UnknownVideoError as error:
        _refuse(400, str(error))
    except CaptionAccError as error:
        _log.warning("video %s is left to the sensor: %s", video_id, error)
        if error.retryable:
            return _left_to_the_sensor("the catalogue, the bucket or Dagster does not answer")
        _refuse(500, "see the log; the sensor will start the video")
    except Exception:
        _log.exception("video %s is left to the sensor", video_id)
        _refuse(500, "see the log; the sensor will start the video")
    return JSONResponse(
        {
            "status": "accepted",
            "outcome": started.outcome,
            "video_id": video_id,
            "run_id": started.run_id,
            "priority": started.priority,
        },
        202,
    )
