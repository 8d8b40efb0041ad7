"""Uploads: a video is registered, its file goes to the bucket, and the upload is confirmed."""

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import Annotated, Literal
from uuid import UUID

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import ClientDisconnect

from captionacc_dagster.constants import VIDEO_SUFFIXES
from captionacc_dagster.resources.catalog import Catalog, VideoRow, WrongStateError
from captionacc_dagster.resources.upload_urls import upload_url
from captionacc_dagster.web.service.callers import CallerCatalog, CurrentCaller
from captionacc_dagster.web.service.desks import visible_video
from captionacc_dagster.web.service.models import Name, VideoAnswer
from captionacc_dagster.web.service.models import Request as Body
from captionacc_dagster.web.service.parts import Parts, ServiceParts
from captionacc_dagster.web.service.problems import Problem
from captionacc_dagster.web.service.starting import start_soon
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.keys import VideoKeys

router = APIRouter(prefix="/videos", tags=["uploads"])
#: Lifetime of a presigned URL.
URL_SECONDS = 6 * 3600
#: An upload in which nothing arrives for this long has ended.
IDLE_SECONDS = 60.0
#: Type of files whose sender does not know it; the name decides.
_ANY = "application/octet-stream"
MediaType = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9.+-]{1,60}/[A-Za-z0-9.+-]{1,80}$", max_length=150)
]


class Upload(Body):
    """A file that is about to be uploaded."""

    name: Name
    size: Annotated[int, Field(ge=1, le=2**62, description="in bytes")]
    type: MediaType = _ANY


class Target(BaseModel):
    """The place of the file: ``PUT`` with these headers, to another host or to this service.

    Another host takes a file of exactly the registered size and type only.
    """

    method: Literal["PUT"] = "PUT"
    url: str = Field(description="an absolute URL, or a path of this service")
    headers: dict[str, str]
    expires_at: datetime | None = Field(description="null: it does not expire")


class Registered(BaseModel):
    """A registered video, and where its file goes."""

    video_id: str
    upload: Target


@router.post("", status_code=201)
def register(body: Upload, parts: Parts, caller: CurrentCaller, catalog: CallerCatalog) -> Registered:
    """Register a file. Its size and type are checked here, its size again when it is confirmed."""
    name = _file_name(body.name)
    suffix = PurePosixPath(name).suffix.lower()
    if not (body.type.startswith("video/") or (body.type == _ANY and suffix in VIDEO_SUFFIXES)):
        raise Problem(
            415, f"{body.type} is not a video: send a file such as .mp4, .mkv or .webm", reason="type"
        )
    if body.size > parts.settings.max_upload_bytes:
        most = parts.settings.max_upload_bytes
        raise Problem(413, f"the file has {body.size} bytes, and {most} are allowed", reason="size")
    tenant_id = caller.tenant_id or str(parts.settings.tenant_id)
    keys = VideoKeys(tenant_id, str(uuid.uuid4()))
    url = upload_url(parts.object_store, keys.video, URL_SECONDS, size=body.size, content_type=body.type)
    video = catalog.register_upload(
        tenant_id, keys.video_id, keys.video, body.size, name, uploaded_by_user_id=caller.user_id
    )
    if url is None:
        target = Target(url=f"/videos/{video.video_id}/content", headers={}, expires_at=None)
    else:
        until = datetime.now(UTC) + timedelta(seconds=URL_SECONDS)
        target = Target(url=url, headers={"Content-Type": body.type}, expires_at=until)
    return Registered(video_id=video.video_id, upload=target)


@router.put("/{video_id}/content", status_code=204)
async def put_content(video_id: UUID, request: Request, parts: Parts, catalog: CallerCatalog) -> None:
    """Receive a registered file, where the bucket is a folder of this installation.

    Nothing is stored unless exactly the registered number of bytes arrives. It may be repeated until the
    upload is confirmed.
    """
    video = await run_sync(_uploading, catalog, video_id)

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in _exactly(request, video.size_bytes):
            yield piece
        # Another upload may have been confirmed meanwhile, and a run may read its file.
        await run_sync(_uploading, catalog, video_id)

    if await run_sync(parts.object_store.presigned_put, video.storage_key, 60) is not None:
        raise Problem(409, "the file goes to the URL that the registration answered", reason="wrong_place")
    try:
        await parts.object_store.put_stream(video.storage_key, pieces(), "video/mp4")
    except ClientDisconnect:
        raise Problem(400, "the upload broke off: send the file again", reason="incomplete") from None


@router.post("/{video_id}/confirm")
def confirm(video_id: UUID, parts: Parts, catalog: CallerCatalog) -> VideoAnswer:
    """Check that the file is there with its registered size, and let the video wait for its layout.

    409 if it is missing or has another size. May be repeated.
    """
    video = visible_video(video_id, catalog)
    if video.uploaded_at is None:
        video = catalog.confirm_upload(video.video_id, _stored_size(parts, video))
        start_soon(parts, "layout", video.video_id)
    return VideoAnswer.of(video)


def _uploading(catalog: Catalog, video_id: UUID) -> VideoRow:
    video = visible_video(video_id, catalog)
    if video.uploaded_at is not None:
        raise WrongStateError(f"video {video_id} is uploaded already: register another one")
    return video


def _stored_size(parts: ServiceParts, video: VideoRow) -> int:
    try:
        return parts.object_store.head(video.storage_key).size
    except ObjectNotFoundError:
        raise WrongStateError(
            f"the file of video {video.video_id} is not there yet: upload it first"
        ) from None


async def _exactly(request: Request, size: int) -> AsyncIterator[bytes]:
    """Yield the body. Raises :class:`Problem` unless it has ``size`` bytes, and when nothing arrives."""
    received = 0
    pieces = request.stream()
    while True:
        try:
            with anyio.fail_after(IDLE_SECONDS):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise Problem(
                408, f"nothing arrived for {IDLE_SECONDS:g} s", headers={"connection": "close"}
            ) from None
        if piece is None:
            break
        received += len(piece)
        if received > size:
            detail = f"the file has more than the {size} bytes that were registered"
            raise Problem(413, detail, headers={"connection": "close"})
        if piece:
            yield piece
    if received < size:
        raise Problem(400, f"{received} of {size} bytes arrived: send the complete file", reason="incomplete")


def _file_name(name: str) -> str:
    """Return the last part of a path, as some browsers send it."""
    return PureWindowsPath(name).name or name
