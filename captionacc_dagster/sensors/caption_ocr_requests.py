"""``caption_ocr_requests``: captions whose text no run has read, or is reading, are read by one."""

import dagster as dg

from captionacc_dagster.jobs import caption_text_job
from captionacc_dagster.priority import round_robin
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.sensors.claims import BATCH, claim_limits
from captionacc_dagster.sensors.tags import RunTags, Work


@dg.sensor(
    job=caption_text_job,
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sees videos with captions whose text is still to be read: after a retry, or when the run that made "
        "the captions did not go on to their text."
    ),
)
def caption_ocr_requests(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """One run for each attempt at the text of one crop-region version."""
    waiting = catalog.pending_text(BATCH, **claim_limits())
    if not waiting:
        return dg.SensorResult(skip_reason=f"no caption waits for its text (claims at most {BATCH} a tick)")
    in_turn = round_robin(waiting, lambda video: video.tenant_id)
    tags = RunTags(catalog, context.instance).of([_text_work(video) for video in in_turn])
    requests = [
        dg.RunRequest(run_key=text_run_key(video), partition_key=video.video_id, tags=run_tags)
        for video, run_tags in zip(in_turn, tags, strict=True)
    ]
    return dg.SensorResult(run_requests=requests)


def text_run_key(video: VideoRow) -> str:
    """Names one attempt; a second tick asks for the same key."""
    return f"text/{video.video_id}/{video.crop_region_version}/{video.text_attempts}"


def _text_work(video: VideoRow) -> Work:
    return Work(
        job=caption_text_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        event="text",
        trigger="caption_ocr_requests",
        size_bytes=video.size_bytes,
        waiting_since=video.boundaries_finished_at or video.updated_at,
        age_boosting=not video.disable_age_boosting,
    )
