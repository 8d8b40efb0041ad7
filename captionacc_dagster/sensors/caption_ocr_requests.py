"""``caption_ocr_requests``: captions whose text no run has read, or is reading, are read by one.

Two kinds of work end in the same job: videos whose text is due, and requests of people to have the text
of some captions read anew. All requests of a video that wait are one run's: a second run of the same
video would take the stage away from the first.
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
    Handed,
    Refused,
    claim_limits,
    handed_out,
    one_by_one,
    tick_result,
)

#: A request of a video that is being read is looked at again so soon, and for a day.
REQUEST_SECONDS = 60
REQUEST_CLAIMS = 1440


@dg.sensor(
    job=caption_text_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Sees videos with captions whose text is still to be read (after a retry, or when the run that made "
        "the captions did not go on to their text), and requests to read captions anew."
    ),
)
def caption_ocr_requests(
    context: dg.SensorEvaluationContext, catalog: dg.ResourceParam[Catalog]
) -> dg.SensorResult:
    """One run for each attempt at the text of one crop-region version."""
    with handed_out("caption_ocr_requests", catalog, context.instance) as handed:
        works, busy, refused = _claimed_works(catalog, handed)
        in_turn = round_robin(works, lambda work: work[1].tenant_id)
        tags = RunTags(catalog, context.instance).of([work for _, work in in_turn]) if works else []
        return tick_result(
            context,
            handed,
            [
                dg.RunRequest(run_key=run_key, partition_key=work.video_id, tags=run_tags)
                for (run_key, work), run_tags in zip(in_turn, tags, strict=True)
            ],
            seen=f"{busy} videos with requests are being read" if busy else "no caption waits for its text",
            refused=refused,
        )


def _claimed_works(catalog: Catalog, handed: Handed) -> tuple[list[tuple[str, Work]], int, Refused | None]:
    """Runs to ask for by their keys, how many videos with requests are being read, and what is refused."""
    waiting = catalog.pending_text(BATCH, **claim_limits())
    handed.take(Claim("text", row.video_id, row.text.attempts, text_run_key(row)) for row in waiting)
    asked = catalog.claim_caption_ocr_requests(
        BATCH, **claim_limits() | {"restart_after_seconds": REQUEST_SECONDS, "max_unstarted": REQUEST_CLAIMS}
    )
    grouped = _by_video(asked)
    handed.take(
        Claim("request", request.id, request.attempts, requests_run_key(requests), REQUEST_SECONDS)
        for requests in grouped
        for request in requests
    )
    due = {video.video_id for video in waiting}
    works = [(text_run_key(video), _text_work(video)) for video in waiting]
    rows, refused = one_by_one(
        handed, grouped, requests_run_key, lambda requests: catalog.get_video(requests[0].video_id)
    )
    busy = 0
    # Whoever reads a video's text takes its requests along, one that is due as well.
    for requests, video in rows:
        run_key = requests_run_key(requests)
        if video.text.run_id is not None:
            busy += 1
            handed.drop(run_key)
        elif video.video_id in due:
            handed.drop(run_key)
        else:
            works.append((run_key, _requests_work(video, requests)))
    return works, busy, refused


def _by_video(asked: Sequence[CaptionOcrRequest]) -> list[list[CaptionOcrRequest]]:
    """The requests of each video, oldest first."""
    by_video: dict[str, list[CaptionOcrRequest]] = {}
    for request in asked:
        by_video.setdefault(request.video_id, []).append(request)
    return list(by_video.values())


def _requests_work(video: VideoRow, requests: Sequence[CaptionOcrRequest]) -> Work:
    return Work(
        job=caption_text_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        event="request",
        trigger="caption_ocr_requests",
        size_bytes=video.size_bytes,
        waiting_since=requests[0].created_at,
        age_boosting=not video.disable_age_boosting,
    )


def _text_work(video: VideoRow) -> Work:
    return Work(
        job=caption_text_job.name,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        event="text",
        trigger="caption_ocr_requests",
        size_bytes=video.size_bytes,
        waiting_since=video.boundaries.finished_at or video.updated_at,
        age_boosting=not video.disable_age_boosting,
    )
