"""Which run goes first: a priority from 0 to 100, and turns, so that no tenant stands in another's way.

The priority is that of the tenant's tier, or one that somebody chose, and more for waiting and for
small files. Dagster's run queue takes the highest first, and the oldest among equals.

That alone would let a tenant with a thousand videos and a high tier keep all others waiting. So only
one unfinished run of a tenant, its first, queues with its whole priority. The further ones queue with
half of it, below every first one of any tier: whoever has nothing at work is served next.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

T = TypeVar("T")

LOWEST, HIGHEST = 0, 100
#: Override of work that nobody waits for, such as a new model's on finished videos.
BACKFILL = 10
#: Smaller files gain :data:`SMALL_FILE_POINTS`: they are done soon, and hardly delay the others.
SMALL_FILE_BYTES = 50_000_000
SMALL_FILE_POINTS = 5
#: Further runs of a tenant stay below the lowest tier's first ones.
_FURTHER_HIGHEST = 49


@dataclass(frozen=True)
class AgeBoost:
    """What waiting earns: ``points_an_hour``, up to ``most_points``."""

    points_an_hour: float = 1.0
    most_points: int = 20

    def points(self, since: datetime, now: datetime) -> int:
        """Whole points at ``now``; none for a time that has not come yet. Both times are aware."""
        hours = (now - since).total_seconds() / 3600
        return int(min(max(hours * self.points_an_hour, 0.0), self.most_points))


@dataclass(frozen=True)
class Claim:
    """What a run's priority is made of. ``size_bytes`` is ``None`` when no file is known."""

    base: int
    size_bytes: int | None
    waiting_since: datetime
    age_boosting: bool = True
    #: Takes the place of the tier's base.
    override: int | None = None

    @property
    def unaged(self) -> int:
        """Priority of a run that has not waited, before it is clamped."""
        small = self.size_bytes is not None and self.size_bytes < SMALL_FILE_BYTES
        return (self.base if self.override is None else self.override) + SMALL_FILE_POINTS * small

    def priority(self, now: datetime, boost: AgeBoost) -> int:
        """From 0 to 100; never less for having waited longer."""
        return aged(self.unaged, self.waiting_since if self.age_boosting else None, now, boost)


def aged(unaged: int, waiting_since: datetime | None, now: datetime, boost: AgeBoost) -> int:
    """A priority from 0 to 100 with what waiting earned; ``None`` for one that earns nothing."""
    points = 0 if waiting_since is None else boost.points(waiting_since, now)
    return min(max(unaged + points, LOWEST), HIGHEST)


def in_turn(priority: int, first: bool) -> int:
    """What a run queues with: all of its priority as its tenant's first one, half of it as a further one."""
    return priority if first else priority * _FURTHER_HIGHEST // HIGHEST


@dataclass(frozen=True)
class Waiting:
    """A run in the queue: its tenant and its whole priority."""

    run: str
    tenant: str
    priority: int


def turns(queue: Sequence[Waiting], at_work: Set[str]) -> dict[str, int]:
    """What each run queues with, by its name. ``queue`` is oldest first; ``at_work``: tenants at work.

    A tenant's first run is the one at work, or else its highest in the queue, the oldest among equals.
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
    """The same items, one of each tenant in turn; each tenant's own in the order in which they came."""
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
