"""Listeners for changes of the catalogue, so that work begins before the sensors' next tick.

There are two sources: PostgreSQL's ``LISTEN``, and Supabase Realtime. Both only send hints: a lost hint
costs the seconds until a sensor ticks. A listener that loses its connection reconnects indefinitely, with
growing pauses. It does not ask for missed hints, because the sensors cover them.
"""

import asyncio
import contextlib
import json
import logging
import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
from psycopg import sql

from captionacc_dagster.constants import DEFAULT_SCHEMA
from captionacc_dagster.resources.catalog import CatalogError
from captionacc_dagster.resources.catalog.postgres_errors import connect
from captionacc_dagster.resources.catalog.schema_names import work_channel
from modal_gpu.errors import CaptionAccError, InvalidIdError
from modal_gpu.keys import canonical_uuid

_log = logging.getLogger(__name__)

#: Called with the waiting stage and the video's id, for one hint at a time.
OnWork = Callable[[Literal["layout", "boundaries"], str], None]


@dataclass
class Backoff:
    """Exponential backoff up to ``longest_seconds``, with jitter."""

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    _attempt: int = field(default=0, init=False)

    def reset(self) -> None:
        """Start again from the first pause, because the connection works."""
        self._attempt = 0

    def next(self) -> float:
        """Return the seconds until the next attempt."""
        pause = min(self.longest_seconds, self.first_seconds * 2 ** min(self._attempt, 30))
        self._attempt += 1
        return pause * random.uniform(0.5, 1)


def handle(on_work: OnWork, stage: object, video_id: object) -> None:
    """Pass a hint on. Errors are logged, so that the listener continues."""
    try:
        if stage in ("layout", "boundaries"):
            on_work(stage, canonical_uuid(str(video_id), "video id"))
    except (CaptionAccError, InvalidIdError) as error:
        _log.warning("the %s of video %s is left to the sensor: %s", stage, video_id, error)
    except Exception:
        _log.exception("the %s of video %s is left to the sensor", stage, video_id)


