"""Ports: whether one is free before a server starts on it, and who holds it if not."""

import errno
import shlex
import socket
from collections.abc import Iterator
from typing import Any

import psutil

from modal_gpu.errors import CaptionAccError

#: Characters of another program's command line that a message shows.
_SHOWN = 80


class PortError(CaptionAccError):
    """A server of the platform cannot listen where its settings say."""


def require_free_port(host: str, port: int, setting: str) -> None:
    """Raise :class:`PortError` unless a server could listen on ``host`` and ``port`` now.

    ``setting``: the setting that chooses the port, such as ``CAPTIONACC_PORT``. Every address of the host's
    name is tried, with the options that asyncio's servers use.
    """
    for family, kind, protocol, address in _addresses(host, port):
        try:
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind(address)
                probe.listen(1)
        except OSError as error:
            raise PortError(_refusal(error, host, port, setting)) from None


def url_of(host: str, port: int) -> str:
    """Return the address of a web server, without a path."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def free_port(host: str) -> int:
    """Return a port on which nobody listens now."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(process: psutil.Process, port: int) -> bool:
    """Return whether this process listens on a TCP port; False if it has ended or may not be inspected."""
    try:
        return port in _listening_ports(process)
    except psutil.Error:
        return False


def holder_of(port: int) -> psutil.Process | None:
    """Return the process that listens on a TCP port, or None if the system does not reveal it."""
    for pid in _listeners(port):
        try:
            return psutil.Process(pid)
        except psutil.Error:
            continue
    return None


def described(process: psutil.Process) -> str:
    """Return a description of a process: its command line, shortened, and its id."""
    try:
        command = shlex.join(process.cmdline()) or process.name()
    except psutil.Error:
        return f"process {process.pid}"
    shown = command if len(command) <= _SHOWN else command[: _SHOWN - 1] + "…"
    return f"`{shown}` (process {process.pid})"


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PortError(
            f"the address {host!r} is not known here ({error.strerror}): set another host"
        ) from None
    return [(family, kind, protocol, address) for family, kind, protocol, _, address in found]


def _refusal(error: OSError, host: str, port: int, setting: str) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = holder_of(port)
        by = f"by {described(holder)}" if holder else "by another program; the system does not say which"
        return f"port {port} ({setting}) is taken {by}: end it, or set {setting} to another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is not an address of this machine: set another host, such as 127.0.0.1"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"port {port} ({setting}) is not open to this user: set {setting} to one from 1024 on"
    return f"port {port} ({setting}) cannot be used: {error.strerror}"


def _listening_ports(process: psutil.Process) -> set[int]:
    return {c.laddr.port for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN}


def _listeners(port: int) -> Iterator[int]:
    try:
        found = psutil.net_connections("tcp")
    except psutil.Error:
        # macOS shows the whole table to root only; the user's own processes are inspected one by one.
        for process in psutil.process_iter():
            if listens(process, port):
                yield process.pid
        return
    yield from (c.pid for c in found if c.pid and c.status == psutil.CONN_LISTEN and c.laddr[1:] == (port,))
