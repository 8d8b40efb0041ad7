"""The sensors' claims on rows of the catalogue, and the return of those that a tick cannot use.

A claim assigns a row to one tick. It is the sensor's cursor: an index holds only the rows that no run was
requested for, so the cost of a tick grows with what is new. At the end of a tick each claim was turned into a
run request, waits on purpose, or is returned. So an outage of the bucket, the catalogue or Dagster delays
work by its own length only. Claims on the same attempt have the same run key, which Dagster accepts once: a
run that only waits in the queue is not requested twice. Claims of a process that was killed expire.

Tenants take turns, and only a limited number of runs of each waits in Dagster's queue.
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
Item = TypeVar("Item")
Result = TypeVar("Result")

#: Rows per tick. Each costs the daemon one indexed query and one run launch.
BATCH = 50
#: Lifetime of a claim.
CLAIM_SECONDS = 900
#: A row that was claimed this often (for a day) without being begun ends in an error.
MAX_CLAIMS = 96
#: Delay after which a row is tried again for which no run can be requested yet, such as a missing upload.
LOOK_AGAIN_SECONDS = 60


class ClaimLimits(TypedDict):
    """Arguments of the catalogue's claiming functions."""

    restart_after_seconds: float
    max_unstarted: int
    tenant_limit: int


def claim_limits() -> ClaimLimits:
    """Return the limits of a sensor's claims."""
    return ClaimLimits(
        restart_after_seconds=CLAIM_SECONDS,
        max_unstarted=MAX_CLAIMS,
        tenant_limit=get_settings().tenant_queue,
    )


@dataclass(frozen=True)
class Claim:
    """A claimed row, with what is needed to return the claim and to find its run.

    ``row_id`` and ``attempt`` are arguments of :meth:`Catalog.return_claims`; ``seconds`` is its lifetime.
    """

    kind: ClaimKind
    row_id: str
    attempt: int | str
    run_key: str
    seconds: float = CLAIM_SECONDS


def return_claims(catalog: Catalog, claims: Iterable[Claim], again_after_seconds: float = 0) -> None:
    """Return claims to the catalogue, with one call per kind. Raises :class:`CatalogError`."""
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
class TickClaims:
    """The claims of one tick, by run key."""

    catalog: Catalog
    #: Neither requested nor returned.
    open: dict[str, list[Claim]] = field(default_factory=lambda: defaultdict(list))
    requested: dict[str, list[Claim]] = field(default_factory=dict)

    def add(self, claims: Iterable[Claim]) -> None:
        """Add rows that the catalogue has just assigned. Several of them may belong to one run."""
        for claim in claims:
            self.open[claim.run_key].append(claim)

    def request(self, run_key: str) -> None:
        """Mark the claims of this key as requested by the tick."""
        self.requested[run_key] = self.open.pop(run_key)

    def postpone(self, run_key: str, again_after_seconds: float = LOOK_AGAIN_SECONDS) -> None:
        """Return claims on which nothing can be done now, to be tried again. Raises :class:`CatalogError`."""
        return_claims(self.catalog, self.open[run_key], again_after_seconds)
        del self.open[run_key]

    def forget(self, run_key: str) -> None:
        """Forget claims that somebody else serves, or that are to expire."""
        self.open.pop(run_key, None)

    def return_open(self) -> None:
        """Return the claims that were not requested. Raises :class:`CatalogError`."""
        return_claims(self.catalog, chain.from_iterable(self.open.values()))
        self.open.clear()

    def unresolved(self) -> list[Claim]:
        """Return the claims that the next tick has to check."""
        return list(chain.from_iterable([*self.open.values(), *self.requested.values()]))


#: Claims that each sensor's last tick left: requested ones, because Dagster creates the runs after the tick,
#: and those that could not be returned. A sensor's ticks follow one another, in one code server.
_left: weakref.WeakKeyDictionary[Catalog, dict[str, list[Claim]]] = weakref.WeakKeyDictionary()


