"""A rate limit for each client, and the key of a client."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.requests import HTTPConnection

_KNOWN_CLIENTS = 1024


@dataclass
class RateLimit:
    """A token bucket for each client, with a capacity and a refill of ``a_minute``. Thread-safe."""

    a_minute: int
    clock: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def wait_seconds(self, client: str) -> float:
        """Take a token. Return 0, or the seconds until there is one."""
        with self._guard:
            now = self.clock()
            tokens, since = self._buckets.pop(client, (float(self.a_minute), now))
            tokens = min(self.a_minute, tokens + (now - since) * self.a_minute / 60)
            allowed = tokens >= 1
            self._buckets[client] = (tokens - 1 if allowed else tokens, now)
            while len(self._buckets) > _KNOWN_CLIENTS:
                self._buckets.popitem(last=False)
            return 0.0 if allowed else (1 - tokens) * 60 / self.a_minute


def client_of(request: HTTPConnection) -> str:
    """Return the key of the rate limit: the client's IPv4 address, or the /64 network of its IPv6 address.

    An IPv6 host can use all addresses of its /64.
    """
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.IPv6Network((address, 64), strict=False))
