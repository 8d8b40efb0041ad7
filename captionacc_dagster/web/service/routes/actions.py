"""Decisions of people about a video: its layout, reading captions again, retries, the end of a review."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query

from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.resources.catalog import Catalog, Stage
from captionacc_dagster.web.service.callers import CallerCatalog, CurrentCaller
from captionacc_dagster.web.service.desks import visible_video
from captionacc_dagster.web.service.models import QueuedAnswer, Region, Request, VideoAnswer, Zone
from captionacc_dagster.web.service.parts import Parts, ServiceParts
from captionacc_dagster.web.service.problems import Problem
from captionacc_dagster.web.service.starting import start_soon
from modal_gpu.contracts import MAX_ZONES, check_zones

router = APIRouter(prefix="/videos", tags=["actions"])
NoAgeBoosting = Annotated[bool, Query(description="waiting gives the run no priority")]


class Approval(Request):
    """The places of captions. Without ``crop_region`` the proposed one is approved.

    Without ``zones`` those that were approved before stay, or at first the proposed ones.
    """

    crop_region: Region | None = None
    zones: list[Zone] | None = None


@router.post("/{video_id}/actions/approve-layout", status_code=202)
@router.post("/{video_id}/approve-layout", status_code=202, include_in_schema=False)
def approve_layout(
    video_id: UUID,
    parts: Parts,
    caller: CurrentCaller,
    catalog: CallerCatalog,
    body: Approval | None = None,
    disable_age_boosting: NoAgeBoosting = False,
) -> QueuedAnswer:
    """Approve a layout, and start the captions. A changed region or zone makes a new version."""
    visible_video(video_id, catalog)
    wanted = body or Approval()
    zones = wanted.zones
    if zones is not None and len({zone.zone_index for zone in zones}) != len(zones):
        raise Problem(422, f"two zones have the same index (1 to {MAX_ZONES - 1})", reason="invalid_request")
    catalog.approve_layout_by_person(
        str(video_id),
        caller.name,
        wanted.crop_region.crop_region() if wanted.crop_region else None,
        None if zones is None else check_zones(tuple(zone.caption_zone() for zone in zones)),
        disable_age_boosting=disable_age_boosting,
    )
    return start_soon(parts, "boundaries", str(video_id), wait=True)


@router.post("/{video_id}/captions/{caption_id}/request-ocr", status_code=202)
def request_ocr(
    video_id: UUID,
    caption_id: Annotated[int, Path(ge=1, le=2**63 - 1)],
    parts: Parts,
    caller: CurrentCaller,
    catalog: CallerCatalog,
    disable_age_boosting: NoAgeBoosting = False,
) -> QueuedAnswer:
    """Read a caption's text again. A sensor starts the run, for all requests of a video together."""
    _require_caption(parts, catalog, video_id, caption_id)
    if disable_age_boosting:
        catalog.set_age_boosting(str(video_id), True)
    request = catalog.request_caption_ocr(str(video_id), [caption_id], requested_by=caller.name)
    return QueuedAnswer(run_id=request.run_id, priority=0)


@router.post("/{video_id}/actions/retry/{stage}", status_code=202)
def retry(video_id: UUID, stage: Stage, parts: Parts, catalog: CallerCatalog) -> QueuedAnswer:
    """Let a failed stage wait for a run again."""
    visible_video(video_id, catalog)
    catalog.retry_stage(str(video_id), stage)
    if stage == "text":
        return QueuedAnswer(run_id=None, priority=0)
    return start_soon(parts, stage, str(video_id), wait=True)


@router.post("/{video_id}/actions/cancel/{stage}")
def cancel(video_id: UUID, stage: Stage, caller: CurrentCaller, catalog: CallerCatalog) -> VideoAnswer:
    """Cancel a stage that a run works on or that waits for one. The run and its remote call are ended."""
    visible_video(video_id, catalog)
    return VideoAnswer.of(catalog.cancel_stage(str(video_id), stage, caller.name))


@router.post("/{video_id}/actions/complete-review/{stage}")
def complete_review(
    video_id: UUID, stage: Literal["boundaries", "text"], catalog: CallerCatalog
) -> VideoAnswer:
    """Record that a person has reviewed the captions, or their text."""
    visible_video(video_id, catalog)
    return VideoAnswer.of(catalog.complete_review(str(video_id), stage))


def _require_caption(parts: ServiceParts, catalog: Catalog, video_id: UUID, caption_id: int) -> None:
    """Raise ``CaptionsMissingError``, or :class:`Problem` for an id that no caption has."""
    video = visible_video(video_id, catalog)
    if video.boundaries.status not in ("annotate", "done"):
        return  # The catalogue refuses with the reason.
    if all(caption.id != caption_id for caption in stored_captions(parts.object_store, video)):
        raise Problem(404, f"video {video_id} has no caption {caption_id}", reason="unknown_caption")
