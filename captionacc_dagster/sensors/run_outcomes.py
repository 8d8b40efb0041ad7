"""``run_outcomes``: writes the end of every run into its video's row.

The body of an asset writes the errors that it sees. A killed process sees nothing, a failed check ends the
run outside any body, and a run in the queue can be cancelled or fail to start. Each tick

* reads new ends of runs, failed and cancelled ones, and updates their rows;
* makes sure that Dagster retries the runs that it announced to retry;
* terminates runs that were cancelled in the catalogue (in the web app, or with their video);
* reports runs whose process is gone, which Dagster then retries;
* compares rows that are being worked on with Dagster's runs, to find ends that nobody reported.
"""

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal, Self

import dagster as dg

from captionacc_dagster.dagster_internals.auto_retries import (
    is_undecided,
    retry_failed_to_start,
    retry_run_id,
    will_be_retried,
)
from captionacc_dagster.dagster_internals.run_processes import runs_without_process
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.runs.failures import CANCELLED
from captionacc_dagster.runs.outcomes import (
    cancel_calls,
    settle_lost_runs,
    settle_run,
)

#: Ends of runs, and cancellations, per tick.
BATCH = 100
#: A process counts as gone when it is missing for this long: a code server may be starting.
GONE_AFTER = timedelta(seconds=20)
#: Dagster retries a run within seconds. After this time the failure is reported to it again, up to the limit
#: of failures in all.
RETRY_AFTER = timedelta(seconds=30)
MAX_FAILURES_REPORTED = 5


#: The events of ends that an asset's body does not see.
End = Literal[dg.DagsterEventType.RUN_FAILURE, dg.DagsterEventType.RUN_CANCELED]


@dataclass(frozen=True)
class Cursor:
    """The position of the sensor: the last failure and cancellation read, by their ids in the event log.

    ``missing``: the time since which a run's process is missing. ``awaited``: the time since which the retry
    of a failed run is due. Both by run id, in ISO 8601.
    """

    failures: int = 0
    cancellations: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    awaited: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Return the cursor that :meth:`write` wrote; an empty one for None."""
        return cls(**json.loads(text)) if text else cls()

    def write(self) -> str:
        """Return the cursor as JSON."""
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
    """Settle the ends of runs. The cost grows with the ends since the last tick and the runs in progress."""
    cursor = Cursor.read(context.cursor)
    awaited, requested_again = _ensure_retries(context, catalog, cursor.awaited)
    failed, last_failure = _settle_failures(context, catalog, cursor.failures, awaited)
    cancelled, last_cancellation = _settle_cancellations(context, catalog, cursor.cancellations)
    terminated = _terminate_cancelled_runs(context, catalog)
    missing, gone = _report_gone_processes(context, cursor.missing)
    lost = settle_lost_runs(catalog, context.instance, context.log.warning)
    return dg.SensorResult(
        cursor=Cursor(last_failure, last_cancellation, missing, awaited).write(),
        skip_reason=(
            f"{failed} failures and {cancelled} cancellations since the last tick, "
            f"{terminated} runs terminated, {gone} without their process, "
            f"{lost} stages whose run is over or unknown, {requested_again} retries requested again"
        ),
    )


def _ends_after(
    context: dg.SensorEvaluationContext, kind: End, after: int
) -> tuple[list[tuple[dg.DagsterRun, str]], int, int]:
    """Return known runs with such an end, each with its message; the number of ends and the last one's id."""
    changes = context.instance.fetch_run_status_changes(
        dg.RunStatusChangeRecordsFilter(event_type=kind, after_storage_id=after), limit=BATCH, ascending=True
    ).records
    ends = []
    for change in changes:
        entry = change.event_log_entry
        if run := context.instance.get_run_by_id(entry.run_id):
            ends.append((run, (entry.dagster_event.message if entry.dagster_event else "") or ""))
    return ends, len(changes), changes[-1].storage_id if changes else after


