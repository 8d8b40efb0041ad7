"""``caption_ocr_requests``: captions whose text no run has read, or is reading, are read by one."""

import dagster as dg

from captionacc_dagster.jobs import caption_text_job
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.sensors.claims import BATCH, CLAIM_SECONDS, MAX_CLAIMS
from captionacc_dagster.sensors.tags import run_tags


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
    waiting = catalog.pending_text(BATCH, restart_after_seconds=CLAIM_SECONDS, max_unstarted=MAX_CLAIMS)
    if not waiting:
        return dg.SensorResult(skip_reason="no caption waits for its text")
    return dg.SensorResult(run_requests=[text_run_request(video) for video in waiting])


def text_run_request(video: VideoRow) -> dg.RunRequest:
    """A run for one attempt; a second tick asks for the same key."""
    return dg.RunRequest(
        run_key=f"text/{video.video_id}/{video.crop_region_version}/{video.text_attempts}",
        partition_key=video.video_id,
        tags=run_tags(video.tenant_id, video.video_id, "caption_ocr_requests"),
    )
