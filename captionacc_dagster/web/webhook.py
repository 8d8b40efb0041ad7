"""Supabase's database webhook, so that a new video does not wait for a sensor's tick.

:class:`~captionacc_dagster.web.starter.RunStarter` claims the video as the sensor does, so a call that is
repeated, late or lost only changes when the work starts.
"""

import hmac
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, Protocol

import anyio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from captionacc_dagster.resources.catalog import UnknownVideoError
from captionacc_dagster.settings import Settings, SettingsError
from captionacc_dagster.web.rate_limit import RateLimit, client_of
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


_MESSAGES = {
    "started": "the run is queued",
    "running": "the run exists already",
    "waiting": "there is no run yet; a sensor starts it",
    "nothing to do": "the video does not wait for its layout",
}


class Starter(Protocol):
    """The part of :class:`~captionacc_dagster.web.starter.RunStarter` that the app uses."""

    def start_layout(self, video_id: str) -> Started: ...


class _Answer(Exception):
    def __init__(self, code: int, headers: dict[str, str] | None = None, /, **body: Any) -> None:
        self.response = _answer(code, headers, **body)


def _answer(code: int, headers: dict[str, str] | None = None, /, **body: Any) -> JSONResponse:
    """Return an answer. ``reason`` is the name that ``message`` had in former versions."""
    if code >= 400 or body["status"] == "ignored":
        body["reason"] = body["message"]
    return JSONResponse({"success": code < 400, **body}, code, headers)


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


def require_secret(settings: Settings) -> str:
    """Return the webhook's secret. Raises :class:`SettingsError` if it is unset or unusable."""
    return usable_secret(settings.webhook_secret.get_secret_value() if settings.webhook_secret else None)


class Webhook:
    """``POST /webhooks/supabase/videos``, which accepts Supabase's payload ``{type, table, schema, record}``.

    The status is 202 with the run's id and priority, 200 ``ignored`` for anything but an insert into
    ``videos``, 400 with the reason for an invalid payload, or 401, 408, 413, 429 or 503. Every answer has
    ``success``, ``status`` and ``message``.

    Requests with a wrong secret have their own rate limit, so that they do not use up that of valid requests
    from the same address. Raises :class:`SettingsError` for an unusable secret.
    """

    def __init__(
        self,
        starter: Starter,
        *,
        secret: str,
        schema: str = "captionacc",
        requests_a_minute: int = 300,
        body_seconds: float = BODY_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._starter, self._secret, self._schema = starter, usable_secret(secret), schema
        self._body_seconds, self._answer_seconds = body_seconds, answer_seconds
        self._right, self._wrong = RateLimit(requests_a_minute, clock), RateLimit(requests_a_minute, clock)

    async def videos(self, request: Request) -> JSONResponse:
        """Answer one request."""
        try:
            self._check(request)
            video_id = _inserted_video(await _body(request, self._body_seconds), self._schema)
            with anyio.move_on_after(self._answer_seconds):
                # A hanging thread is abandoned. If it continues, it creates the run or returns the claim.
                return await anyio.to_thread.run_sync(_start, self._starter, video_id, abandon_on_cancel=True)
            _log.warning("video %s: no answer within %g s", video_id, self._answer_seconds)
            return _left_to_the_sensor("the catalogue, the bucket or Dagster does not answer")
        except _Answer as answer:
            return answer.response
        except ClientDisconnect:
            return _answer(400, status="refused", message="the body is incomplete")

    def _check(self, request: Request) -> None:
        is_right = _has_secret(request, self._secret)
        if wait := (self._right if is_right else self._wrong).wait_seconds(client_of(request)):
            _refuse(429, "too many requests", {"retry-after": str(int(wait) + 1)})
        if not is_right:
            _refuse(401, "the bearer secret is missing or wrong", {"www-authenticate": "Bearer"})


def webhook_of(settings: Settings, starter: Starter) -> Webhook:
    """Return the webhook that the settings describe. Raises :class:`SettingsError`."""
    return Webhook(
        starter,
        secret=require_secret(settings),
        schema=settings.catalogue_schema,
        requests_a_minute=settings.webhook_requests_a_minute,
    )


def create_app(starter: Starter, *, trusted_proxies: Sequence[str] = (), **options: Any) -> Starlette:
    """Build the app of a webhook; ``options`` are those of :class:`Webhook`."""
    return app_of(Webhook(starter, **options), trusted_proxies)


def app_of(webhook: Webhook, trusted_proxies: Sequence[str] = ()) -> Starlette:
    """Build the app of ``captionacc webhook``: the webhook alone, and ``GET /healthz``.

    ``trusted_proxies`` are addresses and networks whose ``X-Forwarded-For`` is trusted, from the right up to
    the first hop that is not one of them.
    """

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    proxies = [Middleware(ProxyHeadersMiddleware, trusted_hosts=list(trusted_proxies))]
    return Starlette(
        routes=[
            Route("/webhooks/supabase/videos", webhook.videos, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ],
        middleware=proxies if trusted_proxies else [],
    )


def _refuse(code: int, reason: str, headers: dict[str, str] | None = None) -> NoReturn:
    raise _Answer(code, headers, status="refused", message=reason)


def _left_to_the_sensor(reason: str) -> JSONResponse:
    message = f"{reason}; the sensor will start the video"
    return _answer(503, {"retry-after": "30"}, status="refused", message=message)


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
        raise _Answer(200, status="ignored", message=f"{kind[:40]} is not INSERT")
    if table != "videos":
        raise _Answer(200, status="ignored", message=f"table {table[:80]} is not videos")
    if "schema" in payload and _text(payload, "schema") != schema:
        raise _Answer(200, status="ignored", message=f"schema is not {schema}")
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
    return _answer(
        202,
        status="accepted",
        message=_MESSAGES[started.outcome],
        outcome=started.outcome,
        video_id=video_id,
        run_id=started.run_id,
        priority=started.priority,
    )
