"""``/videos``: the videos that the caller may see, their names, and their end."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel

from captionacc_dagster.web.service.callers import CallerCatalog, CurrentCaller
from captionacc_dagster.web.service.desks import visible_video
from captionacc_dagster.web.service.models import Name, Request, Text, VideoAnswer

router = APIRouter(prefix="/videos", tags=["videos"])


class VideoList(BaseModel):
    """A page of videos, newest first. ``next``: the ``after`` of the next page, if there may be one."""

    videos: list[VideoAnswer]
    next: str | None


class Rename(Request):
    """A new name."""

    name: Name


@router.get("")
def list_videos(
    catalog: CallerCatalog,
    caller: CurrentCaller,
    q: Annotated[Text | None, Query(max_length=200, description="part of a name, or an id's start")] = None,
    after: Annotated[UUID | None, Query(description="last video of the previous page")] = None,
    in_work: Annotated[
        bool | None, Query(description="only videos that a run works on, or only others")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="most videos of a page")] = 100,
) -> VideoList:
    """Return the caller's videos, newest first. With ``q``: the newest that match, without further pages."""
    # The rows of other tenants are hidden anyway; naming the own one lets an index find the page.
    tenant = None if caller.is_operator else caller.tenant_id
    if q:
        found = catalog.search_videos(q, tenant_id=tenant, limit=limit)
        return VideoList(videos=[VideoAnswer.of(row) for row in found], next=None)
    before = catalog.get_video(str(after)) if after else None
    rows = catalog.list_videos(limit, tenant_id=tenant, in_work=in_work, before=before)
    last = rows[-1].video_id if len(rows) == limit else None
    return VideoList(videos=[VideoAnswer.of(row) for row in rows], next=last)


@router.get("/{video_id}")
def get_video(video_id: UUID, catalog: CallerCatalog) -> VideoAnswer:
    """Return a video."""
    return VideoAnswer.of(visible_video(video_id, catalog))


@router.patch("/{video_id}")
def rename_video(video_id: UUID, body: Rename, catalog: CallerCatalog) -> VideoAnswer:
    """Change the name that people see. Files and results keep theirs."""
    visible_video(video_id, catalog)
    return VideoAnswer.of(catalog.rename_video(str(video_id), body.name))


@router.delete("/{video_id}", status_code=204)
def delete_video(video_id: UUID, catalog: CallerCatalog) -> None:
    """Delete a video: its work ends at once, its files are removed some days later. May be repeated."""
    if catalog.get_video(str(video_id)).deleted_at is None:
        catalog.soft_delete_video(str(video_id))
