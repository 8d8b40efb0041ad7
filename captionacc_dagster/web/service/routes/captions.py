"""Captions: list, correct, split, merge, remove, restore, confirm; subtitle files out and in."""

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from captionacc_dagster.operations.caption_review import (
    Edit,
    Make,
    Target,
    merge_captions,
    remove_caption,
    replace_captions,
    restore_caption,
    set_caption,
    split_caption,
)
from captionacc_dagster.web.service.caption_schemas import (
    CaptionId,
    CaptionMerge,
    CaptionPut,
    CaptionRestore,
    CaptionsOut,
    CaptionSplit,
    CaptionVersion,
    CaptionWanted,
    ChangedOut,
    EditsIn,
    EditsOut,
    ImportedOut,
    milliseconds,
)
from captionacc_dagster.web.service.desks import Desk
from captionacc_dagster.web.service.problems import Problem
from modal_gpu.captions.subtitle_files import MAX_BYTES
from modal_gpu.captions.subtitles import SubtitleFormat

router = APIRouter(prefix="/videos/{video_id}", tags=["captions"])

Caption = Annotated[int, Path(ge=1, le=2**63 - 1, description="id of a caption")]
_MEDIA_TYPES = {
    SubtitleFormat.srt: "application/x-subrip",
    SubtitleFormat.vtt: "text/vtt",
    SubtitleFormat.ass: "text/x-ssa",
    SubtitleFormat.json: "application/json",
}


@router.get("/captions", response_model=CaptionsOut)
def list_captions(
    desk: Desk,
    order: Annotated[
        str, Query(pattern="^(time|doubtful)$", description="by time, or doubtful captions first")
    ] = "time",
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Return a video's captions, with those still without text and those that were removed.

    While a run works on the video, what is ready is returned, and ``partial`` is true.
    """
    tag = desk.tag()
    headers = {"etag": tag, "cache-control": "private, no-cache"}
    if if_none_match == tag:
        return Response(status_code=304, headers=headers)
    found = desk.list_json(tag, doubtful_first=order == "doubtful")
    return Response(found, media_type="application/json", headers=headers)


@router.put("/captions/{caption_id}")
def put_caption(desk: Desk, caption_id: Caption, asked: CaptionPut) -> ChangedOut:
    """Set a caption's text, times or zone, and confirm it. An empty text removes it.

    409 with both texts if it has changed since it was read; 409 ``lock_held`` while a run writes captions.
    """
    start = None if asked.start_seconds is None else milliseconds(asked.start_seconds)
    end = None if asked.end_seconds is None else milliseconds(asked.end_seconds)
    make = set_caption(asked.text, start, end, zone=asked.zone, reviewed=asked.reviewed)
    return desk.edit(_one(caption_id, asked, make), asked.model_dump())


@router.post("/captions/{caption_id}/confirm")
def confirm_caption(desk: Desk, caption_id: Caption, asked: CaptionVersion) -> ChangedOut:
    """Confirm a caption as it is: runs keep it."""
    return desk.edit(_one(caption_id, asked, set_caption()), asked.model_dump())


@router.post("/captions/{caption_id}/split")
def split(desk: Desk, caption_id: Caption, asked: CaptionSplit) -> ChangedOut:
    """Make two captions of one."""
    make = split_caption(milliseconds(asked.at_seconds), asked.texts)
    return desk.edit(_one(caption_id, asked, make), asked.model_dump())


@router.post("/captions/merge")
def merge(desk: Desk, asked: CaptionMerge) -> ChangedOut:
    """Make one caption of several that follow each other."""
    targets = tuple(named.target for named in asked.captions)
    return desk.edit(Edit(targets, merge_captions(asked.text)), asked.model_dump())


@router.delete("/captions/{caption_id}")
def delete_caption(
    desk: Desk,
    caption_id: Caption,
    version: Annotated[str, Query(pattern="^[0-9a-f]{16}$", description="the version that was read")],
) -> ChangedOut:
    """Remove a caption from the subtitles; it can be restored."""
    asked = CaptionVersion(version=version)
    return desk.edit(_one(caption_id, asked, remove_caption()), asked.model_dump())


@router.post("/captions/{caption_id}/restore")
def restore(desk: Desk, caption_id: Caption, asked: CaptionRestore) -> ChangedOut:
    """Bring a removed caption back."""
    return desk.edit(_one(caption_id, asked, restore_caption(asked.text)), asked.model_dump())


@router.post("/captions", status_code=201)
def add_caption(desk: Desk, asked: CaptionWanted) -> ChangedOut:
    """Add a caption that no run found."""
    return desk.edit(Edit((), replace_captions([asked.wanted])), asked.model_dump())


@router.post("/captions/edits")
def make_edits(desk: Desk, asked: EditsIn) -> EditsOut:
    """Make several edits under one lease, each by itself: one that conflicts does not hold up the others."""
    return desk.edits(asked)


@router.get(
    "/export.{format}",
    response_class=Response,
    responses={200: {"content": {name: {} for name in _MEDIA_TYPES.values()}}},
)
def export(desk: Desk, format: SubtitleFormat) -> Response:
    """Return the captions as SubRip, WebVTT, ASS or JSON."""
    name = f'attachment; filename="captions.{format}"'
    return Response(
        desk.exported(format), headers={"content-disposition": name}, media_type=_MEDIA_TYPES[format]
    )


@router.post(
    "/import",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def import_(
    desk: Desk,
    request: Request,
    filename: Annotated[
        str, Query(min_length=5, max_length=200, description="ends in .srt, .vtt, .ass, .ssa")
    ],
    dry_run: bool = False,
) -> ImportedOut:
    """Make the captions of a corrected subtitle file, the request's body, the video's captions."""
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise Problem(413, f"a subtitle file has at most {MAX_BYTES // 1_000_000} MB")
    return await run_in_threadpool(desk.imported, bytes(data), filename, dry_run=dry_run)


def _one(caption_id: CaptionId, asked: CaptionPut | CaptionVersion, make: Make) -> Edit:
    return Edit((Target(caption_id, asked.version),), make)
