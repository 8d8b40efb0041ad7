"""Tags of every run of a video: the run queue sorts and limits by them, people filter by them."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import dagster as dg

from captionacc_dagster.dagster_internals.run_statuses import IN_PROGRESS_RUN_STATUSES
from captionacc_dagster.dagster_internals.tags import (
    BACKFILL_ID_TAG,
    PARTITION_NAME_TAG,
    PRIORITY_TAG,
    RUN_KEY_TAG,
    SENSOR_NAME_TAG,
)
from captionacc_dagster.partition_keys import name_of, video_id_of
from captionacc_dagster.resources.catalog import Catalog, TenantRow
from captionacc_dagster.runs.priority import BACKFILL, AgeBoost, Claim, Waiting, turns
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import CaptionAccError

# Dagster's UI shows these on every run, for people: the tenant's name, and the name in the partition key.
TENANT, VIDEO, TIER = "tenant", "video", "tier"
#: The requester: a sensor, the webhook, a command, or a person in the UI.
TRIGGER = "trigger"
#: The reason: ``upload``, ``approval``, ``text``, ``request``, ``backfill``, ``manual``.
EVENT = "event"
#: The whole priority; ``dagster/priority`` is half of it for a tenant's further runs.
PRIORITY = "priority"
#: ``on`` or ``off``: whether waiting adds to it.
AGE_BOOSTING = "age-boosting"

# Dagster's UI never shows tags with this prefix.
_HIDDEN = ".dagster/captionacc-"
TENANT_ID, VIDEO_ID = _HIDDEN + "tenant-id", _HIDDEN + "video-id"
#: The tenant and the job, ``{tenant}/layout``, by which the limit of a tenant's runs in progress counts. A
#: queued run that waits for its pool takes a slot of this limit from runs of the same job only.
#: All backfills share one value, ``backfill``, so that they never fill every slot.
TENANT_JOB = _HIDDEN + "tenant-job"
#: The inputs from which the whole priority is updated without the catalogue.
UNAGED, WAITING_SINCE = _HIDDEN + "unaged-priority", _HIDDEN + "waiting-since"
#: The backfill of the catalogue that a run belongs to.
BACKFILL_TAG = _HIDDEN + "backfill"
#: ``true``: a backfill's run computes everything again, also what the model in use has made.
AGAIN_TAG = "captionacc/again"

# Dagster's own.
PARTITION, BACKFILL_ID, QUEUE_PRIORITY = PARTITION_NAME_TAG, BACKFILL_ID_TAG, PRIORITY_TAG
RUN_KEY, SENSOR_NAME = RUN_KEY_TAG, SENSOR_NAME_TAG

#: Unfinished runs that are read at most to determine whose turn it is.
_MOST_RUNS = 2000


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work on one video for which a run is requested."""

    job: str
    tenant_id: str
    video_id: str
    partition_key: str
    event: str
    trigger: str
    size_bytes: int | None
    waiting_since: datetime
    age_boosting: bool = True
    override: int | None = None
    #: A person asked for it and waits for it.
    by_person: bool = False


def age_boost() -> AgeBoost:
    """Return the points for waiting, from the settings."""
    settings = get_settings()
    return AgeBoost(settings.age_points_an_hour, settings.age_points_limit, settings.age_minutes_a_point)


