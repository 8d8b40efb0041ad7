"""A port that is taken is named with its setting and its holder, before anything is started on it."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psutil
import pytest

from captionacc_dagster.platform.ports import PortError, described, listens, require_free_port, url_of


@contextmanager
def listening(address: str) -> Iterator[int]:
    """Listen on an address in this process, and yield the port."""
    with closing(socket.create_server((address, 0), family=_family(address))) as server:
        yield server.getsockname()[1]


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def free_port() -> int:
    with listening("127.0.0.1") as port:
        return port


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "0.0.0.0"),
        pytest.param(
            "0.0.0.0",
            "127.0.0.1",
            marks=pytest.mark.skipif(
                not psutil.LINUX, reason="elsewhere an address of its own goes before the wildcard"
            ),
        ),
        pytest.param("::1", "::1", marks=ipv6),
        pytest.param("::", "::", marks=ipv6),
    ],
)
def test_a_taken_port_is_named_with_its_setting_and_its_holder(theirs: str, ours: str):
    with listening(theirs) as port, pytest.raises(PortError) as refused:
        require_free_port(ours, port, "CAPTIONACC_PORT")
    assert str(refused.value).startswith(f"port {port} (CAPTIONACC_PORT) is taken by `")
    assert f"(process {os.getpid()}): end it, or set CAPTIONACC_PORT" in str(refused.value)


def test_an_unknown_holder_is_reported_as_unknown(monkeypatch):
    monkeypatch.setattr("captionacc_dagster.platform.ports._listeners", lambda port: iter(()))
    with listening("127.0.0.1") as port, pytest.raises(PortError, match="by another program; the system"):
        require_free_port("127.0.0.1", port, "CAPTIONACC_PORT")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", ""])
def test_a_free_port_is_free_and_stays_so(host: str):
    port = free_port()
    require_free_port(host, port, "CAPTIONACC_PORT")
    require_free_port(host, port, "CAPTIONACC_PORT")


def test_a_port_that_a_server_has_just_released_is_free():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        with closing(socket.create_connection(("127.0.0.1", port))) as client:
            accepted, _ = server.accept()
            accepted.close()  # first, so that its end of the connection stays in TIME_WAIT
            client.recv(1)
    require_free_port("127.0.0.1", port, "CAPTIONACC_PORT")


@pytest.mark.parametrize(
    ("host", "message"),
    [("192.0.2.1", "192.0.2.1 is not an address of this machine"), ("no.such.host.invalid", "is not known")],
)
def test_an_address_of_another_machine_is_reported_as_such(host: str, message: str):
    with pytest.raises(PortError, match=message):
        require_free_port(host, free_port(), "CAPTIONACC_PORT")


def test_a_process_listens_on_its_own_ports_only():
    here, parent = psutil.Process(), psutil.Process().parent()
    with listening("127.0.0.1") as port:
        assert listens(here, port) and not listens(parent, port)
        assert "python" in described(here) or "pytest" in described(here)
    assert not listens(here, port)


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:3000"), ("::1", "http://[::1]:3000"), ("box", "http://box:3000")],
)
def test_an_address_has_brackets_around_ipv6(host: str, url: str):
    assert url_of(host, 3000) == url
