"""``new_videos``: adds partitions for uploads and requests their layout."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from captionacc_dagster.assets.external import upload_event
from captionacc_dagster.jobs import layout_job, video_job
from captionacc_dagster.partition_keys import partition_key_for
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.runs.keys import layout_run_key
from captionacc_dagster.runs.priority import round_robin
from captionacc_dagster.runs.tags import RunTags, Work
from captionacc_dagster.sensors.claims import (
    BATCH,
    Claim,
    TickClaims,
    apply_to_each,
    claim_limits,
    claims_of_tick,
    tick_result,
)
from captionacc_dagster.settings import get_settings
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.storage import ObjectStore

#: A row whose object is missing for this long ends in an error.
GIVE_UP_AFTER = timedelta(days=1)


@dg.sensor(
    jobs=[layout_job, video_job],
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Claims videos that wait for their layout and whose object is in the bucket; adds the partition, "
        "records the upload and requests a run, once an attempt: of the layout, or of everything where the "
        "tenant's policy approves layouts."
    ),
)
def new_videos(
    context: dg.SensorEvaluationContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> dg.SensorResult:
    """Request a run for each new upload. The claim is one indexed query, for any number of videos."""
    with claims_of_tick("new_videos", catalog, context.instance) as claims:
        claimed = catalog.claim_new_videos(BATCH, **claim_limits())
        claims.add(map(layout_claim, claimed))
        claimed = with_partition_keys(catalog, claimed)
        looked, refused = apply_to_each(
            claims, claimed, layout_run_key, lambda video: _look(video, catalog, object_store, claims)
        )
        ready = [video for video, event in looked if event is not None]
        missing = len(looked) - len(ready)
        return tick_result(
            context,
            claims,
            layout_run_requests(ready, RunTags(catalog, context.instance), "new_videos"),
            [event for _, event in looked if event is not None],
            seen=f"{missing} claimed, no object is there yet" if missing else "no new video",
            refused=refused,
        )


def _look(
    video: VideoRow, catalog: Catalog, object_store: ObjectStore, claims: TickClaims
) -> dg.AssetMaterialization | None:
    """Return the upload's event, or None while the object is missing. After a day, fail the row."""
    try:
        return upload_event(video, object_store)
    except ObjectNotFoundError:
        if datetime.now(UTC) - video.created_at > GIVE_UP_AFTER:
            message = f"there is no video at {video.storage_key}: upload it again"
            catalog.fail_stage(video.video_id, "layout", "new_videos", message, "ObjectNotFoundError")
            claims.forget(layout_run_key(video))
        else:
            claims.postpone(layout_run_key(video))
        return None


def with_partition_keys(catalog: Catalog, claimed: Sequence[VideoRow]) -> list[VideoRow]:
    """Return claimed videos with their partition keys, which are fixed here for new ones."""
    keys = {
        video.video_id: partition_key_for(video.display_path, video.video_id)
        for video in claimed
        if video.named_partition is None and video.layout.tries == 0
    }
    named = {video.video_id: video for video in catalog.set_partition_keys(keys)} if keys else {}
    return [named.get(video.video_id, video) for video in claimed]


def layout_claim(video: VideoRow) -> Claim:
    """Return the claim on a video that the catalogue assigned."""
    return Claim("layout", video.video_id, video.layout.attempts, layout_run_key(video))


def layout_run_requests(ready: Sequence[VideoRow], tags: RunTags, trigger: str) -> list[dg.RunRequest]:
    """Return a run request for the present attempt at each video, with the tenants in turn."""
    in_turn = round_robin(ready, lambda video: video.tenant_id)
    works = [_layout_work(video, first_job(video, tags), trigger) for video in in_turn]
    return [
        dg.RunRequest(
            run_key=layout_run_key(video),
            partition_key=video.partition_key,
            tags=run_tags,
            job_name=work.job,
        )
        for video, work, run_tags in zip(in_turn, works, tags.of(works), strict=True)
    ]


def first_job(video: VideoRow, tags: RunTags) -> str:
    """Return the job that makes a video's layout: the one that goes on if a policy may approve it."""
    may_be_approved = tags.tenant(video.tenant_id).auto_approve_layout_confidence is not None
    # A region that a person approved stays, and captions that were made from it too.
    goes_on = get_settings().goes_on and may_be_approved and video.crop_region is None
    return video_job.name if goes_on else layout_job.name


def _layout_work(video: VideoRow, job: str, trigger: str) -> Work:
    return Work(
        job=job,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        partition_key=video.partition_key,
        event="upload" if video.layout.attempts <= 1 else "retry",
        trigger=trigger,
        size_bytes=video.size_bytes,
        waiting_since=video.uploaded_at or video.created_at,
        age_boosting=not video.disable_age_boosting,
        override=video.priority_override,
        # Only people ask for further attempts.
        by_person=video.layout.attempts > 1,
    )
