"""Records that nobody reads any more: old outcomes, the old audit log, events of Dagster's runs."""

from collections.abc import Iterator
from functools import partial

from captionacc_dagster.dagster_internals.retention import can_trim, count_events, trim_events
from captionacc_dagster.operations.upkeep.findings import DAY_SECONDS, Finding, Workplace

#: Clients that were away for longer read everything again.
LIVE_EVENT_DAYS = 1.0


def old_records(work: Workplace) -> Iterator[Finding]:
    """Delete records that are older than the policy's retention times."""
    catalog, policy = work.catalog, work.policy
    seconds = policy.outcome_days * DAY_SECONDS
    if count := catalog.count_stage_outcomes(seconds):
        yield work.handle(
            "old records",
            "stage outcomes",
            _detail(count, policy.outcome_days),
            partial(catalog.purge_stage_outcomes, seconds),
        )
    for subject, purge, kept_days in (
        ("backfills", catalog.purge_backfills, policy.outcome_days),
        ("requests", catalog.purge_requests, policy.outcome_days),
        ("audit log", catalog.purge_audit_log, policy.audit_days),
        ("live events", catalog.purge_events, LIVE_EVENT_DAYS),
        ("jobs", catalog.purge_jobs, policy.outcome_days),
    ):
        if count := purge(kept_days * DAY_SECONDS, dry_run=True):
            action = partial(purge, kept_days * DAY_SECONDS)
            yield work.handle("old records", subject, _detail(count, kept_days), action)
    days = policy.event_days
    if can_trim(work.instance) and (count := count_events(work.instance, days)):
        action = partial(trim_events, work.instance, days)
        yield work.handle("old records", "events of runs", _detail(count, days), action)


def _detail(count: int, days: float) -> str:
    return f"{count:,} older than {days:g} days"