@dataclass
class ChannelListener:
    """``LISTEN`` on its own connection, which must not go through a transaction pooler."""

    dsn: str
    channel: str
    #: Called with the payload of each notification.
    on_payload: Callable[[str], None]
    backoff: Backoff = field(default_factory=Backoff)
    #: Set while the connection listens.
    listening: threading.Event = field(default_factory=threading.Event)
    #: Called each time that a connection begins to listen.
    on_listening: Callable[[], None] = lambda: None

    def run(self, stop: threading.Event) -> None:
        """Listen until ``stop`` is set, which is checked once a second."""
        while not stop.is_set():
            try:
                with connect(self.dsn) as connection:
                    connection.execute(sql.SQL("listen {}").format(sql.Identifier(self.channel)))
                    self.backoff.reset()
                    self.listening.set()
                    self.on_listening()
                    self._listen(connection, stop)
            except (CatalogError, psycopg.Error) as error:
                self.listening.clear()
                pause = self.backoff.next()
                reason = str(error).partition("\n")[0]
                _log.warning("not listening to %s, reconnecting in %.0f s: %s", self.channel, pause, reason)
                stop.wait(pause)
        self.listening.clear()

    def _listen(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        while not stop.is_set():
            for notification in connection.notifies(timeout=1):
                self.on_payload(notification.payload)
                if stop.is_set():
                    return


@dataclass
class PostgresListener:
    """The hints on the channel ``{schema}_work``: see :class:`ChannelListener`."""

    dsn: str
    on_work: OnWork
    backoff: Backoff = field(default_factory=Backoff)
    #: Set while the connection listens.
    listening: threading.Event = field(default_factory=threading.Event)
    schema: str = DEFAULT_SCHEMA
    #: Called each time that a connection begins to listen.
    on_listening: Callable[[], None] = lambda: None

    def run(self, stop: threading.Event) -> None:
        """Listen until ``stop`` is set."""
        channel = work_channel(self.schema)
        ChannelListener(self.dsn, channel, self._hint, self.backoff, self.listening, self.on_listening).run(
            stop
        )

    def _hint(self, payload: str) -> None:
        with contextlib.suppress(ValueError, AttributeError):
            hint = json.loads(payload)
            handle(self.on_work, hint.get("stage"), hint.get("video_id"))


def waiting_stage(record: Mapping[str, Any]) -> Literal["layout", "boundaries"] | None:
    """Return the stage that a changed row of ``videos`` waits for, by the same rules as the claims."""
    if record.get("deleted_at") is not None:
        return None
    if (
        record.get("layout_status") == "wait"
        and record.get("uploaded_at") is not None
        and record.get("layout_run_id") is None
        and record.get("layout_requested_at") is None
    ):
        return "layout"
    if (
        record.get("layout_status") == "done"
        and record.get("boundaries_status") == "wait"
        and record.get("boundaries_run_id") is None
        and record.get("boundaries_requested_at") is None
    ):
        return "boundaries"
    return None


@dataclass
class SupabaseListener:
    """Changes of ``videos`` from Supabase Realtime. The table must be in its publication.

    supabase-py gives up after five attempts to reconnect, so a new client replaces one that is
    disconnected.
    """

    url: str
    key: str = field(repr=False)
    on_work: OnWork
    schema: str = DEFAULT_SCHEMA
    backoff: Backoff = field(default_factory=Backoff)
    check_seconds: float = 5.0
    listening: threading.Event = field(default_factory=threading.Event)

    def run(self, stop: threading.Event) -> None:
        """Listen until ``stop`` is set."""
        asyncio.run(self._run(stop))

    async def _run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                await self._listen(stop)
                reason = "the connection ended"
            except Exception as error:
                reason = f"{type(error).__name__}: {error}".replace(self.key, "***").splitlines()[0]
            self.listening.clear()
            if not stop.is_set():
                pause = self.backoff.next()
                _log.warning("not listening, reconnecting in %.1f s: %s", pause, reason)
                await _wait(stop, pause)

    async def _listen(self, stop: threading.Event) -> None:
        from realtime.types import RealtimePostgresChangesListenEvent
        from supabase.lib.client_options import AsyncClientOptions

        from supabase import acreate_client

        options = AsyncClientOptions(schema=self.schema, auto_refresh_token=False, persist_session=False)
        client = await acreate_client(self.url, self.key, options)
        events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(maxsize=1000)

        def changed(payload: Mapping[str, Any]) -> None:
            # With this many waiting hints, the sensors are as fast.
            with contextlib.suppress(asyncio.QueueFull):
                events.put_nowait(payload)

        joined, refused = asyncio.Event(), asyncio.Event()

        def subscribed(status: Any, error: Exception | None) -> None:
            accepted = str(getattr(status, "value", status)).upper() == "SUBSCRIBED"
            (joined if accepted else refused).set()

        try:
            channel = client.channel("captionacc-videos")
            channel.on_postgres_changes(
                RealtimePostgresChangesListenEvent.All, changed, table="videos", schema=self.schema
            )
            await asyncio.wait_for(channel.subscribe(subscribed), 20)
            await asyncio.wait_for(joined.wait(), 20)
            self.backoff.reset()
            self.listening.set()
            # The channel can end while the connection lives on, for example when its token expires.
            while not stop.is_set() and client.realtime.is_connected and not refused.is_set():
                with contextlib.suppress(asyncio.TimeoutError):
                    payload = await asyncio.wait_for(events.get(), min(1.0, self.check_seconds))
                    record = (payload.get("data") or payload).get("record") or {}
                    if stage := waiting_stage(record):
                        await asyncio.to_thread(handle, self.on_work, stage, record.get("id"))
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.realtime.close(), 5)


async def _wait(stop: threading.Event, seconds: float) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not stop.is_set() and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(min(0.2, seconds))
