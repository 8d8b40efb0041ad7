"""``run_outcomes``: however a run ends, its video's row says so.

An asset's body writes the errors that it sees. A killed process sees nothing, a failed check ends the
run outside any body, a run that waits in the queue can be cancelled or fail to start. One tick

* reads the ends of runs that are new to it, failed and cancelled ones, and settles their rows;
* ends runs that were cancelled in the catalogue (in the web app, or with their video);
* reports runs whose process is gone, which Dagster then starts again;
* compares the rows that are in work with Dagster's runs, for ends that nobody reported.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Self

import dagster as dg
from dagster._core.errors import DagsterError
from dagster._core.event_api import RunStatusChangeRecordsFilter
from dagster._core.storage.tags import WILL_RETRY_TAG

from captionacc_dagster.outcomes import (
    CANCELLED,
    cancel_calls,
    settle_lost_runs,
    settle_run,
    will_be_retried,
)
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.run_processes import runs_without_process

#: Ends of runs, and cancellations, a tick.
BATCH = 100
#: A process has to be missing for so long: a code server may be starting.
GONE_AFTER = timedelta(seconds=20)


@dataclass(frozen=True)
class Cursor:
    """The last failure and cancellation that were read, by their numbers in the event log.

    ``missing``: since when the process of a run is missing.
    """

    failures: int = 0
    cancellations: int = 0
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> Self:
        return cls(**json.loads(text)) if text else cls()

    def write(self) -> str:
        return json.dumps(dataclasses.asdict(self))


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Writes the ends of runs into their videos' rows where the runs could not: failures after the last "
        "retry, cancellations, crashes, reboots. Ends runs that were cancelled in the web app."
    ),
)
def run_outcomes(context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]) -> dg.SensorResult:
    """Costs the ends of runs since the last tick, and the runs that are at work."""
    cursor = Cursor.read(context.cursor)
    failed, last_failure = _settle_ends(context, catalog, dg.DagsterEventType.RUN_FAILURE, cursor.failures)
    cancelled, last_cancellation = _settle_ends(
        context, catalog, dg.DagsterEventType.RUN_CANCELED, cursor.cancellations
    )
    told = _end_cancelled_runs(context, catalog)
    missing, gone = _report_gone_processes(context, cursor.missing)
    lost = settle_lost_runs(catalog, context.instance, context.log.warning)
    return dg.SensorResult(
        cursor=Cursor(last_failure, last_cancellation, missing).write(),
        skip_reason=(
            f"{failed} failures and {cancelled} cancellations since the last tick, {told} runs told to end, "
            f"{gone} without their process, {lost} stages whose run is over or unknown"
        ),
    )


def _settle_ends(
    context: dg.SensorEvaluationContext, catalog: Catalog, kind: dg.DagsterEventType, after: int
) -> tuple[int, int]:
    """Rows of runs that ended so; gives how many runs, and the number of the last event."""
    changes = context.instance.fetch_run_status_changes(
        RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=after), limit=BATCH, ascending=True
    ).records
    for change in changes:
        run = context.instance.get_run_by_id(change.event_log_entry.run_id)
        if run is None or will_be_retried(run):
            continue
        if kind == dg.DagsterEventType.RUN_CANCELED:
            settle_run(catalog, run, CANCELLED, "Cancelled", context.log.info)
            cancel_calls(catalog, run.run_id)
            continue
        if context.instance.run_retries_enabled and WILL_RETRY_TAG not in run.tags:
            # Dagster is just finding out; the comparison of rows with runs settles it in a minute.
            continue
        event = change.event_log_entry.dagster_event
        reason = (event.message if event else "") or "no reason is known"
        message = f"The run ended before it was done: {reason}"
        settle_run(catalog, run, message, "RunFailed", context.log.info)
    return len(changes), changes[-1].storage_id if changes else after


def _end_cancelled_runs(context: dg.SensorEvaluationContext, catalog: Catalog) -> int:
    """Runs that the catalogue says are to end; gives how many were told to."""
    told = 0
    for cancellation in catalog.pending_run_cancellations(BATCH):
        run = context.instance.get_run_by_id(cancellation.run_id)
        if run is None or run.is_finished:
            catalog.finish_run_cancellation(cancellation.run_id)
        elif run.status != dg.DagsterRunStatus.CANCELING:
            told += 1
            try:
                context.instance.run_coordinator.cancel_run(run.run_id)
            except DagsterError as error:
                # Its code server is gone, perhaps: run monitoring ends it when it does not end by itself.
                context.log.warning(f"run {run.run_id} could not be told to end: {error}")
    return told


def _report_gone_processes(
    context: dg.SensorEvaluationContext, missing: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Runs at work without a process; gives those to look at again, since when, and how many were ended."""
    now = datetime.now(UTC)
    at_work = context.instance.get_runs(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]), limit=BATCH
    )
    still_missing: dict[str, str] = {}
    ended = 0
    for run in runs_without_process(context.instance, at_work):
        since = datetime.fromisoformat(missing.get(run.run_id, now.isoformat()))
        if now - since < GONE_AFTER:
            still_missing[run.run_id] = since.isoformat()
            continue
        ended += 1
        message = "The process of this run is gone: the machine or its code server was restarted."
        if run.status == dg.DagsterRunStatus.CANCELING:
            context.instance.report_run_canceled(run, message)
        else:
            context.instance.report_run_failed(run, message)
    return still_missing, ended
