"""Compute calls whose run is dead: open ones are cancelled, ended ones are charged."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import dagster as dg

from captionacc_dagster.constants import UPKEEP_BATCH
from captionacc_dagster.dagster_internals.auto_retries import will_be_retried
from captionacc_dagster.operations.upkeep.findings import Finding, Workplace
from captionacc_dagster.resources.catalog import ComputeCallRow
from captionacc_dagster.runs.outcomes import RETRIED_BY_THEN

#: A call is orphaned once its run has been over for so long.
CALL_GRACE = timedelta(minutes=10)
#: A call that ended so long ago is no longer charged by its own run.
CHARGE_GRACE = timedelta(minutes=10)

#: Cancels open calls of dead runs on the compute backend, given whether a run is alive; returns their rows.
CancelAbandoned = Callable[[Callable[[str], bool]], list[ComputeCallRow]]


def orphaned_calls(work: Workplace, cancel_abandoned: CancelAbandoned | None) -> Iterator[Finding]:
    """Cancel open calls whose run is dead, and deliver cancellations that did not arrive."""
    calls = _orphaned(work)
    delivered, undelivered = (
        _cancel(work, calls, cancel_abandoned) if work.apply and calls else (set(), set())
    )
    for call in calls.values():
        reason = "cancellation to deliver" if call.status == "cancelled" else "its run has ended"
        settled = call.id in delivered or call.status != "cancelled"
        done = work.apply and settled and call.id not in undelivered
        yield Finding("orphaned call", call.video_id, f"{call.function_name}, {reason}", done)


def _orphaned(work: Workplace) -> dict[str, ComputeCallRow]:
    before = datetime.now(UTC) - CALL_GRACE
    calls = [
        *work.catalog.undelivered_compute_cancellations(UPKEEP_BATCH),
        *work.catalog.list_compute_calls(open_only=True, created_before=before, limit=UPKEEP_BATCH),
    ]
    return {
        call.id: call
        for call in calls
        if call.status == "cancelled" or not is_alive(work.instance, call.run_id)
    }


def _cancel(
    work: Workplace, calls: dict[str, ComputeCallRow], cancel_abandoned: CancelAbandoned | None
) -> tuple[set[str], set[str]]:
    """Cancel calls; return the ids of those that the backend stopped, and of those that it could not stop."""
    delivered: set[str] = set()
    undelivered: set[str] = set()
    if cancel_abandoned is not None:
        cancelled = cancel_abandoned(partial(is_alive, work.instance))
        delivered = {c.id for c in cancelled if c.call_id is None or c.cancel_delivered_at is not None}
        # The next pass tries these again.
        undelivered = {call.id for call in cancelled} - delivered
    for call in calls.values():
        if call.is_open and call.id not in delivered | undelivered:
            work.catalog.cancel_compute_call(call.id, message="its run has ended")
    return delivered, undelivered


def is_alive(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run works, waits, or is about to be started again."""
    records = instance.get_run_records(dg.RunsFilter(run_ids=[run_id]), limit=1)
    if not records:
        return False
    run = records[0].dagster_run
    ended = datetime.fromtimestamp(records[0].end_time or time.time(), UTC)
    soon_again = will_be_retried(run) and datetime.now(UTC) - ended < RETRIED_BY_THEN
    return not run.is_finished or soon_again


def uncharged_calls(work: Workplace, charge: Callable[[ComputeCallRow], object] | None) -> Iterator[Finding]:
    """Charge billed calls that ended after their run had died: nobody else charges them."""
    if charge is None:
        return
    seconds = CHARGE_GRACE.total_seconds()
    for call in work.catalog.uncharged_compute_calls(older_than_seconds=seconds, limit=UPKEEP_BATCH):
        detail = f"{call.function_name}, {call.status} {call.finished_at:%Y-%m-%d %H:%M:%S} UTC"
        yield work.handle("uncharged call", call.video_id, detail, partial(charge, call))
