"""``/jobs``: work on videos that the caller asks for, follows and cancels."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.resources.catalog import Catalog, JobRow, JobType
from captionacc_dagster.web.service.callers import CallerCatalog, CurrentCaller
from captionacc_dagster.web.service.desks import visible_video
from captionacc_dagster.web.service.models import JobAnswer, Request
from captionacc_dagster.web.service.parts import Parts, ServiceParts
from captionacc_dagster.web.service.problems import Problem
from captionacc_dagster.web.service.starting import start_soon
from modal_gpu.contracts import LanguageTag
from modal_gpu.errors import CaptionAccError

router = APIRouter(prefix="/jobs", tags=["jobs"])
#: Finished jobs of ``state=recent``.
_RECENT = 50


class Parameters(Request):
    """Parameters of a job. ``format`` is an export's; ``languages`` are for jobs that read."""

    languages: Annotated[list[LanguageTag], Field(max_length=8)] | None = None
    format: Literal["srt", "vtt", "ass", "json"] = "srt"


class NewJob(Request):
    """The work: ``process`` is all of it, ``caption_text`` reads the captions again."""

    type: JobType
    video_id: UUID
    parameters: Parameters = Parameters()
    priority: Annotated[int, Field(ge=0, le=100, description="for operators only")] | None = None
    disable_age_boosting: Annotated[bool, Field(description="waiting gives the run no priority")] = False


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobAnswer]


@router.post("", status_code=202)
def create_job(body: NewJob, parts: Parts, caller: CurrentCaller, catalog: CallerCatalog) -> JobAnswer:
    """Request work on a video. While a job of this type is open for the video, it is the answer."""
    if body.priority is not None and not caller.is_operator:
        raise Problem(403, "only operators choose a priority", reason="operators_only")
    if body.type == "export" and body.parameters.languages is not None:
        raise Problem(422, "an export reads nothing: it has no languages", reason="invalid_request")
    video = visible_video(body.video_id, catalog)
    parameters = body.parameters.model_dump(exclude_none=True)
    if body.type != "export":
        del parameters["format"]
    if body.disable_age_boosting:
        catalog.set_age_boosting(video.video_id, True)
    job = catalog.create_job(
        video.video_id, body.type, parameters, priority=body.priority, requested_by=caller.name
    )
    if job.type == "export":
        return JobAnswer.of(_export(parts, catalog, job))
    if job.state == "queued" and job.type != "caption_text":
        stage: Literal["layout", "boundaries"] = "boundaries" if job.type == "captions" else "layout"
        start_soon(parts, stage, video.video_id)
    return JobAnswer.of(job)


@router.get("")
def list_jobs(
    catalog: CallerCatalog,
    caller: CurrentCaller,
    state: Annotated[
        Literal["active", "recent"],
        Query(description="active: waiting or running; recent: also finished ones"),
    ] = "active",
    video_id: Annotated[UUID | None, Query()] = None,
) -> JobList:
    """Return the caller's jobs, such as those that run after a page was loaded again."""
    tenant = None if caller.is_operator else caller.tenant_id
    video = str(video_id) if video_id else None
    rows = catalog.list_jobs(500, is_open=True, video_id=video, tenant_id=tenant)
    if state == "recent":
        rows += catalog.list_jobs(_RECENT, is_open=False, video_id=video, tenant_id=tenant)
    return JobList(jobs=[JobAnswer.of(row) for row in rows])


@router.get("/{job_id}")
def get_job(job_id: UUID, catalog: CallerCatalog) -> JobAnswer:
    """Return a job."""
    return JobAnswer.of(catalog.get_job(str(job_id)))


@router.delete("/{job_id}")
def cancel_job(job_id: UUID, caller: CurrentCaller, catalog: CallerCatalog) -> JobAnswer:
    """Cancel a job: its run and the run's remote calls are ended. A finished job stays as it is."""
    catalog.get_job(str(job_id))
    return JobAnswer.of(catalog.cancel_job(str(job_id), caller.name))


def _export(parts: ServiceParts, catalog: Catalog, job: JobRow) -> JobRow:
    """Make sure that the captions can be read, and answer where they are in the wanted format."""
    video = catalog.get_video(job.video_id)
    form = job.parameters.get("format", "srt")
    try:
        captions = stored_captions(parts.object_store, video)
    except CaptionAccError as error:
        return catalog.finish_export(job.job_id, None, str(error))
    result = {"format": form, "href": f"/videos/{video.video_id}/export.{form}", "rows": len(captions)}
    return catalog.finish_export(job.job_id, result)
