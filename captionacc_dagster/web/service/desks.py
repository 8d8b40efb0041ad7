"""A caller's video, its captions and its pictures, as dependencies of routes.

Those that wait for nothing are coroutines, because FastAPI gives every other one to a thread.
"""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from captionacc_dagster.operations.kept_bytes import KeptBytes
from captionacc_dagster.operations.layout_review import LayoutMissingError, UnknownBoxError
from captionacc_dagster.operations.strip_pictures import PictureRangeError, StripPictures
from captionacc_dagster.operations.unfinished_captions import UnfinishedCaptions
from captionacc_dagster.resources.catalog import VideoDeletedError, VideoRow
from captionacc_dagster.web.service.callers import CallerCatalog, CurrentCaller
from captionacc_dagster.web.service.caption_desk import CaptionDesk
from captionacc_dagster.web.service.parts import Parts
from captionacc_dagster.web.service.problems import STATUSES
from modal_gpu.captions.subtitle_files import SubtitleFileError

#: In bytes. A list of 2,000 captions has about 1 MB.
_KEPT_ANSWERS = 32 * 1024 * 1024

STATUSES.update(
    {LayoutMissingError: 404, PictureRangeError: 404, SubtitleFileError: 422, UnknownBoxError: 409}
)


def visible_video(video_id: UUID, catalog: CallerCatalog) -> VideoRow:
    """Return a video that the caller may see. Raises ``UnknownVideoError`` and ``VideoDeletedError``."""
    video = catalog.get_video(str(video_id))
    if video.deleted_at is not None:
        raise VideoDeletedError(f"video {video_id} was deleted")
    return video


CallersVideo = Annotated[VideoRow, Depends(visible_video)]


async def strip_pictures(request: Request, parts: Parts) -> StripPictures:
    """Return the app's pictures, with what they keep in memory."""
    state = request.app.state
    if not hasattr(state, "strip_pictures"):
        state.strip_pictures = StripPictures(parts.object_store)
    pictures: StripPictures = state.strip_pictures
    return pictures


Pictures = Annotated[StripPictures, Depends(strip_pictures)]


async def kept_answers(request: Request) -> KeptBytes:
    """Return the app's answers that were made of files, under keys that change with these."""
    state = request.app.state
    if not hasattr(state, "kept_answers"):
        state.kept_answers = KeptBytes(_KEPT_ANSWERS)
    kept: KeptBytes = state.kept_answers
    return kept


KeptAnswers = Annotated[KeptBytes, Depends(kept_answers)]


async def unfinished_captions(request: Request, parts: Parts) -> UnfinishedCaptions:
    """Return the app's reader of what running stages have found, with what it keeps in memory."""
    state = request.app.state
    if not hasattr(state, "unfinished_captions"):
        state.unfinished_captions = UnfinishedCaptions(parts.object_store)
    found: UnfinishedCaptions = state.unfinished_captions
    return found


async def editor(caller: CurrentCaller) -> str:
    """Return the caller's name as the holder of locks."""
    return f"review page, {caller.name}"


Editor = Annotated[str, Depends(editor)]


async def caption_desk(
    parts: Parts,
    catalog: CallerCatalog,
    pictures: Pictures,
    unfinished: Annotated[UnfinishedCaptions, Depends(unfinished_captions)],
    answers: KeptAnswers,
    video: CallersVideo,
    editor: Editor,
) -> CaptionDesk:
    """Return the desk of the caller's video."""
    return CaptionDesk(parts, catalog, pictures, unfinished, answers, video, editor)


Desk = Annotated[CaptionDesk, Depends(caption_desk)]
