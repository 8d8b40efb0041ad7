"""Inference on finished videos, a few at a time and at once: what `captionacc infer` asks for.

A backfill is the way for many videos. This one makes a run for each video immediately, with a chosen
priority, and says of each how it ended.
"""

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import dagster as dg

from captionacc_dagster.dagster_internals.run_statuses import NOT_FINISHED_STATUSES
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.resources.catalog.rows.work import InferenceRun, RejectionType
from captionacc_dagster.runs.priority import BACKFILL
from captionacc_dagster.runs.tags import PARTITION, RunTags, Work
from modal_gpu.errors import CaptionAccError

_log = logging.getLogger(__name__)

#: Videos with more frames are rejected: the database of a run's pairs would be too large to read. More than
#: :data:`WARN_FRAMES` are worth a warning.
MOST_FRAMES, WARN_FRAMES = 200_000, 180_000
Priority = Literal["high", "low"]
Status = Literal["completed", "skipped", "rejected", "failed"]
#: Creates and queues a run. Parameters: job, run id, tags.
Submit = Callable[[str, str, Mapping[str, str]], None]


@dataclass(frozen=True)
class Inference:
    """The end of inference on a video. ``run_id`` and ``storage_key`` are those of the labels in use."""

    video: VideoRow
    status: Status
    run_id: str | None = None
    storage_key: str | None = None
    successful: int = 0
    total_pairs: int = 0
    message: str = ""

    @classmethod
    def of(cls, video: VideoRow, status: Status, labels: InferenceRun, message: str = "") -> "Inference":
        """Describe the labels that a model made of a video."""
        pairs = labels.total_pairs
        return cls(video, status, labels.run_id, labels.storage_key, pairs, pairs, message)


def without_a_run(catalog: Catalog, video: VideoRow, model: str, *, skip_if_exists: bool) -> Inference | None:
    """Return how inference on a video ends before it begins, or ``None`` if it needs a run.

    A rejection is recorded in the catalogue, if that answers.
    """
    if video.deleted_at is not None:
        return _rejected(catalog, video, "validation_failed", "the video was deleted", model)
    version = video.current_cropped_frames_version
    if version is None:
        why = "its frames are not cropped yet: approve its layout first"
        return _rejected(catalog, video, "validation_failed", why, model)
    if any(video.stage(stage).run_id for stage in ("boundaries", "text")):
        return _rejected(catalog, video, "queue_full", "a run works on it: try again when it is done", model)
    frames = video.frame_count or 0
    if frames > MOST_FRAMES:
        why = f"it has {frames} frames, more than {MOST_FRAMES}: divide the file"
        return _rejected(catalog, video, "frame_count_exceeded", why, model)
    labels = catalog.current_inference_run(video.video_id)
    if skip_if_exists and labels is not None and labels.model_version == model:
        return Inference.of(video, "skipped", labels, f"{model} has labelled version {version}")
    return None


def _rejected(catalog: Catalog, video: VideoRow, kind: RejectionType, message: str, model: str) -> Inference:
    try:
        catalog.record_rejection(
            video.tenant_id,
            kind,
            message,
            video_id=video.video_id,
            cropped_frames_version=video.current_cropped_frames_version,
            model_version=model,
            frame_count=video.frame_count,
        )
    except CaptionAccError as error:
        # The answer matters more than its record.
        _log.warning("the rejection of %s is not recorded: %s", video.display_path, error)
    return Inference(video, "rejected", message=message)


def request_runs(
    videos: Sequence[VideoRow], job: str, priority: Priority, tags: RunTags, submit: Submit
) -> dict[str, str]:
    """Queue a run of ``job`` for each video; return the runs' ids by the videos'."""
    now, run_ids = datetime.now(UTC), {}
    works = [_work(video, job, priority, now) for video in videos]
    for work, run_tags in zip(works, tags.of(works), strict=True):
        run_ids[work.video_id] = run_id = str(uuid.uuid4())
        submit(job, run_id, {**run_tags, PARTITION: work.partition_key})
    return run_ids


def _work(video: VideoRow, job: str, priority: Priority, now: datetime) -> Work:
    is_high = priority == "high"
    return Work(
        job=job,
        tenant_id=video.tenant_id,
        video_id=video.video_id,
        partition_key=video.partition_key,
        event="inference" if is_high else "backfill",
        trigger="infer",
        size_bytes=video.size_bytes,
        waiting_since=now,
        age_boosting=is_high and not video.disable_age_boosting,
        override=video.priority_override if is_high else BACKFILL,
        by_person=is_high,
    )


def is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return whether a run has ended; one that is gone has."""
    run = instance.get_run_by_id(run_id)
    return run is None or run.status not in NOT_FINISHED_STATUSES


def ended(catalog: Catalog, instance: dg.DagsterInstance, video: VideoRow, run_id: str) -> Inference:
    """Return how a run that has ended did: beyond a cost limit it is rejected, and made nothing."""
    video = catalog.get_video(video.video_id)
    labels = catalog.current_inference_run(video.video_id)
    run = instance.get_run_by_id(run_id)
    if labels is not None and labels.run_id == run_id:
        if run is not None and run.status == dg.DagsterRunStatus.SUCCESS:
            return Inference.of(video, "completed", labels)
        return Inference.of(video, "failed", labels, _failure(video) or "the run did not finish")
    rejection = catalog.newest_rejection(video.video_id)
    if rejection is not None and rejection.run_id == run_id:
        return Inference(video, "rejected", run_id, message=rejection.message)
    return Inference(video, "failed", run_id, message=_failure(video) or "the run made no labels")


def _failure(video: VideoRow) -> str:
    for stage in ("boundaries", "text"):
        details = video.stage(stage).error_details
        if video.stage(stage).status == "error" and details:
            return str(details.get("message", ""))
    return ""