@contextmanager
def claims_of_tick(sensor: str, catalog: Catalog, instance: dg.DagsterInstance) -> Iterator[TickClaims]:
    """Collect a tick's claims within the block; return those that it did not request at the end.

    First return the claims of the last tick for which Dagster created no run, so that this tick can claim
    them. Raises :class:`CatalogError` and errors of Dagster's storage, with nothing claimed.
    """
    left = _left.setdefault(catalog, {})
    claims = TickClaims(catalog)
    claims.add(claim for claim in left.get(sensor, ()) if not _is_submitted(instance, claim.run_key))
    claims.return_open()
    left[sensor] = []
    try:
        yield claims
    except BaseException:
        # The tick will have no result, so nothing was requested.
        claims.add(chain.from_iterable(claims.requested.values()))
        claims.requested.clear()
        raise
    finally:
        try:
            claims.return_open()
        except CatalogError as error:
            _log.warning("%s returns %d claims at its next tick: %s", sensor, len(claims.open), error)
        left[sensor] = claims.unresolved()


def _is_submitted(instance: dg.DagsterInstance, run_key: str) -> bool:
    """Return whether a run of the key was submitted. One that was only created needs a second request."""
    runs = instance.get_runs(dg.RunsFilter(tags={RUN_KEY: run_key}))
    return any(run.status is not dg.DagsterRunStatus.NOT_STARTED for run in runs)


@dataclass(frozen=True)
class Refused:
    """The reasons why a tick requests no run for some claims. ``outage``: the rest was not tried."""

    reasons: tuple[str, ...]
    outage: bool

    def __str__(self) -> str:
        if self.outage:
            return f"claims returned: {self.reasons[-1]}"
        return f"{len(self.reasons)} are tried again in {LOOK_AGAIN_SECONDS} s: {self.reasons[0]}"


def apply_to_each(
    claims: TickClaims, items: Sequence[Item], run_key: Callable[[Item], str], make: Callable[[Item], Result]
) -> tuple[list[tuple[Item, Result]], Refused | None]:
    """Return each item with what ``make`` returns for it, such that one failing item affects no other.

    A retryable error ends the loop: the next item would meet it as well, and each costs a time-out. Any other
    error concerns its item alone, which is tried again later.
    """
    made: list[tuple[Item, Result]] = []
    reasons: list[str] = []
    for item in items:
        try:
            made.append((item, make(item)))
        except CaptionAccError as error:
            reasons.append(str(error))
            if error.retryable:
                return made, Refused(tuple(reasons), outage=True)
            claims.postpone(run_key(item))
        except Exception as error:
            _log.exception("%s is tried again later", run_key(item))
            reasons.append(f"{type(error).__name__}: {error}".splitlines()[0])
            claims.postpone(run_key(item))
    return made, Refused(tuple(reasons), outage=False) if reasons else None


def tick_result(
    context: dg.SensorEvaluationContext,
    claims: TickClaims,
    requests: Sequence[dg.RunRequest],
    events: Sequence[dg.AssetMaterialization] = (),
    *,
    seen: str,
    refused: Refused | None = None,
) -> dg.SensorResult:
    """Return the requests and events, with the partitions that they need; or a reason for none, ``seen``.

    Partitions are always requested: a person may have deleted one in the UI, and a run request for a
    partition that does not exist fails the whole tick.
    """
    if refused is not None:
        context.log.warning(str(refused))
    if not requests:
        reason = f"{seen} (claims at most {BATCH} a tick)"
        return dg.SensorResult(skip_reason=f"{reason}; {refused}" if refused else reason)
    keys = []
    for request in requests:
        if request.run_key is None or request.partition_key is None:
            raise ValueError("a sensor's run request needs a run key and a partition")
        claims.request(request.run_key)
        keys.append(request.partition_key)
    return dg.SensorResult(
        dynamic_partitions_requests=[videos.build_add_request(keys)],
        asset_events=list(events),
        run_requests=list(requests),
    )
