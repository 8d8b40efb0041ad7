"""A reviewer's labels of text lines in a video's full frames, and the layout that follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from captionacc_dagster.operations.caption_edits import CaptionsMissingError, stored_captions
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from modal_gpu.databases.layout import Label, LayoutBox, LayoutFile, read_layout, write_layout
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.functions.layout import rebuild_layout
from modal_gpu.keys import VideoKeys
from modal_gpu.layout.lines import BoxKey
from modal_gpu.storage import ObjectStore

#: Longest wait for the lock of layout.db.
WAIT_SECONDS = 5.0


class LayoutMissingError(CaptionAccError):
    """A video has no layout yet."""


class UnknownBoxError(CaptionAccError):
    """A label for a text line that the layout does not have."""


@dataclass(frozen=True)
class FullFrames:
    """The full frames that are stored, with the text lines found on each so far."""

    indices: Sequence[int]
    layout: LayoutFile | None


def stored_layout(object_store: ObjectStore, video: VideoRow) -> LayoutFile:
    """Return a video's layout. Raises :class:`LayoutMissingError` if there is none yet."""
    try:
        return read_layout(object_store.get(VideoKeys(video.tenant_id, video.video_id).layout_db))
    except ObjectNotFoundError:
        raise LayoutMissingError(
            f"video {video.video_id} has no layout yet; `captionacc status {video.short_id}` shows why"
        ) from None


def frame_indices(object_store: ObjectStore, video: VideoRow) -> list[int]:
    """Return the indices of the full frames that are stored, sorted."""
    keys = VideoKeys(video.tenant_id, video.video_id)
    found = (keys.full_frame_index(info.key) for info in object_store.list(keys.full_frames_prefix))
    return sorted(index for index in found if index is not None)


def full_frames(object_store: ObjectStore, video: VideoRow) -> FullFrames:
    """Return the full frames that are there, before they are read as well."""
    indices = frame_indices(object_store, video)
    try:
        return FullFrames(indices, stored_layout(object_store, video))
    except LayoutMissingError:
        return FullFrames(indices, None)


def kept_zones(object_store: ObjectStore, video: VideoRow) -> set[int]:
    """Return the zones that stored captions are in: those of a removed zone may be people's."""
    try:
        return {caption.zone for caption in stored_captions(object_store, video)}
    except CaptionsMissingError:
        return set()


def label_boxes(
    catalog: Catalog,
    object_store: ObjectStore,
    video: VideoRow,
    labels: Mapping[BoxKey, Label],
    *,
    owner: str,
    analyse: bool = False,
) -> LayoutFile:
    """Set labels of text lines, and publish layout.db; with ``analyse`` its proposal follows from them.

    Raises :class:`LayoutMissingError`, :class:`UnknownBoxError`, and ``LockHeldError`` if a run holds the
    lock for :data:`WAIT_SECONDS`.
    """
    keys = VideoKeys(video.tenant_id, video.video_id)
    with catalog.lease(video.video_id, "layout", owner, wait_seconds=WAIT_SECONDS) as lease:
        before = stored_layout(object_store, video)
        unknown = labels.keys() - {(box.frame_index, box.box_index) for box in before.boxes}
        if unknown:
            frame, box = min(unknown)
            raise UnknownBoxError(f"the layout has no text line {box} in frame {frame}: load the page again")
        now = utc_now()
        after = replace(before, boxes=tuple(_labelled(box, labels, now) for box in before.boxes))
        if after.boxes != before.boxes:
            lease.check()
            object_store.put(keys.layout_db, write_layout(after), "application/gzip")
            catalog.bump_database_version(lease.token)
        if analyse:
            after = rebuild_layout(object_store, keys, before.frame_width, before.frame_height, lease.check)
            catalog.bump_database_version(lease.token)
    return after


def _labelled(box: LayoutBox, labels: Mapping[BoxKey, Label], now: str) -> LayoutBox:
    label = labels.get((box.frame_index, box.box_index))
    return box if label in (None, box.label) else replace(box, label=label, label_updated_at=now)
