"""The service in a thread: it ends in order, and whoever started it sees that it has ended."""

import time

import httpx
import pytest

from captionacc_dagster.platform.ports import free_port
from captionacc_dagster.platform.role_lock import ServiceError
from captionacc_dagster.web.http_server import _SHUTDOWN_SECONDS, Server
from captionacc_dagster.web.service.serving import ServiceThread


@pytest.fixture
def catalog(postgres_catalog):
    """One transport: nothing here calls it."""
    return postgres_catalog


@pytest.fixture
def service(local_parts) -> ServiceThread:
    return ServiceThread(local_parts, "127.0.0.1", free_port("127.0.0.1"))


def test_a_service_that_ends_by_itself_is_noticed(service):
    service.begin()
    try:
        service.check()
        service._server.should_exit = True
        service._thread.join(15)
        with pytest.raises(ServiceError, match="ended by itself"):
            service.check()
    finally:
        service.end()


def test_an_open_stream_ends_with_the_service(service):
    service.begin()
    with (
        httpx.Client(trust_env=False) as client,
        client.stream("GET", f"{service.address}/events", timeout=30) as answer,
    ):
        lines = answer.iter_lines()
        assert "event: ready" in [next(lines) for _ in range(4)]
        began = time.monotonic()
        service.end()
        # Without an error: the stream is closed, not cut off.
        assert "event: ready" not in list(lines)
    # Not only when the time for open requests has passed.
    assert time.monotonic() - began < _SHUTDOWN_SECONDS


def test_a_service_that_fails_logs_the_reason(service, monkeypatch, caplog):
    def fail(self):
        raise ZeroDivisionError

    monkeypatch.setattr(Server, "run", fail)
    with pytest.raises(ServiceError, match="did not start"):
        service.begin()
    service._thread.join(15)
    assert "the HTTP service failed" in caplog.text and "ZeroDivisionError" in caplog.text
