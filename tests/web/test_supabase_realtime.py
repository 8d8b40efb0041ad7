"""Contract: Supabase Realtime's hints arrive, and a connection that ends is replaced.

Realtime itself cannot run here. The server below answers supabase-py's real client with the few Phoenix
messages that a subscription takes.
"""

import asyncio
import json
import threading
import uuid
from collections.abc import Iterator

import pytest
from websockets.asyncio.server import ServerConnection, serve

from captionacc_dagster.web.listeners import Backoff, SupabaseListener
from tests.postgrest.server import make_key


class RealtimeServer:
    """Accepts subscriptions and lets a test send changes to them, or cut them off."""

    def __init__(self) -> None:
        self.subscriptions = 0
        self.subscribed = threading.Semaphore(0)
        self._clients: dict[ServerConnection, str] = {}
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with serve(self._client, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
            self._ready.set()
            await self._stop.wait()

    async def _client(self, connection: ServerConnection) -> None:
        async for text in connection:
            message = json.loads(text)
            response = {}
            if message["event"] == "phx_join":
                wanted = message["payload"]["config"]["postgres_changes"]
                response = {"postgres_changes": [{"id": 1, **wanted[0]}]}
                self._clients[connection] = message["topic"]
            reply = {"status": "ok", "response": response}
            await connection.send(json.dumps({**message, "event": "phx_reply", "payload": reply}))
            if message["event"] == "phx_join":
                self.subscriptions += 1
                self.subscribed.release()

    def tell(self, record: dict) -> None:
        data = {
            "type": "INSERT", "schema": "captionacc", "table": "videos", "record": record, "columns": [],
            "commit_timestamp": "2026-01-01T00:00:00Z", "errors": None,
        }  # fmt: skip

        async def send() -> None:
            for connection, topic in self._clients.items():
                payload = {"ids": [1], "data": data}
                message = {"event": "postgres_changes", "topic": topic, "payload": payload, "ref": None}
                await connection.send(json.dumps(message))

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(10)

    def cut(self) -> None:
        async def close() -> None:
            for connection in list(self._clients):
                connection.transport.abort()
            self._clients.clear()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)


@pytest.fixture
def realtime() -> Iterator[RealtimeServer]:
    server = RealtimeServer()
    yield server
    server.stop()


def test_hints_arrive_and_a_cut_connection_is_replaced(realtime: RealtimeServer):
    heard: list[tuple[str, str]] = []
    arrived = threading.Semaphore(0)

    def on_work(stage: str, video_id: str) -> None:
        heard.append((stage, video_id))
        arrived.release()

    listener = SupabaseListener(
        realtime.url, make_key("service_role"), on_work, backoff=Backoff(0.05, 0.2), check_seconds=0.1
    )
    assert listener.key not in repr(listener)
    stop = threading.Event()
    thread = threading.Thread(target=listener.run, args=[stop])
    thread.start()
    try:
        assert realtime.subscribed.acquire(timeout=30)
        waiting = {"id": str(uuid.uuid4()), "layout_status": "wait", "uploaded_at": "2026-01-01"}
        realtime.tell({**waiting, "layout_run_id": "run"})
        realtime.tell(waiting)
        assert arrived.acquire(timeout=20)
        assert heard == [("layout", waiting["id"])]
        realtime.cut()
        assert realtime.subscribed.acquire(timeout=30)
        other = {**waiting, "id": str(uuid.uuid4())}
        realtime.tell(other)
        assert arrived.acquire(timeout=20)
        assert heard[1:] == [("layout", other["id"])]
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()