def _settle_failures(
    context: dg.SensorEvaluationContext, catalog: Catalog, after: int, awaited: dict[str, str]
) -> tuple[int, int]:
    """Settle the rows of runs that failed for good; add the others to ``awaited``.

    Return the number of failures and the last one's id.
    """
    ends, count, last = _ends_after(context, dg.DagsterEventType.RUN_FAILURE, after)
    for run, message in ends:
        undecided = context.instance.run_retries_enabled and is_undecided(run)
        if will_be_retried(run) or undecided or retry_failed_to_start(context.instance, run):
            awaited[run.run_id] = datetime.now(UTC).isoformat()
        else:
            _settle_failure(context, catalog, run, message)
    return count, last


def _settle_failure(
    context: dg.SensorEvaluationContext, catalog: Catalog, run: dg.DagsterRun, message: str
) -> None:
    reason = f"The run ended before it was done: {message or 'no reason is known'}"
    settle_run(catalog, run, reason, "RunFailed", context.log.info)


def _settle_cancellations(
    context: dg.SensorEvaluationContext, catalog: Catalog, after: int
) -> tuple[int, int]:
    ends, count, last = _ends_after(context, dg.DagsterEventType.RUN_CANCELED, after)
    for run, _ in ends:
        settle_run(catalog, run, CANCELLED, "Cancelled", context.log.info)
        cancel_calls(catalog, run.run_id)
    return count, last


def _ensure_retries(
    context: dg.SensorEvaluationContext, catalog: Catalog, awaited: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Return the failed runs whose retry is still due, and how many failures were reported to Dagster again.

    Dagster's daemon reads each failure once. When it does so between the event and the change of the run's
    status, it takes the run for unfinished and never returns to it. Nor does it when it failed to start the
    retry, for example because the code server was starting. So it is given the event again.
    """
    now = datetime.now(UTC)
    due: dict[str, str] = {}
    reported = 0
    for run_id, since in awaited.items():
        run = context.instance.get_run_by_id(run_id)
        if run is None:
            continue
        start_failed = retry_failed_to_start(context.instance, run)
        if retry_run_id(run) and not start_failed:
            continue
        if not is_undecided(run) and not will_be_retried(run) and not start_failed:
            _settle_failure(context, catalog, run, _last_failure(context.instance, run_id))
        elif now - datetime.fromisoformat(since) < RETRY_AFTER:
            due[run_id] = since
        elif _failures(context.instance, run_id) < MAX_FAILURES_REPORTED:
            # The new event is read here at the next tick, and awaited like the first.
            reported += 1
            context.instance.report_run_failed(run, _last_failure(context.instance, run_id))
        elif start_failed:
            _settle_failure(context, catalog, run, _last_failure(context.instance, run_id))
    return due, reported


def _failures(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def _last_failure(instance: dg.DagsterInstance, run_id: str) -> str:
    failures = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    event = failures[-1].dagster_event if failures else None
    return (event.message if event else None) or ""


def _terminate_cancelled_runs(context: dg.SensorEvaluationContext, catalog: Catalog) -> int:
    """Terminate runs that were cancelled in the catalogue; return how many."""
    terminated = 0
    for cancellation in catalog.pending_run_cancellations(BATCH):
        run = context.instance.get_run_by_id(cancellation.run_id)
        if run is None or run.is_finished:
            catalog.finish_run_cancellation(cancellation.run_id)
        elif run.status != dg.DagsterRunStatus.CANCELING:
            terminated += 1
            try:
                context.instance.run_coordinator.cancel_run(run.run_id)
            except dg.DagsterError as error:
                # Its code server may be gone. Run monitoring ends the run when it does not end by itself.
                context.log.warning(f"run {run.run_id} could not be terminated: {error}")
    return terminated


def _report_gone_processes(
    context: dg.SensorEvaluationContext, missing: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Report runs in progress whose process is gone.

    Return the runs to check again, with the time since which they have no process, and how many were ended.
    """
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
