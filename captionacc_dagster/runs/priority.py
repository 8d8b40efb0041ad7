"""The order of runs: a priority from 0 to 100, and turns, so that no tenant blocks another.

The priority is that of the tenant's tier, or a chosen one, plus points for waiting and for small files.
Dagster's run queue takes the highest first, and the oldest among equals.

That alone would let a tenant with a thousand videos and a high tier keep all others waiting. So only one
unfinished run of a tenant, its first, queues with its whole priority. The others queue with half of it, below
the first run of any tier: a tenant with no run in progress is served next.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

T = TypeVar("T")

LOWEST, HIGHEST = 0, 100
#: Override for work that nobody waits for, such as a new model on finished videos.
BACKFILL = 10
#: Smaller files gain :data:`SMALL_FILE_POINTS`: they finish soon and hardly delay the others.
SMALL_FILE_BYTES = 50_000_000
SMALL_FILE_POINTS = 5
#: Further runs of a tenant stay below the lowest tier's first ones.
_FURTHER_HIGHEST = 49


@dataclass(frozen=True)
class AgeBoost:
    """The points for waiting: ``points_an_hour``, or one each ``minutes_a_point``, up to ``most_points``."""

    points_an_hour: float = 1.0
    most_points: int = 20
    #: Counts instead of ``points_an_hour`` where it is given.
    minutes_a_point: float | None = None

    def points(self, since: datetime, now: datetime) -> int:
        """Return whole points at ``now``; 0 for a ``since`` in the future. Both times are time-zone aware."""
        minutes = (now - since).total_seconds() / 60
        points = (
            minutes / self.minutes_a_point if self.minutes_a_point else minutes / 60 * self.points_an_hour
        )
        return int(min(max(points, 0.0), self.most_points))


@dataclass(frozen=True)
class Claim:
    """The inputs of a run's priority. ``size_bytes`` is None when no file is known."""

    base: int
    size_bytes: int | None
    waiting_since: datetime
    age_boosting: bool = True
    #: Replaces the tier's base.
    override: int | None = None

    @property
    def unaged(self) -> int:
        """The priority before waiting counts, not clamped."""
        small = self.size_bytes is not None and self.size_bytes < SMALL_FILE_BYTES
        return (self.base if self.override is None else self.override) + SMALL_FILE_POINTS * small

    def priority(self, now: datetime, boost: AgeBoost) -> int:
        """Return the priority at ``now``, from 0 to 100; never less for a longer wait."""
        return aged(self.unaged, self.waiting_since if self.age_boosting else None, now, boost)


def aged(unaged: int, waiting_since: datetime | None, now: datetime, boost: AgeBoost) -> int:
    """Return a priority with the points for waiting, from 0 to 100. ``waiting_since``: None to add none."""
    points = 0 if waiting_since is None else boost.points(waiting_since, now)
    return min(max(unaged + points, LOWEST), HIGHEST)


def in_turn(priority: int, first: bool) -> int:
    """Return what a run queues with: its priority if it is its tenant's first one, else half of it."""
    return priority if first else priority * _FURTHER_HIGHEST // HIGHEST


@dataclass(frozen=True)
class Waiting:
    """A run in the queue: its tenant and its whole priority."""

    run: str
    tenant: str
    priority: int


def turns(queue: Sequence[Waiting], at_work: Set[str]) -> dict[str, int]:
    """Return the queue priority of each run, by its name. ``queue`` is oldest first.

    ``at_work``: tenants with a run in progress. A tenant's first run is the one in progress, or else its
    highest in the queue, the oldest among equals.
    """
    firsts: dict[str, Waiting] = {}
    for waiting in queue:
        known = firsts.get(waiting.tenant)
        if known is None or waiting.priority > known.priority:
            firsts[waiting.tenant] = waiting
    return {
        waiting.run: in_turn(
            waiting.priority, waiting.tenant not in at_work and firsts[waiting.tenant] is waiting
        )
        for waiting in queue
    }


def round_robin(items: Iterable[T], tenant: Callable[[T], str]) -> list[T]:
    """Return the items with one of each tenant in turn; the order of each tenant's own items stays."""
    by_tenant: dict[str, deque[T]] = defaultdict(deque)
    for item in items:
        by_tenant[tenant(item)].append(item)
    result: list[T] = []
    while by_tenant:
        for name in list(by_tenant):
            result.append(by_tenant[name].popleft())
            if not by_tenant[name]:
                del by_tenant[name]
    return result
