"""The sides that this platform has: a video's results, and a subtitle file."""

from dataclasses import replace
from pathlib import Path

from captionacc_dagster.comparison.pictures import stored_pictures
from captionacc_dagster.comparison.sides import (
    Side,
    SideChunks,
    SideLayout,
    captions_of,
    captions_of_cues,
    captions_of_file,
    layout_of,
)
from captionacc_dagster.operations.caption_edits import CaptionsMissingError, stored_captions
from captionacc_dagster.operations.layout_review import LayoutMissingError, stored_layout
from captionacc_dagster.operations.subtitle_files import ActiveVersion, current_version
from captionacc_dagster.resources.catalog import Catalog, VideoRow, WrongStateError
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.subtitle_files import MAX_BYTES, read_subtitles
from modal_gpu.captions.subtitles import timed_cues
from modal_gpu.frame_index import ChunkRef, chunks
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline


def platform_side(
    catalog: Catalog, object_store: ObjectStore, video: VideoRow, *, growing: Growing | None = None
) -> Side:
    """Return a video's results here.

    Its captions are the rows of captions.db, as the predecessor has them; with ``growing``, they are what
    viewers see. Raises :class:`DatabaseFileError` for a damaged file.
    """
    keys = VideoKeys(video.tenant_id, video.video_id)
    captions, note = None, ""
    try:
        rows = stored_captions(object_store, video)
        captions = (
            captions_of(rows, video.timeline)
            if growing is None
            else captions_of_cues(timed_cues(rows, video.timeline, growing))
        )
    except CaptionsMissingError as error:
        note = video.error or str(error)
    version = _version(catalog, video)
    side = Side("new", captions, _layout(object_store, video), note=note)
    if version is None:
        return side
    present = {info.key for info in object_store.list(keys.cropped_frames_prefix(version.version))}
    wanted = chunks(version.frame_count)
    stored = frozenset(ref for ref in wanted if keys.chunk(version.version, ref) in present)

    def fetch(ref: ChunkRef) -> bytes:
        return object_store.get(keys.chunk(version.version, ref))

    return replace(
        side,
        chunks=SideChunks(version.frame_count, stored),
        picture=stored_pictures(fetch, version.frame_count),
    )


def _version(catalog: Catalog, video: VideoRow) -> ActiveVersion | None:
    try:
        return current_version(catalog, video)
    except WrongStateError:
        return None


def _layout(object_store: ObjectStore, video: VideoRow) -> SideLayout | None:
    try:
        return layout_of(stored_layout(object_store, video), video.crop_region)
    except LayoutMissingError:
        return None


def file_side(path: Path, timeline: Timeline) -> Side:
    """Return the captions of a subtitle file of a video with this timeline.

    Raises :class:`~modal_gpu.captions.subtitle_files.SubtitleFileError`, and ``OSError``.
    """
    with path.open("rb") as stream:
        cues = read_subtitles(stream.read(MAX_BYTES + 1), str(path))
    return Side(path.name, captions_of_file(cues, timeline))
