"""How sensors claim work in the catalogue, and give back what they cannot use.

A claim hands a row to one tick, and is the sensor's cursor: an index holds just the rows that nobody
asked for, so a tick costs what is new. What a tick was handed is asked for, waits a while on purpose, or
is given back when the tick ends, so that an outage of the bucket, the catalogue or Dagster costs no more
than it lasts. A claim is always the same attempt and so the same run key, which Dagster takes only once: a
run that merely waits in its queue is not made twice. The claims of a process that was killed run out.

Tenants are handed out in turn, and only so many of each wait in Dagster's queue.
"""

import logging
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TypedDict, TypeVar

import dagster as dg

from captionacc_dagster.partitions import videos
from captionacc_dagster.resources.catalog import Catalog, CatalogError, ClaimKind
from captionacc_dagster.runs.tags import RUN_KEY
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)
A, B = TypeVar("A"), TypeVar("B")

#: Rows a tick; each costs the daemon one indexed look-up and one run launch.
BATCH = 50
#: How long a claim lasts.
CLAIM_SECONDS = 900
#: A row that was handed out so often and never begun (for a day) ends in an error.
MAX_CLAIMS = 96
#: What cannot be asked for yet, such as a video whose object is not there, is looked at again so soon.
LOOK_AGAIN_SECONDS = 60


class ClaimLimits(TypedDict):
    """Arguments of the catalogue's claims."""

    restart_after_seconds: float
    max_unstarted: int
    tenant_limit: int


def claim_limits() -> ClaimLimits:
    """The limits of every sensor's claim."""
    return ClaimLimits(
        restart_after_seconds=CLAIM_SECONDS,
        max_unstarted=MAX_CLAIMS,
        tenant_limit=get_settings().tenant_queue,
    )


@dataclass(frozen=True)
class Claim:
    """One row that was handed out: enough to give it back, and to find its run.

    ``row_id`` and ``attempt`` are what :meth:`Catalog.return_claims` takes; ``seconds`` is how long it lasts.
    """

    kind: ClaimKind
    row_id: str
    attempt: int | str
    run_key: str
    seconds: float = CLAIM_SECONDS


def return_claims(catalog: Catalog, claims: Iterable[Claim], again_after_seconds: float = 0) -> None:
    """Give claims back, those of a kind in one call. Raises :class:`CatalogError`."""
    kinds: dict[tuple[ClaimKind, float], dict[str, int | str]] = defaultdict(dict)
    for claim in claims:
        kinds[claim.kind, claim.seconds][claim.row_id] = claim.attempt
    for (kind, seconds), rows in kinds.items():
        catalog.return_claims(
            kind,
            rows,
            restart_after_seconds=seconds,
            again_after_seconds=min(again_after_seconds, seconds),
        )


@dataclass
class Handed:
    """What one tick was handed, by run key."""

    catalog: Catalog
    #: Neither asked for nor given back.
    open: dict[str, list[Claim]] = field(default_factory=lambda: defaultdict(list))
    asked: dict[str, list[Claim]] = field(default_factory=dict)

    def take(self, claims: Iterable[Claim]) -> None:
        """Note what the catalogue has just handed out. Several claims may be one run's."""
        for claim in claims:
            self.open[claim.run_key].append(claim)

    def ask(self, run_key: str) -> None:
        """The tick requests a run of this key."""
        self.asked[run_key] = self.open.pop(run_key)

    def leave(self, run_key: str, again_after_seconds: float = LOOK_AGAIN_SECONDS) -> None:
        """Nothing can be done now: look at it again after a while. Raises :class:`CatalogError`."""
        return_claims(self.catalog, self.open[run_key], again_after_seconds)
        del self.open[run_key]

    def drop(self, run_key: str) -> None:
        """Somebody else sees to it, or the claim is to run out."""
        self.open.pop(run_key, None)

    def give_back(self) -> None:
        """Give back what was not asked for. Raises :class:`CatalogError`."""
        return_claims(self.catalog, chain.from_iterable(self.open.values()))
        self.open.clear()

    def left(self) -> list[Claim]:
        """What the next tick has to look after."""
        return list(chain.from_iterable([*self.open.values(), *self.asked.values()]))


