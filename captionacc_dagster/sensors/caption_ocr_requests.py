"""``caption_ocr_requests``: requests runs for captions whose text is due, or that people want read again.

Both kinds of work are done by the same job. All waiting requests of a video go into one run: a second run of
the same video would take the stage away from the first.
"""

from collections.abc import Sequence

import dagster as dg

from captionacc_dagster.jobs import caption_text_job
from captionacc_dagster.resources.catalog import CaptionOcrRequest, Catalog, VideoRow
from captionacc_dagster.runs.keys import requests_run_key, text_run_key
from captionacc_dagster.runs.priority import round_robin
from captionacc_dagster.runs.tags import RunTags, Work
from captionacc_dagster.sensors.claims import (
    BATCH,
    Claim,
    Refused,
    TickClaims,
    apply_to_each,
    claim_limits,
    claims_of_tick,
    tick_result,
)

#: A request for a video whose text is being read is tried again after this time, and for a day.
REQUEST_SECONDS = 60
REQUEST_CLAIMS = 1440


@dg.sensor(
    job=caption_text_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Finds videos with captions whose text is due (after a retry, or when the run that made the captions "
        "did not go on to their text), and requests to read captions again."
    ),
)
def caption_ocr_requests(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """Request a run for each attempt at the text of a crop-region version, and for requests of people."""
    with claims_of_tick("caption_ocr_requests", catalog, context.instance) as claims:
        works, busy, refused = _claimed_works(catalog, claims)
        in_turn = round_robin(works, lambda work: work[1].tenant_id)
        tags = RunTags(catalog, context.instance).of([work for _, work in in_turn]) if works else []
        return tick_result(
            context,
            claims,
            [
                dg.RunRequest(run_key=run_key, partition_key=work.partition_key, tags=run_tags)
                for (run_key, work), run_tags in zip(in_turn, tags, strict=True)
            ],
            seen=f"{busy} videos with requests are being read" if busy else "no caption waits for its text",
            refused=refused,
        )


def _claimed_works(
    catalog: Catalog, claims: TickClaims
) -> tuple[list[tuple[str, Work]], int, Refused | None]:
    """Return works with their run keys, the number of videos with requests being read, and the failures."""
    waiting = catalog.pending_text(BATCH, **claim_limits())
    claims.add(Claim("text", row.video_id, row.text.attempts, text_run_key(row)) for row in waiting)
    asked = catalog.claim_caption_ocr_requests(
        BATCH, **claim_limits() | {"restart_after_seconds": REQUEST_SECONDS, "max_unstarted": REQUEST_CLAIMS}
    )
    grouped = _by_video(asked)
    claims.add(
        Claim("request", request.id, request.attempts, requests_run_key(requests), REQUEST_SECONDS)
        for requests in grouped
        for request in requests
    )
    due = {video.video_id for video in waiting}
    works = [(text_run_key(video), _text_work(video)) for video in waiting]
    rows, refused = apply_to_each(
        claims, grouped, requests_run_key, lambda requests: catalog.get_video(requests[0].video_id)
    )
    busy = 0
    # The run that reads a video's text also serves its requests, the run of a due text included.
    for requests, video in rows:
        run_key = requests_run_key(requests)
        if video.text.run_id is not None:
            busy += 1
            claims.forget(run_key)
        elif video.video_id in due:
            claims.forget(run_key)
        else:
            works.append((run_key, _requests_work(video, requests)))
    return works, busy, refused


def _by_video(asked: Sequence[CaptionOcrRequest]) -> list[list[CaptionOcrRequest]]:
    """Return the requests of each video, oldest first."""
    by_video: dict[str, list[CaptionOcrRequest]] = {}
    for request in asked:
        by_video.setdefault(request.video_id, []).append(request)
    return list(by_video.values())


def _requests_work(video: VideoRow, requests: Sequence[CaptionOcrRequest]) -> Work:
    return Work(
        job=caption_text_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        partition_key=video.partition_key,
        event="request",
        trigger="caption_ocr_requests",
        size_bytes=video.size_bytes,
        waiting_since=video.created_at,
        age_boosting=not video.disable_age_boosting,
        override=video.priority_override,
        by_person=True,
    )


def _text_work(video: VideoRow) -> Work:
    return Work(
        job=caption_text_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        partition_key=video.partition_key,
        event="text",
        trigger="caption_ocr_requests",
        size_bytes=video.size_bytes,
        waiting_since=video.boundaries.finished_at or video.updated_at,
        age_boosting=not video.disable_age_boosting,
        override=video.priority_override,
        by_person=video.text.attempts > 1,
    )
