"""``backfills``: requests runs for videos chosen for a newer extents model, a few at a time, last of all."""

from collections.abc import Sequence

import dagster as dg

from captionacc_dagster.assets.versions import EXTENTS
from captionacc_dagster.jobs import captions_job
from captionacc_dagster.resources.catalog import BackfillClaim, Catalog
from captionacc_dagster.runs.keys import backfill_run_key
from captionacc_dagster.runs.priority import BACKFILL
from captionacc_dagster.runs.tags import BACKFILL_TAG, RunTags, Work
from captionacc_dagster.sensors.claims import BATCH, CLAIM_SECONDS, Claim, claims_of_tick, tick_result
from captionacc_dagster.settings import get_settings

#: A run may wait behind others for days. After this many claims (three months) none will begin.
MAX_CLAIMS = 10_000
#: The frames are cropped already; their extents, and what depends on them, are computed again.
ASSETS = (EXTENTS, "captions_db", "caption_ocr", "subtitles")


@dg.sensor(
    job=captions_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Requests runs, with the lowest priority and a few at a time, for videos that `captionacc backfill` "
        "chose for a newer extents model; records how those requested have ended."
    ),
)
def backfills(context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]) -> dg.SensorResult:
    """Request a run for each claimed video. A tick's cost grows with what it claims, not with what waits."""
    at_once = get_settings().backfill_queue
    with claims_of_tick("backfills", catalog, context.instance) as claims:
        claimed = catalog.claim_backfill_videos(
            BATCH, restart_after_seconds=CLAIM_SECONDS, max_unstarted=MAX_CLAIMS, at_once=at_once
        )
        claims.add(
            Claim("backfill", claim.video_id, claim.backfill_id, backfill_run_key(claim)) for claim in claimed
        )
        return tick_result(
            context,
            claims,
            backfill_run_requests(claimed, RunTags(catalog, context.instance)),
            seen=f"no video of a backfill is due, at most {at_once} run at once",
        )


def backfill_run_requests(claims: Sequence[BackfillClaim], tags: RunTags) -> list[dg.RunRequest]:
    """Return a run request for each claim, in their order, in which tenants take turns."""
    return [
        dg.RunRequest(
            run_key=backfill_run_key(claim),
            partition_key=claim.partition_key,
            asset_selection=[dg.AssetKey(name) for name in ASSETS],
            tags=run_tags | {BACKFILL_TAG: claim.backfill_id},
        )
        for claim, run_tags in zip(claims, tags.of([_work(claim) for claim in claims]), strict=True)
    ]


def _work(claim: BackfillClaim) -> Work:
    return Work(
        job=captions_job.name,
        tenant_id=claim.tenant_id,
        video_id=claim.video_id,
        partition_key=claim.partition_key,
        event="backfill",
        trigger="backfills",
        size_bytes=claim.size_bytes,
        waiting_since=claim.created_at,
        age_boosting=False,
        override=BACKFILL,
    )
