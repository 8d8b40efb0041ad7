"""Listening for changes of the catalogue, so that work begins before the sensors' next tick.

Two sources: ``LISTEN`` on the PostgreSQL of the catalogue, and Supabase Realtime. Both only hint: a
hint that is lost costs the seconds until a sensor looks. A listener that loses its connection comes
back with growing pauses, for ever, and does not ask what it missed: the sensors have taken it.
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

#: Given the stage that waits and the video; called for one hint at a time.
OnWork = Callable[[Literal["layout", "boundaries"], str], None]


@dataclass
class Backoff:
    """Pauses that double up to ``longest_seconds``, each shortened at random, so that clients spread."""

    first_seconds: float = 1.0
    longest_seconds: float = 60.0
    _attempt: int = field(default=0, init=False)

    def reset(self) -> None:
        """The connection stands."""
        self._attempt = 0

    def next(self) -> float:
        """Seconds until the next attempt."""
        pause = min(self.longest_seconds, self.first_seconds * 2 ** min(self._attempt, 30))
        self._attempt += 1
        return pause * random.uniform(0.5, 1)


def handle(on_work: OnWork, stage: object, video_id: object) -> None:
    """Pass a hint on; whatever is wrong with it, or with the work, the listener goes on."""
    try:
        if stage in ("layout", "boundaries"):
            on_work(stage, canonical_uuid(str(video_id), "video id"))
    except (CaptionAccError, InvalidIdError) as error:
        _log.warning("the %s of video %s is left to the sensor: %s", stage, video_id, error)
    except Exception:
        _log.exception("the %s of video %s is left to the sensor", stage, video_id)


@dataclass
class PostgresListener:
    """``LISTEN {schema}_work`` on a connection of its own. Needs a session: no transaction pooler."""

    dsn: str
    on_work: OnWork
    backoff: Backoff = field(default_factory=Backoff)
    #: Set while a connection listens.
    listening: threading.Event = field(default_factory=threading.Event)
    schema: str = DEFAULT_SCHEMA

    def run(self, stop: threading.Event) -> None:
        """Listen until ``stop`` is set; looks at it once a second."""
        while not stop.is_set():
            try:
                with connect(self.dsn) as connection:
                    connection.execute(sql.SQL("listen {}").format(sql.Identifier(work_channel(self.schema))))
                    self.backoff.reset()
                    self.listening.set()
                    self._listen(connection, stop)
            except (CatalogError, psycopg.Error) as error:
                self.listening.clear()
                pause = self.backoff.next()
                _log.warning("not listening, again in %.0f s: %s", pause, str(error).splitlines()[0])
                stop.wait(pause)
        self.listening.clear()

    def _listen(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        while not stop.is_set():
            for notification in connection.notifies(timeout=1):
                with contextlib.suppress(ValueError, AttributeError):
                    hint = json.loads(notification.payload)
                    handle(self.on_work, hint.get("stage"), hint.get("video_id"))
                if stop.is_set():
                    return


def waiting_stage(record: Mapping[str, Any]) -> Literal["layout", "boundaries"] | None:
    """What a changed row of ``videos`` waits for, as the claims see it."""
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
    """Changes of ``videos`` through Supabase Realtime; the table must be in its publication.

    supabase-py gives up after five attempts to reconnect, so the client is made anew when it is no
    longer connected.
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
                _log.warning("not listening, again in %.1f s: %s", pause, reason)
                await _wait(stop, pause)

    async def _listen(self, stop: threading.Event) -> None:
        from supabase.lib.client_options import AsyncClientOptions

        from supabase import acreate_client

        options = AsyncClientOptions(schema=self.schema, auto_refresh_token=False, persist_session=False)
        client = await acreate_client(self.url, self.key, options)
        events: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue(maxsize=1000)

        def changed(payload: Mapping[str, Any]) -> None:
            # Beyond that the sensors are as fast.
            with contextlib.suppress(asyncio.QueueFull):
                events.put_nowait(payload)

        joined, refused = asyncio.Event(), asyncio.Event()

        def subscribed(status: Any, error: Exception | None) -> None:
            accepted = str(getattr(status, "value", status)).upper() == "SUBSCRIBED"
            (joined if accepted else refused).set()

        try:
            channel = client.channel("captionacc-videos")
            channel.on_postgres_changes("*", changed, table="videos", schema=self.schema)
            await asyncio.wait_for(channel.subscribe(subscribed), 20)
            await asyncio.wait_for(joined.wait(), 20)
            self.backoff.reset()
            self.listening.set()
            # The channel can end on a connection that stands, for example with its token.
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
