"""A small ASGI app that Supabase's database webhooks call, so that a new video need not wait for a tick.

It decides nothing by itself: :class:`~captionacc_dagster.starter.RunStarter` claims the video as the
sensor does, so a call that comes twice, late or not at all changes nothing but the time.
"""

import hmac
import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from captionacc_dagster.resources.catalog import CatalogUnavailableError, UnknownVideoError
from captionacc_dagster.starter import LaunchError, Started
from modal_gpu.errors import CaptionAccError, InvalidIdError
from modal_gpu.keys import canonical_uuid

_log = logging.getLogger(__name__)

#: A row of ``videos`` as JSON is a few kilobytes.
MAX_BODY_BYTES = 64 * 1024
_KNOWN_CLIENTS = 1024


class Starter(Protocol):
    """What the app needs of :class:`~captionacc_dagster.starter.RunStarter`."""

    def start_layout(self, video_id: str) -> Started: ...


class _Answer(Exception):
    def __init__(self, code: int, headers: dict[str, str] | None = None, /, **body: Any) -> None:
        self.response = JSONResponse(body, code, headers)


@dataclass
class RateLimit:
    """A bucket of tokens for each client that fills evenly: ``a_minute`` at most at once."""

    a_minute: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)

    def wait_seconds(self, client: str) -> float:
        """Take a token: 0, or the seconds until there is one."""
        now = self.clock()
        tokens, since = self._buckets.pop(client, (float(self.a_minute), now))
        tokens = min(self.a_minute, tokens + (now - since) * self.a_minute / 60)
        allowed = tokens >= 1
        self._buckets[client] = (tokens - 1 if allowed else tokens, now)
        while len(self._buckets) > _KNOWN_CLIENTS:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) * 60 / self.a_minute


def create_app(
    starter: Starter,
    *,
    secret: str | None,
    schema: str = "captionacc",
    requests_a_minute: int = 300,
    clock: Callable[[], float] = time.monotonic,
) -> Starlette:
    """The app. Without a ``secret`` every call is refused.

    ``POST /webhooks/supabase/videos`` takes Supabase's payload ``{type, table, schema, record}`` and answers
    202 with the run's id and priority, 200 ``ignored`` for what is no insert into ``videos``, 400 with the
    reason for what cannot be read, 401, 413, 429 and 503. ``GET /healthz`` says that the process serves.
    """
    limit = RateLimit(requests_a_minute, clock)

    async def videos(request: Request) -> JSONResponse:
        try:
            wait = limit.wait_seconds(request.client.host if request.client else "")
            if wait:
                headers = {"retry-after": str(int(wait) + 1)}
                raise _Answer(429, headers, status="refused", reason="too many requests")
            _check_secret(request, secret)
            video_id = _inserted_video(await _body(request), schema)
            return await run_in_threadpool(_start, starter, video_id)
        except _Answer as answer:
            return answer.response
        except ClientDisconnect:
            return JSONResponse({"status": "refused", "reason": "the body was not sent whole"}, 400)

    async def healthz(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(
        routes=[
            Route("/webhooks/supabase/videos", videos, methods=["POST"]),
            Route("/healthz", healthz, methods=["GET"]),
        ]
    )


def _check_secret(request: Request, secret: str | None) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), (secret or "").encode())
    if not secret or scheme.lower() != "bearer" or not same:
        raise _Answer(
            401,
            {"www-authenticate": "Bearer"},
            status="refused",
            reason="the bearer secret is missing or wrong",
        )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        # Without trusting a header that says how long it will be.
        if len(body) > MAX_BODY_BYTES:
            raise _Answer(413, status="refused", reason=f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _inserted_video(body: bytes, schema: str) -> str:
    """The id of the video that the payload tells of."""

    def bad(reason: str) -> _Answer:
        return _Answer(400, status="refused", reason=reason)

    try:
        payload = json.loads(body)
    except (ValueError, RecursionError):
        raise bad("the body is not JSON") from None
    if not isinstance(payload, dict):
        raise bad("the body is not a JSON object")
    for name in ("type", "table"):
        if not isinstance(payload.get(name), str):
            raise bad(f"{name} is missing")
    if payload["type"] != "INSERT":
        raise _Answer(200, status="ignored", reason=f"{payload['type'][:40]} is not INSERT")
    if payload["table"] != "videos":
        raise _Answer(200, status="ignored", reason=f"table {payload['table'][:80]} is not videos")
    if payload.get("schema", schema) != schema:
        raise _Answer(200, status="ignored", reason=f"schema is not {schema}")
    record = payload.get("record")
    if not isinstance(record, dict):
        raise bad("record is missing")
    try:
        canonical_uuid(record.get("tenant_id", ""), "record.tenant_id")
        return canonical_uuid(record.get("id", ""), "record.id")
    except InvalidIdError as error:
        raise bad(str(error)) from None


def _start(starter: Starter, video_id: str) -> JSONResponse:
    try:
        started = starter.start_layout(video_id)
    except UnknownVideoError as error:
        raise _Answer(400, status="refused", reason=str(error)) from None
    except (CatalogUnavailableError, LaunchError) as error:
        _log.warning("video %s is left to the sensor: %s", video_id, error)
        reason = "the catalogue or Dagster does not answer; the sensor will take the video"
        raise _Answer(503, {"retry-after": "30"}, status="refused", reason=reason) from None
    except CaptionAccError as error:
        _log.error("video %s is left to the sensor: %s", video_id, error)
        raise _Answer(500, status="refused", reason="see the log; the sensor will take the video") from None
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