#: What the last tick of each sensor left: what it asked for, because Dagster makes the runs after the tick,
#: and what could not be given back. Ticks of a sensor come one after the other, in one code server.
_left: weakref.WeakKeyDictionary[Catalog, dict[str, list[Claim]]] = weakref.WeakKeyDictionary()


@contextmanager
def handed_out(sensor: str, catalog: Catalog, instance: dg.DagsterInstance) -> Iterator[Handed]:
    """What a tick is handed within the block; what it did not ask for is given back at the end.

    Before that, claims of the last tick that Dagster made no run for are given back, so that this tick may
    have them. Raises :class:`CatalogError`, and what Dagster's storage raises, with nothing handed out.
    """
    left = _left.setdefault(catalog, {})
    handed = Handed(catalog)
    handed.take(claim for claim in left.get(sensor, ()) if not _is_submitted(instance, claim.run_key))
    handed.give_back()
    left[sensor] = []
    try:
        yield handed
    except BaseException:
        # The tick will have no result, so that nothing was asked for.
        handed.take(chain.from_iterable(handed.asked.values()))
        handed.asked.clear()
        raise
    finally:
        try:
            handed.give_back()
        except CatalogError as error:
            _log.warning("%s gives %d claims back at its next tick: %s", sensor, len(handed.open), error)
        left[sensor] = handed.left()


def _is_submitted(instance: dg.DagsterInstance, run_key: str) -> bool:
    """Whether a run of the key is on its way. Asked for again, Dagster submits one that it only made."""
    runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY: run_key}))
    return any(run.status is not dg.DagsterRunStatus.NOT_STARTED for run in runs)


@dataclass(frozen=True)
class Refused:
    """Why some of what a tick was handed is not asked for; ``outage``: none of the others was tried."""

    reasons: tuple[str, ...]
    outage: bool

    def __str__(self) -> str:
        if self.outage:
            return f"claims given back: {self.reasons[-1]}"
        return f"{len(self.reasons)} are looked at again in {LOOK_AGAIN_SECONDS} s: {self.reasons[0]}"


def one_by_one(
    handed: Handed, items: Sequence[A], run_key: Callable[[A], str], make: Callable[[A], B]
) -> tuple[list[tuple[A, B]], Refused | None]:
    """Make something of each item, such that one that fails takes no other along.

    An error that may pass ends it: the next item would meet it as well, and each takes its time-out. One that
    will not pass is the item's own: it is looked at again after a while.
    """
    made: list[tuple[A, B]] = []
    reasons: list[str] = []
    for item in items:
        try:
            made.append((item, make(item)))
        except CaptionAccError as error:
            reasons.append(str(error))
            if error.retryable:
                return made, Refused(tuple(reasons), outage=True)
            handed.leave(run_key(item))
        except Exception as error:
            _log.exception("%s is looked at again", run_key(item))
            reasons.append(f"{type(error).__name__}: {error}".splitlines()[0])
            handed.leave(run_key(item))
    return made, Refused(tuple(reasons), outage=False) if reasons else None


def tick_result(
    context: dg.SensorEvaluationContext,
    handed: Handed,
    requests: Sequence[dg.RunRequest],
    events: Sequence[dg.AssetMaterialization] = (),
    *,
    seen: str,
    refused: Refused | None = None,
) -> dg.SensorResult:
    """The requests and events, with the partitions that they need; or what was ``seen`` instead.

    Partitions are always asked for: a person may have deleted one in the UI, and a run request for a
    partition that is not there fails the whole tick.
    """
    if refused is not None:
        context.log.warning(str(refused))
    if not requests:
        reason = f"{seen} (claims at most {BATCH} a tick)"
        return dg.SensorResult(skip_reason=f"{reason}; {refused}" if refused else reason)
    for request in requests:
        handed.ask(request.run_key)
    keys = [request.partition_key for request in requests]
    return dg.SensorResult(
        dynamic_partitions_requests=[videos.build_add_request(keys)],
        asset_events=list(events),
        run_requests=list(requests),
    )
