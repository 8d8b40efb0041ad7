"""``priority_aging``: updates the priorities of runs in Dagster's queue, by age and by turns of tenants.

The run queue reads ``dagster/priority`` of each queued run before each launch, so changing the tag is enough.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg

from captionacc_dagster.dagster_internals.run_statuses import IN_PROGRESS_RUN_STATUSES
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.runs.priority import AgeBoost, Waiting, aged, turns
from captionacc_dagster.runs.tags import (
    AGE_BOOSTING,
    PARTITION,
    PRIORITY,
    QUEUE_PRIORITY,
    TENANT_ID,
    UNAGED,
    WAITING_SINCE,
    RunTags,
    age_boost,
    busy_tenants,
    found_work,
)
from modal_gpu.errors import CaptionAccError

#: Queued runs that a tick reads, oldest first, and how many of their tags it writes.
LOOKED_AT = 2000
BATCH = 200


@dg.sensor(
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Updates the priority of queued runs: waiting counts, and a tenant's next run gets its whole "
        "priority as soon as none of the tenant's is in progress. Tags runs that people launched in the UI."
    ),
)
def priority_aging(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """Write the tags that change. The cost grows with the queue, whose length the claims bound."""
    instance = context.instance
    queued = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), limit=LOOKED_AT, ascending=True
    )
    if not queued:
        return dg.SensorResult(skip_reason="no run is queued")
    now = datetime.now(UTC)
    at_work = instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES), limit=LOOKED_AT)
    tagged = _with_found_tags(queued, RunTags(catalog, instance, lambda: now), catalog, context)
    changes = changed_tags(tagged, busy_tenants(at_work), now, age_boost())
    for run_id, tags in changes[:BATCH]:
        instance.add_run_tags(run_id, tags)
    left = f", {len(changes) - BATCH} more at the next tick" if len(changes) > BATCH else ""
    return dg.SensorResult(
        skip_reason=f"{len(queued)} runs queued, tags of {min(len(changes), BATCH)} changed{left}"
    )


def changed_tags(
    queue: list[tuple[str, dict[str, str], dict[str, str]]],
    at_work: set[str],
    now: datetime,
    boost: AgeBoost,
) -> list[tuple[str, dict[str, str]]]:
    """Return the tags to write for each run, the highest queue priority first.

    ``queue``: each run's id, the tags that it has and those that it gets in any case, oldest first.
    ``at_work``: tenants with a run in progress.
    """
    whole: dict[str, dict[str, str]] = {}
    waiting = []
    for run_id, has, gets in queue:
        tags = has | gets
        if not {TENANT_ID, UNAGED, WAITING_SINCE} <= tags.keys():
            continue
        since = datetime.fromisoformat(tags[WAITING_SINCE]) if tags.get(AGE_BOOSTING) != "off" else None
        priority = aged(int(tags[UNAGED]), since, now, boost)
        whole[run_id] = gets | {PRIORITY: str(priority)}
        waiting.append(Waiting(run_id, tags[TENANT_ID], priority))
    priorities = turns(waiting, at_work)
    has_now = {run_id: has for run_id, has, _ in queue}
    changes = []
    for run_id, tags in whole.items():
        new = tags | {QUEUE_PRIORITY: str(priorities[run_id])}
        changed = {name: value for name, value in new.items() if has_now[run_id].get(name) != value}
        if changed:
            changes.append((run_id, changed))
    return sorted(changes, key=lambda change: -priorities[change[0]])


def _with_found_tags(
    queued: Sequence[dg.RunRecord],
    tags: RunTags,
    catalog: Catalog,
    context: dg.SensorEvaluationContext,
) -> list[tuple[str, dict[str, str], dict[str, str]]]:
    """Return each run's id with its tags and, if the platform has not tagged it, those that it needs."""
    result = []
    found = 0
    for record in queued:
        run = record.dagster_run
        gets: dict[str, str] = {}
        if TENANT_ID not in run.tags and PARTITION in run.tags and found < BATCH:
            found += 1
            try:
                gets = tags.whole(found_work(run, catalog, record.create_timestamp.astimezone(UTC)))
            except CaptionAccError as error:
                context.log.info(f"run {run.run_id} is not tagged: {error}")
        result.append((run.run_id, dict(run.tags), gets))
    return result