@dataclass
class RunTags:
    """Builds the tags of runs that are requested together; reads each tenant and the queue once."""

    catalog: Catalog
    instance: dg.DagsterInstance
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _tenants: dict[str, TenantRow] = field(default_factory=dict)

    def of(self, works: Sequence[Work]) -> list[dict[str, str]]:
        """Return the tags of runs that are requested together, which queue after the unfinished runs.

        Runs that are requested later through this object queue after these as well.
        """
        tags = [self.whole(work) for work in works]
        queue = [
            Waiting(str(number), work.tenant_id, int(whole[PRIORITY]))
            for number, (work, whole) in enumerate(zip(works, tags, strict=True))
        ]
        priorities = turns(queue, self._busy_tenants)
        self._busy_tenants.update(work.tenant_id for work in works if work.event != "backfill")
        return [
            whole | {QUEUE_PRIORITY: str(priorities[waiting.run])}
            for whole, waiting in zip(tags, queue, strict=True)
        ]

    def whole(self, work: Work) -> dict[str, str]:
        """Return all tags except ``dagster/priority``, which depends on the queue."""
        tenant = self.tenant(work.tenant_id)
        claim = Claim(
            base=self._base_priorities.get(tenant.tier, min(self._base_priorities.values(), default=0))
            + (get_settings().user_points if work.by_person else 0),
            size_bytes=work.size_bytes,
            waiting_since=work.waiting_since,
            age_boosting=work.age_boosting,
            override=work.override,
        )
        return {
            TENANT: tenant.name,
            VIDEO: name_of(work.partition_key),
            TENANT_ID: work.tenant_id,
            VIDEO_ID: work.video_id,
            TENANT_JOB: "backfill" if work.event == "backfill" else f"{work.tenant_id}/{work.job}",
            TIER: tenant.tier,
            PRIORITY: str(claim.priority(self.now(), age_boost())),
            AGE_BOOSTING: "on" if work.age_boosting else "off",
            UNAGED: str(claim.unaged),
            WAITING_SINCE: work.waiting_since.isoformat(),
            TRIGGER: work.trigger,
            EVENT: work.event,
        }

    def tenant(self, tenant_id: str) -> TenantRow:
        """Return a tenant's row. Raises ``UnknownTenantError``."""
        if tenant_id not in self._tenants:
            self._tenants[tenant_id] = self.catalog.get_tenant(tenant_id)
        return self._tenants[tenant_id]

    @cached_property
    def _base_priorities(self) -> dict[str, int]:
        return {tier.tier: tier.base_priority for tier in self.catalog.list_access_tiers()}

    @cached_property
    def _busy_tenants(self) -> set[str]:
        statuses = [dg.DagsterRunStatus.QUEUED, *IN_PROGRESS_RUN_STATUSES]
        runs = self.instance.get_runs(dg.RunsFilter(statuses=statuses), limit=_MOST_RUNS)
        return busy_tenants(runs)


def busy_tenants(runs: Iterable[dg.DagsterRun]) -> set[str]:
    """Return the tenants of the runs. Backfills do not count: nobody waits for them."""
    waited_for = (run for run in runs if run.tags.get(EVENT) != "backfill")
    return {run.tags[TENANT_ID] for run in waited_for if TENANT_ID in run.tags}


def found_work(run: dg.DagsterRun, catalog: Catalog, queued_at: datetime) -> Work:
    """Return the work of a run without the platform's tags, such as one launched in the UI.

    Raises :class:`~captionacc_dagster.resources.catalog.UnknownVideoError` for a partition without a row.
    """
    video = catalog.get_video(video_id_of(run.tags[PARTITION]))
    backfill = BACKFILL_ID in run.tags
    chosen = run.tags.get(QUEUE_PRIORITY, "")
    override = int(chosen) if chosen.removeprefix("-").isdecimal() else BACKFILL if backfill else None
    return Work(
        job=run.job_name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        partition_key=run.tags[PARTITION],
        event="backfill" if backfill else "manual",
        trigger="ui",
        size_bytes=video.size_bytes,
        waiting_since=queued_at,
        age_boosting=not backfill,
        override=override,
    )


def tag_run(catalog: Catalog, instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Give a run that people launched the tags of other runs, unless it got them in the queue.

    ``priority_aging`` tags queued runs; one that leaves the queue before its next tick is tagged here. A run
    goes on without tags if the catalogue does not answer.
    """
    if TENANT_ID in run.tags or PARTITION not in run.tags:
        return
    now = instance.get_run_by_id(run.run_id)
    if now is None or TENANT_ID in now.tags:
        return
    with suppress(CaptionAccError):
        work = found_work(now, catalog, datetime.now(UTC))
        instance.add_run_tags(run.run_id, RunTags(catalog, instance).whole(work))
