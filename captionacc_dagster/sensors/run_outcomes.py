"""``run_outcomes``: however a run ends, its video's row says so.

An asset's body writes the errors that it sees. A killed process sees nothing, a failed check ends the
run outside any body, a run that waits in the queue can be cancelled or fail to start. One tick

* reads the ends of runs that are new to it, failed and cancelled ones, and settles their rows;
* sees to it that Dagster starts again those of which it says that it will;
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

from captionacc_dagster.dagster_internals.auto_retries import (
    is_undecided,
    retry_failed_to_start,
    retry_run_id,
    will_be_retried,
)
from captionacc_dagster.dagster_internals.run_processes import runs_without_process
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.runs.outcomes import (
    CANCELLED,
    cancel_calls,
    settle_lost_runs,
    settle_run,
)

#: Ends of runs, and cancellations, a tick.
BATCH = 100
#: A process has to be missing for so long: a code server may be starting.
GONE_AFTER = timedelta(seconds=20)
#: Dagster starts a run again within seconds; after that long it is told once more, so often in all.
RETRY_AFTER = timedelta(seconds=30)
MOST_FAILURES_TOLD = 5


@dataclass(frozen=True)
class Cursor:
    """The last failure and cancellation that were read, by their numbers in the event log.

    ``missing``: since when the process of a run is missing. ``awaited``: since when a failed run is to
    be started again.
    """

    failures: int = 0
    cancellations: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    awaited: dict[str, str] = field(default_factory=dict)

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
    awaited, told_again = _see_to_retries(context, catalog, cursor.awaited)
    failed, last_failure = _settle_failures(context, catalog, cursor.failures, awaited)
    cancelled, last_cancellation = _settle_cancellations(context, catalog, cursor.cancellations)
    told = _end_cancelled_runs(context, catalog)
    missing, gone = _report_gone_processes(context, cursor.missing)
    lost = settle_lost_runs(catalog, context.instance, context.log.warning)
    return dg.SensorResult(
        cursor=Cursor(last_failure, last_cancellation, missing, awaited).write(),
        skip_reason=(
            f"{failed} failures and {cancelled} cancellations since the last tick, {told} runs told to end, "
            f"{gone} without their process, {lost} stages whose run is over or unknown, "
            f"{told_again} retries asked for again"
        ),
    )


def _ends_after(
    context: dg.SensorEvaluationContext, kind: dg.DagsterEventType, after: int
) -> tuple[list[tuple[dg.DagsterRun, str]], int, int]:
    """Runs that ended so and are known, each with the event's message; how many events, the last's number."""
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
    """Rows of runs that failed for good; the others are put into ``awaited``."""
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


def _see_to_retries(
    context: dg.SensorEvaluationContext, catalog: Catalog, awaited: dict[str, str]
) -> tuple[dict[str, str], int]:
    """Failed runs that are to be started again: those to look at again, and how many were told of anew.

    Dagster's daemon reads each failure once. When it does so between the event and the change of the run's
    status, it takes the run for one that goes on, and never comes back to it; nor does it when it failed to
    start the run again, as when the code server was just starting. So it is given the event again.
    """
    now = datetime.now(UTC)
    still: dict[str, str] = {}
    told = 0
    for run_id, since in awaited.items():
        run = context.instance.get_run_by_id(run_id)
        if run is None:
            continue
        went_wrong = retry_failed_to_start(context.instance, run)
        if retry_run_id(run) and not went_wrong:
            continue
        if not is_undecided(run) and not will_be_retried(run) and not went_wrong:
            _settle_failure(context, catalog, run, _last_failure(context.instance, run_id))
        elif now - datetime.fromisoformat(since) < RETRY_AFTER:
            still[run_id] = since
        elif _failures(context.instance, run_id) < MOST_FAILURES_TOLD:
            # Its own event comes back here, and is awaited like the first.
            told += 1
            context.instance.report_run_failed(run, _last_failure(context.instance, run_id))
        elif went_wrong:
            _settle_failure(context, catalog, run, _last_failure(context.instance, run_id))
    return still, told


def _failures(instance: dg.DagsterInstance, run_id: str) -> int:
    return len(instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE))


def _last_failure(instance: dg.DagsterInstance, run_id: str) -> str:
    told = instance.all_logs(run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    return (told[-1].dagster_event.message if told and told[-1].dagster_event else "") or ""


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
            except dg.DagsterError as error:
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
