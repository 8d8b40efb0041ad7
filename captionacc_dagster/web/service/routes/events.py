"""``GET /events``: changes as they happen, as server-sent events.

Each stream reads the catalogue with its caller's rights, at most once a second: row-level security separates
the tenants. PostgreSQL's ``NOTIFY`` says when there is something to read. Where that cannot be heard, which
is so for a catalogue behind Supabase's API, every stream asks once a second.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Header, Query
from starlette.responses import StreamingResponse

from captionacc_dagster.resources.catalog import EventRow
from captionacc_dagster.web.service.callers import CurrentSession, Session
from captionacc_dagster.web.service.parts import Parts, ServiceParts
from captionacc_dagster.web.service.problems import Problem
from modal_gpu.errors import CaptionAccError

T = TypeVar("T")
router = APIRouter(tags=["events"])
#: A stream reads at most once in this time, and at least once in the longer one.
READ_SECONDS, QUIET_SECONDS = 1.0, 15.0
#: How often a stream looks whether something was announced.
_LOOK_SECONDS = 0.2
#: Streams of one caller.
MAX_STREAMS = 20
_BATCH = 500
#: Pause of a browser before it connects again, in milliseconds.
_RETRY = 2000
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
EventId = Annotated[str | None, Header(pattern=r"^\d{1,18}-\d{1,18}$", alias="Last-Event-ID")]

_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "Events `video`, `layout`, `captions`, `lock`, `job` and `progress`, each with JSON; "
            "`ready` comes first, and then `reset` if events after `Last-Event-ID` may be lost."
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@dataclass
class Streams:
    """The number of streams that each caller has open, and the threads that read for them."""

    open: Counter[str] = field(default_factory=Counter)
    _readers: CapacityLimiter | None = None

    @property
    def readers(self) -> CapacityLimiter:
        """Threads of their own: streams must not take those of other requests."""
        if self._readers is None:
            self._readers = CapacityLimiter(8)
        return self._readers

    async def counted(self, session: CurrentSession) -> AsyncIterator[None]:
        """Count a stream until its answer has ended. Raises :class:`Problem` for one too many."""
        caller = session.caller.name
        if self.open[caller] >= MAX_STREAMS:
            raise Problem(429, f"you have {MAX_STREAMS} streams open already", reason="too_many_streams")
        self.open[caller] += 1
        try:
            yield
        finally:
            self.open[caller] -= 1
            if not self.open[caller]:
                del self.open[caller]


_streams = Streams()


@router.get(
    "/events",
    responses=_ANSWER,
    response_class=StreamingResponse,
    dependencies=[Depends(_streams.counted, scope="request")],
)
async def events(
    parts: Parts,
    session: CurrentSession,
    last_event_id: EventId = None,
    after: Annotated[
        str | None, Query(pattern=r"^\d{1,18}-\d{1,18}$", description="as Last-Event-ID, for the first time")
    ] = None,
    video_id: Annotated[UUID | None, Query(description="events of this video only")] = None,
) -> StreamingResponse:
    """Stream what happens to the caller's videos. With ``Last-Event-ID`` nothing since then is left out.

    Events are kept for a day: a client that was away for longer hears `reset`, and reads everything again.
    """
    stream = _stream(parts, session, last_event_id or after, str(video_id) if video_id else None)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(
    parts: ServiceParts, session: Session, event_id: str | None, video_id: str | None = None
) -> AsyncIterator[str]:
    yield f"retry: {_RETRY}\n\n"
    async for piece in _Reader(parts, session, event_id, video_id).pieces():
        yield piece


@dataclass
class _Reader:
    """The position of one stream, of one video or of all that the caller may see."""

    parts: ServiceParts
    session: Session
    event_id: str | None
    video_id: str | None = None
    progress_since: datetime = _EVER

    async def pieces(self) -> AsyncIterator[str]:
        """Yield the state now, and then what changes, until the service or the caller's token ends."""
        try:
            for piece in await self._run(self._begin):
                yield piece
        except CaptionAccError:
            return  # The client connects again.
        while not self.parts.is_ending and not self._has_expired():
            announced, read_at = self._announced(), time.monotonic()
            try:
                rows: list[EventRow] = await self._run(self._read)
            except CaptionAccError:
                yield ": the catalogue does not answer\n\n"
                await asyncio.sleep(5 * READ_SECONDS)
                continue
            wanted = [row for row in rows if self.video_id in (None, row.video_id)]
            for row in wanted:
                yield _piece(row.kind, row.payload, row.event_id)
            if len(rows) < _BATCH:
                if not wanted:
                    yield ": quiet\n\n"
                await self._wait(announced, read_at)

    def _begin(self) -> list[str]:
        catalog = self.session.catalog
        asked, self.event_id = self.event_id, catalog.events_cursor(self.event_id)
        locks = [
            {
                "video_id": lock.video_id,
                "database": lock.database,
                "owner": lock.owner,
                "type": lock.type,
                "expires_at": lock.expires_at.isoformat(),
            }
            for lock in catalog.held_locks()
            if self.video_id in (None, lock.video_id)
        ]
        kinds = ["ready"] if asked in (None, self.event_id) else ["ready", "reset"]
        first = [_piece(kind, {"after": self.event_id}, self.event_id) for kind in kinds]
        return [*first, *(_piece("lock", lock) for lock in locks)]

    def _read(self) -> list[EventRow]:
        if self.event_id is None:
            raise ValueError("a stream reads after it has begun")
        rows = self.session.catalog.events_after(
            self.event_id, progress_since=self.progress_since, limit=_BATCH
        )
        for row in rows:
            if row.event_id is not None:
                self.event_id = row.event_id
            else:
                self.progress_since = max(self.progress_since, row.occurred_at)
        return rows

    async def _run(self, work: Callable[[], T]) -> T:
        return await run_sync(work, limiter=_streams.readers, abandon_on_cancel=True)

    def _announced(self) -> int:
        heard = self.parts.announcements
        tenant = None if self.session.caller.is_operator else self.session.caller.tenant_id
        return heard.count(tenant) if heard else 0

    async def _wait(self, announced: int, read_at: float) -> None:
        """Wait until there may be something to read."""
        await asyncio.sleep(max(0.0, read_at + READ_SECONDS - time.monotonic()))
        heard = self.parts.announcements
        while (
            heard is not None
            and heard.is_listening
            and self._announced() == announced
            and time.monotonic() < read_at + QUIET_SECONDS
            and not self.parts.is_ending
        ):
            await asyncio.sleep(_LOOK_SECONDS)

    def _has_expired(self) -> bool:
        return self.session.expires_at is not None and time.time() >= self.session.expires_at


def _piece(kind: str, payload: dict[str, Any], event_id: str | None = None) -> str:
    first = f"id: {event_id}\n" if event_id else ""
    return f"{first}event: {kind}\ndata: {json.dumps(payload, ensure_ascii=False)}\n\n"
