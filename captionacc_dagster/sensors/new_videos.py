"""``new_videos``: uploads become partitions, and their layout is asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from captionacc_dagster.assets.external import upload_event
from captionacc_dagster.jobs import layout_job
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.runs.keys import layout_run_key
from captionacc_dagster.runs.priority import round_robin
from captionacc_dagster.runs.tags import RunTags, Work
from captionacc_dagster.sensors.claims import (
    BATCH,
    Claim,
    Handed,
    claim_limits,
    handed_out,
    one_by_one,
    tick_result,
)
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.storage import ObjectStore

#: How long a row waits for its object.
GIVE_UP_AFTER = timedelta(days=1)


@dg.sensor(
    job=layout_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Claims videos that wait for their layout and whose object is in the bucket; adds the partition, "
        "records the upload and requests a layout run, once an attempt."
    ),
)
def new_videos(
    context: dg.SensorEvaluationContext,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> dg.SensorResult:
    """Each tick costs what is new: the claim is one indexed query however many videos there are."""
    with handed_out("new_videos", catalog, context.instance) as handed:
        claimed = catalog.claim_new_videos(BATCH, **claim_limits())
        handed.take(map(layout_claim, claimed))
        looked, refused = one_by_one(
            handed, claimed, layout_run_key, lambda video: _look(video, catalog, object_store, handed)
        )
        ready = [video for video, event in looked if event is not None]
        missing = len(looked) - len(ready)
        return tick_result(
            context,
            handed,
            layout_run_requests(ready, RunTags(catalog, context.instance), "new_videos"),
            [event for _, event in looked if event is not None],
            seen=f"{missing} claimed, no object is there yet" if missing else "no new video",
            refused=refused,
        )


def _look(
    video: VideoRow, catalog: Catalog, object_store: ObjectStore, handed: Handed
) -> dg.AssetMaterialization | None:
    """The upload as the UI shows it; ``None`` while the object is not there, which is waited for a day."""
    try:
        return upload_event(video, object_store)
    except ObjectNotFoundError:
        if datetime.now(UTC) - video.created_at > GIVE_UP_AFTER:
            message = f"there is no video at {video.storage_key}: upload it again"
            catalog.fail_stage(video.video_id, "layout", "new_videos", message, "ObjectNotFoundError")
            handed.drop(layout_run_key(video))
        else:
            handed.leave(layout_run_key(video))
        return None


def layout_claim(video: VideoRow) -> Claim:
    """What ``claim_new_videos`` handed out."""
    return Claim("layout", video.video_id, video.layout.attempts, layout_run_key(video))


def layout_run_requests(ready: Sequence[VideoRow], tags: RunTags, trigger: str) -> list[dg.RunRequest]:
    """A run for one attempt at each video, the tenants in turn."""
    in_turn = round_robin(ready, lambda video: video.tenant_id)
    return [
        dg.RunRequest(run_key=layout_run_key(video), partition_key=video.video_id, tags=run_tags)
        for video, run_tags in zip(
            in_turn, tags.of([_layout_work(video, trigger) for video in in_turn]), strict=True
        )
    ]


def _layout_work(video: VideoRow, trigger: str) -> Work:
    return Work(
        job=layout_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        event="upload" if video.layout.attempts <= 1 else "retry",
        trigger=trigger,
        size_bytes=video.size_bytes,
        waiting_since=video.uploaded_at or video.created_at,
        age_boosting=not video.disable_age_boosting,
    )
