"""Limits of the requests of one caller, counted with the token bucket of the webhook."""

from dataclasses import dataclass, field

from captionacc_dagster.web.rate_limit import RateLimit


@dataclass(frozen=True)
class RateLimits:
    """Limits for callers who are known, and for addresses whose token is missing or wrong."""

    a_minute: int = 1200
    refused_a_minute: int = 60
    _callers: RateLimit = field(init=False)
    _refused: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_callers", RateLimit(self.a_minute))
        object.__setattr__(self, "_refused", RateLimit(self.refused_a_minute))

    def wait_seconds(self, caller: str) -> float:
        """Count a caller's request. Return 0, or the seconds until the next one is accepted."""
        return self._callers.wait_seconds(caller)

    def wait_seconds_of_refused(self, address: str) -> float:
        """Count a request that nobody signed in for."""
        return self._refused.wait_seconds(address)
