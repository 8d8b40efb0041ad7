"""Pictures of a video: frames and strips out of its chunks, full frames and their thumbnails."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from captionacc_dagster.operations.strip_pictures import Strips, find_strips
from captionacc_dagster.web.service.callers import CallerCatalog
from captionacc_dagster.web.service.desks import CallersVideo, Pictures
from captionacc_dagster.web.service.parts import Parts
from captionacc_dagster.web.service.problems import Problem
from modal_gpu.contracts import MAX_ZONES
from modal_gpu.databases.checked import MAX_FRAMES
from modal_gpu.keys import VideoKeys

router = APIRouter(prefix="/videos/{video_id}", tags=["pictures"])

Index = Annotated[int, Path(ge=0, lt=MAX_FRAMES, description="frame index, 10 a second")]
Zone = Annotated[int, Query(ge=0, lt=MAX_ZONES)]
#: Pictures are addressed with a version that never changes.
Version = Annotated[
    int | None, Query(ge=1, le=2**31 - 1, description="cropped_frames_version: such an answer is cached")
]
_WEBP: dict[int | str, dict[str, Any]] = {200: {"content": {"image/webp": {}}}}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}


@router.get("/frames/{index}.webp", response_class=Response, responses=_WEBP)
def frame(
    video: CallersVideo,
    catalog: CallerCatalog,
    pictures: Pictures,
    index: Index,
    zone: Zone = 0,
    version: Version = None,
) -> Response:
    """Return one frame of a caption strip."""
    strips = _asked(find_strips(catalog, video), version)
    return _picture(pictures.frame(video, strips, index, zone), version)


@router.get("/strips", response_class=Response, responses=_WEBP)
def strip(
    video: CallersVideo,
    catalog: CallerCatalog,
    pictures: Pictures,
    start: Annotated[int, Query(alias="from", ge=0, lt=MAX_FRAMES)],
    end: Annotated[int, Query(alias="to", ge=1, le=MAX_FRAMES, description="index after the last frame")],
    step: Annotated[int | None, Query(description="16, 4 or 1: the frames at these indices")] = None,
    zone: Zone = 0,
    version: Version = None,
) -> Response:
    """Return the median of a caption's frames, as OCR reads it; with ``step`` frames, one above the other."""
    strips = _asked(find_strips(catalog, video), version)
    if step is None:
        return _picture(pictures.median(video, strips, start, end, zone), version)
    indices = pictures.sheet_indices(strips, start, end, step, zone)
    response = _picture(pictures.sheet(video, strips, start, end, step, zone), version)
    response.headers["x-frame-indices"] = ",".join(map(str, indices))
    return response


@router.get("/full-frames/{index}.jpg", response_class=Response, responses=_JPEG)
def full_frame(video: CallersVideo, parts: Parts, index: Index, thumbnail: bool = False) -> Response:
    """Return a full frame that the layout was found on, as soon as it is there; or its thumbnail."""
    keys = VideoKeys(video.tenant_id, video.video_id)
    key = keys.thumbnail(index) if thumbnail else keys.full_frame(index)
    data = parts.object_store.get(key)
    return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=300"})


def _asked(strips: Strips, version: int | None) -> Strips:
    if version not in (None, strips.version):
        raise Problem(404, f"the frames are of version {strips.version} now", reason="unknown_version")
    return strips


def _picture(data: bytes, version: int | None) -> Response:
    cached = "private, max-age=31536000, immutable" if version else "private, no-cache"
    return Response(data, media_type="image/webp", headers={"cache-control": cached})
