"""A real server on loopback: stalling callers are disconnected, and no header makes them another client."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.testclient import TestClient

from captionacc_dagster.settings import Settings
from captionacc_dagster.web.http_server import PromptH11Protocol
from captionacc_dagster.web.starter import Started
from captionacc_dagster.web.webhook import create_app

SECRET = "a secret of the tests"
PATH = "/webhooks/supabase/videos"
IGNORED = b'{"type": "DELETE", "table": "videos"}'


class Nobody:
    def start_layout(self, video_id: str) -> Started:
        return Started("nothing to do")


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Starlette], int]]:
    """Serve an app with a limit of half a second for headers, and yield its port."""
    monkeypatch.setattr(PromptH11Protocol, "header_seconds", 0.5)
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(app: Starlette) -> int:
        config = uvicorn.Config(app, http=PromptH11Protocol, log_level="critical", proxy_headers=False)
        listener = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        servers.append((server, thread))
        thread.start()
        return listener.getsockname()[1]

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join(10)


def request(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1",
        "host: webhook",
        f"authorization: Bearer {SECRET}",
        f"content-length: {len(body) if length is None else length}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answer(connection: socket.socket) -> bytes:
    """Return everything that arrives until the server closes the connection."""
    connection.settimeout(10)
    return b"".join(iter(lambda: connection.recv(65536), b""))


STALLED = {
    "nothing sent": b"",
    "half a request line": b"POST /web",
    "headers without an end": request(b"")[:-2],
    "half a second request": request(IGNORED) + b"POST /web",
}


@pytest.mark.parametrize("sent", STALLED.values(), ids=STALLED)
def test_sixty_sockets_with_incomplete_headers_are_closed(serving, sent: bytes):
    port = serving(create_app(Nobody(), secret=SECRET))
    began = time.monotonic()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    for connection in sockets:
        connection.sendall(sent)
    answers = {answer(connection).partition(b"\r\n")[0] for connection in sockets}
    assert time.monotonic() - began < 10
    assert answers == ({b"HTTP/1.1 200 OK"} if sent.startswith(request(IGNORED)) else {b""})
    for connection in sockets:
        connection.close()


def test_a_byte_now_and_then_does_not_keep_a_connection_open(serving):
    port = serving(create_app(Nobody(), secret=SECRET))
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        began = time.monotonic()
        with pytest.raises(OSError):
            while time.monotonic() - began < 10:
                connection.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() - began < 5


def test_an_incomplete_body_is_answered_and_its_connection_closed(serving):
    port = serving(create_app(Nobody(), secret=SECRET, body_seconds=0.3))
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(request(IGNORED, length=1000))
        told = answer(connection)
    assert told.startswith(b"HTTP/1.1 408") and b"was not sent within 0.3 s" in told


def test_the_limit_for_headers_does_not_cut_off_a_pipelined_request(serving):
    class Slow:
        def start_layout(self, video_id: str) -> Started:
            time.sleep(0.8)
            return Started("nothing to do")

    port = serving(create_app(Slow(), secret=SECRET))
    some = b'"11111111-1111-4111-8111-111111111111"'
    body = b'{"type": "INSERT", "table": "videos", "record": {"id": %b, "tenant_id": %b}}' % (some, some)
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(request(body) + request(IGNORED, "connection: close"))
        told = answer(connection)
    assert told.count(b"HTTP/1.1 202") == 1 and told.count(b"HTTP/1.1 200") == 1


class TestWhoCalls:
    """The rate limit applies to a client, which is not identified by headers."""

    def statuses(self, peer: str, forwarded: list[str], proxies: tuple[str, ...] = ()) -> list[int]:
        app = create_app(
            Nobody(), secret=SECRET, requests_a_minute=2, trusted_proxies=proxies, clock=lambda: 0.0
        )
        client = TestClient(app, client=(peer, 50_000))
        headers = {"authorization": f"Bearer {SECRET}"}
        return [
            client.post(PATH, content=IGNORED, headers=headers | {"x-forwarded-for": value}).status_code
            for value in forwarded
        ]

    @pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "203.0.113.7", "::ffff:203.0.113.7", ""])
    def test_a_rotating_header_does_not_make_another_client(self, peer):
        forwarded = [f"198.51.100.{number}" for number in range(4)]
        assert self.statuses(peer, forwarded) == [200, 200, 429, 429]
        # The same behind a trusted proxy, which appends the address that it saw.
        behind = [f"{value}, 203.0.113.7" for value in forwarded]
        assert self.statuses("10.0.0.2", behind, ("10.0.0.0/8",)) == [200, 200, 429, 429]

    def test_behind_trusted_proxies_each_client_has_its_own_limit(self):
        forwarded = ["203.0.113.7, 10.9.9.9", "203.0.113.8, 10.9.9.9"] * 2
        assert self.statuses("10.0.0.2", forwarded, ("10.0.0.0/8",)) == [200] * 4
        assert self.statuses("10.0.0.2", forwarded) == [200, 200, 429, 429]

    def test_a_host_with_a_whole_ipv6_network_is_one_client(self):
        forwarded = [f"2001:db8:1:2::{number}" for number in range(3)] + ["2001:db8:1:3::1"]
        assert self.statuses("10.0.0.2", forwarded, ("10.0.0.2/32",)) == [200, 200, 429, 200]

    @pytest.mark.parametrize("value", ["*", "10.0.0.0/99", "proxy.example.com", "10.0.0.1/8"])
    def test_an_invalid_network_is_not_trusted(self, value):
        with pytest.raises(ValueError, match="CAPTIONACC_WEBHOOK_TRUSTED_PROXIES"):
            Settings(CAPTIONACC_WEBHOOK_TRUSTED_PROXIES=value)
