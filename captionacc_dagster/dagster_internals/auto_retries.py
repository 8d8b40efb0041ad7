"""Dagster's automatic retries of runs whose process died: whether one is due, and whether it failed to start.

The daemon keeps its decision in tags of the failed run (:mod:`~captionacc_dagster.dagster_internals.tags`).
That it could not carry the decision out is only said by the message of an engine event. After a release that
words it otherwise, such a run counts as failed for good, and its video has to be retried by hand.
"""

import dagster as dg

from captionacc_dagster.dagster_internals.tags import AUTO_RETRY_RUN_ID_TAG, WILL_RETRY_TAG

#: Of ``dagster/_daemon/auto_run_reexecution/auto_run_reexecution.py``.
_FAILED_TO_RETRY = "Failed to retry run"


def will_be_retried(run: dg.DagsterRun) -> bool:
    """Return whether Dagster starts the failed run again, as another run."""
    return run.tags.get(WILL_RETRY_TAG) == "true"


def is_undecided(run: dg.DagsterRun) -> bool:
    """Return whether the daemon has not yet decided about the failed run."""
    return WILL_RETRY_TAG not in run.tags


def retry_run_id(run: dg.DagsterRun) -> str | None:
    """Return the id of the run that retries this one; None before Dagster has made it."""
    return run.tags.get(AUTO_RETRY_RUN_ID_TAG)


def retry_failed_to_start(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return whether Dagster decided to retry the run and could not start the retry.

    Its code server or its database did not answer at that moment. Dagster gives up at the first such error
    and then says that it will not retry. When the failure is reported to it again, it decides again.
    """
    if run.tags.get(WILL_RETRY_TAG) != "false":
        return False
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT)
    if not any(entry.dagster_event.message == _FAILED_TO_RETRY for entry in entries if entry.dagster_event):
        return False
    # Dagster may have made the retry's run without putting it into the queue.
    retry = instance.get_run_by_id(retry_run_id(run) or "")
    return retry is None or retry.status == dg.DagsterRunStatus.NOT_STARTED
