"""The predecessor's side: its results for a video, read with :mod:`captionacc_dagster.adoption`."""

from collections.abc import Iterator, Sequence

from captionacc_dagster.adoption.errors import MAYBE_HIDDEN, RefusedVideoError
from captionacc_dagster.adoption.files import OldFiles
from captionacc_dagster.adoption.plan_layout import approved_region
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.rows import OldVersion, OldVideo
from captionacc_dagster.comparison.comparing import VideoComparison, compare_sides, not_compared
from captionacc_dagster.comparison.pictures import stored_pictures
from captionacc_dagster.comparison.platform import platform_side
from captionacc_dagster.comparison.sides import (
    Picture,
    Side,
    SideChunks,
    SideLayout,
    captions_of,
    layout_of,
    no_picture,
)
from captionacc_dagster.resources.catalog import Catalog, UnknownVideoError, VideoRow
from modal_gpu.captions.merging import captions_from_extents
from modal_gpu.databases.captions import Caption
from modal_gpu.errors import DatabaseFileError, InvalidIdError, ObjectNotFoundError
from modal_gpu.extents.decoder import decode, settings_for
from modal_gpu.frame_index import INDEX_RATE, ChunkRef
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline

#: What a video there that cannot be read raises; other errors are those of the connection.
_UNREADABLE = (DatabaseFileError, RefusedVideoError, InvalidIdError)


class NoPredecessorVideoError(UnknownVideoError):
    """A video that the predecessor does not have, or a tenant without videos there."""


def compare_video(
    predecessor: Predecessor, catalog: Catalog, object_store: ObjectStore, video: VideoRow, tolerance_ms: int
) -> VideoComparison:
    """Compare a video with the predecessor's video of the same id.

    Raises :class:`NoPredecessorVideoError`, and the errors of the connections.
    """
    found = predecessor.videos(video_id=video.video_id)
    if not found:
        raise NoPredecessorVideoError(
            f"the predecessor has no video {video.video_id}: `--with FILE` compares with a subtitle file"
        )
    versions = predecessor.versions(found[0].tenant_id).get(video.video_id, ())
    return _compared(predecessor, catalog, object_store, found[0], versions, video, tolerance_ms)


def compare_tenant(
    predecessor: Predecessor, catalog: Catalog, object_store: ObjectStore, tenant_id: str, tolerance_ms: int
) -> Iterator[VideoComparison]:
    """Compare all videos of a tenant that the predecessor has, except for deleted ones.

    Raises :class:`NoPredecessorVideoError` if there are none, and the errors of the connections.
    """
    videos = [old for old in predecessor.videos(tenant_id=tenant_id) if old.deleted_at is None]
    if not videos:
        raise NoPredecessorVideoError(
            f"the predecessor shows no videos of tenant {tenant_id}, so nothing was compared. {MAYBE_HIDDEN}"
        )
    versions = predecessor.versions(tenant_id)
    for old in videos:
        try:
            video = catalog.get_video(old.video_id)
        except (UnknownVideoError, InvalidIdError):
            yield not_compared(old.video_id, old.name, "it is not here: adopt it first")
            continue
        own = versions.get(old.video_id, ())
        yield _compared(predecessor, catalog, object_store, old, own, video, tolerance_ms)


def _compared(
    predecessor: Predecessor,
    catalog: Catalog,
    object_store: ObjectStore,
    old: OldVideo,
    versions: Sequence[OldVersion],
    video: VideoRow,
    tolerance_ms: int,
) -> VideoComparison:
    if video.deleted_at is not None:
        return not_compared(video.video_id, video.display_path, "it was deleted here")
    try:
        there = predecessor_side(predecessor, old, video.timeline, versions)
    except _UNREADABLE as error:
        return not_compared(video.video_id, video.display_path, f"old: {error}")
    try:
        here = platform_side(catalog, object_store, video)
    except DatabaseFileError as error:
        return not_compared(video.video_id, video.display_path, f"new: {error}")
    return compare_sides(video.video_id, video.display_path, there, here, tolerance_ms)


def predecessor_side(
    predecessor: Predecessor, video: OldVideo, timeline: Timeline, versions: Sequence[OldVersion] = ()
) -> Side:
    """Return the predecessor's results for a video; ``timeline`` is the video's.

    Its newest code made no captions.db. Captions are then those that its pair labels show, without texts.
    Raises :class:`DatabaseFileError` and :class:`RefusedVideoError`.
    """
    files = predecessor.files(video)
    captions, note = _captions(predecessor, video, files)
    layout = predecessor.layout(video, files)
    side_layout: SideLayout | None = None
    if layout is not None:
        approved = approved_region(layout, video, versions)
        side_layout = layout_of(layout.file, approved)
    chunks, picture = _chunks(predecessor, video, files)
    return Side(
        "old",
        None if captions is None else captions_of(captions, timeline),
        side_layout,
        chunks,
        note,
        picture,
    )


def _captions(
    predecessor: Predecessor, video: OldVideo, files: OldFiles
) -> tuple[tuple[Caption, ...] | None, str]:
    stored = predecessor.captions(video, files)
    if stored is not None:
        return stored.captions, "; ".join(stored.notes)
    extents = predecessor.extents(video, files)
    if extents is None:
        return None, "it has neither captions.db nor pair labels"
    if extents.is_mock:
        return None, "its pair labels are invented: the model was missing"
    count = extents.frame_count
    found = decode(extents.pairs, settings_for(extents.run.model_version))
    captions = captions_from_extents(found, count, video.duration_seconds or count / INDEX_RATE)
    note = "it has no captions.db: these captions are those of its pair labels, without texts"
    return tuple(captions), note


def _chunks(predecessor: Predecessor, video: OldVideo, files: OldFiles) -> tuple[SideChunks | None, Picture]:
    version = video.cropped_frames_version
    if version not in files.chunks:
        version = max(files.chunks, default=None)
    if version is None:
        return None, no_picture
    chosen, refs = version, frozenset(files.chunks[version])
    # A level's tail was never written there, so each chunk is full.
    longest = max((ref.members(2**31)[-1] + 1 for ref in refs), default=0)
    count = video.frame_count or longest

    def fetch(ref: ChunkRef) -> bytes:
        data = predecessor.chunk(files, chosen, ref)
        if data is None:
            raise ObjectNotFoundError(f"chunk {ref.first_index} of level {ref.level} is not there")
        return data

    return SideChunks(count, refs), stored_pictures(fetch, count)
