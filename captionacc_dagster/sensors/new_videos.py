"""``new_videos``: uploads become partitions, and their layout is asked for."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg

from captionacc_dagster.assets.external import source_video
from captionacc_dagster.jobs import layout_job
from captionacc_dagster.partitions import videos
from captionacc_dagster.priority import round_robin
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.sensors.claims import BATCH, claim_limits
from captionacc_dagster.sensors.tags import RunTags, Work
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
    ready: list[VideoRow] = []
    events: list[dg.AssetMaterialization] = []
    claimed = catalog.claim_new_videos(BATCH, **claim_limits())
    for video in claimed:
        if not object_store.exists(video.storage_key):
            # Not requested, so the claim runs out and it is looked at again; not for ever.
            if datetime.now(UTC) - video.created_at > GIVE_UP_AFTER:
                message = f"there is no video at {video.storage_key}: upload it again"
                catalog.fail_stage(video.video_id, "layout", "new_videos", message, "ObjectNotFoundError")
            continue
        ready.append(video)
        events.append(upload_event(video, object_store))
    if not ready:
        seen = f"{len(claimed)} claimed, none of which has its object yet" if claimed else "no new video"
        return dg.SensorResult(skip_reason=f"{seen} (claims at most {BATCH} a tick)")
    return dg.SensorResult(
        dynamic_partitions_requests=[videos.build_add_request([video.video_id for video in ready])],
        asset_events=events,
        run_requests=layout_run_requests(ready, RunTags(catalog, context.instance), "new_videos"),
    )


def layout_run_requests(ready: Sequence[VideoRow], tags: RunTags, trigger: str) -> list[dg.RunRequest]:
    """A run for one attempt at each video, the tenants in turn."""
    in_turn = round_robin(ready, lambda video: video.tenant_id)
    return [
        dg.RunRequest(run_key=layout_run_key(video), partition_key=video.video_id, tags=run_tags)
        for video, run_tags in zip(
            in_turn, tags.of([_layout_work(video, trigger) for video in in_turn]), strict=True
        )
    ]


def layout_run_key(video: VideoRow) -> str:
    """Names one attempt. Dagster takes a run key once for ever, so a second tick does no harm."""
    return f"layout/{video.video_id}/{video.layout_attempts}"


def _layout_work(video: VideoRow, trigger: str) -> Work:
    return Work(
        job=layout_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        event="upload" if video.layout_attempts <= 1 else "retry",
        trigger=trigger,
        size_bytes=video.size_bytes,
        waiting_since=video.uploaded_at or video.created_at,
        age_boosting=not video.disable_age_boosting,
    )


def upload_event(video: VideoRow, object_store: ObjectStore) -> dg.AssetMaterialization:
    """What the UI shows of the upload; its data version is the object's own tag."""
    info = object_store.head(video.storage_key)
    return dg.AssetMaterialization(
        asset_key=source_video.key,
        partition=video.video_id,
        description=video.display_path,
        metadata={
            "file": dg.MetadataValue.text(video.display_path),
            "dagster/uri": dg.MetadataValue.path(video.storage_key),
            "size_bytes": info.size,
            "uploaded_at": dg.MetadataValue.timestamp(info.last_modified),
        },
        tags={"dagster/data_version": info.etag.strip('"')} if info.etag else None,
    )
