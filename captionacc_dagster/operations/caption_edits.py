"""People's edits of a video's captions: written under the lock of captions.db, with what follows from it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from captionacc_dagster.operations.subtitle_files import SubtitleFiles
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from modal_gpu.captions.edits import Change, Footage, Kind, apply, counts
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.subtitles import TimedCue, timed_cues
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

#: Decides what changes, from the captions as viewers see them.
Plan = Callable[[Sequence[TimedCue]], Sequence[Change]]
#: Makes a video's captions out of those that are stored.
Rewrite = Callable[[Sequence[Caption], Footage], Sequence[Caption]]


class CaptionsMissingError(CaptionAccError):
    """A video has no captions yet."""


@dataclass(frozen=True)
class Edited:
    """The result of an edit. ``is_written`` is false if nothing had to be written, or nothing was to be."""

    changes: Sequence[Change]
    before: Sequence[Caption]
    captions: Sequence[Caption]
    is_written: bool

    @property
    def counts(self) -> Mapping[Kind, int]:
        """The number of changes of each kind."""
        return counts(self.changes)


def footage_of(video: VideoRow, growing: Growing) -> Footage:
    """Return what edits have to know about a video. Raises ``WrongStateError`` before its layout is done."""
    media = video.media()
    return Footage(media.frame_count, media.duration_seconds, video.timeline, growing)


def stored_captions(object_store: ObjectStore, video: VideoRow) -> list[Caption]:
    """Return a video's captions. Raises :class:`CaptionsMissingError` if there are none yet."""
    try:
        return read_captions(object_store.get(VideoKeys(video.tenant_id, video.video_id).captions_db))
    except ObjectNotFoundError:
        raise CaptionsMissingError(
            f"video {video.video_id} has no captions yet; `captionacc status {video.short_id}` shows why"
        ) from None


def edit_captions(
    catalog: Catalog,
    object_store: ObjectStore,
    video: VideoRow,
    plan: Plan,
    *,
    owner: str,
    growing: Growing,
    dry_run: bool = False,
) -> Edited:
    """Make the changes that ``plan`` decides on, and publish captions.db and the subtitle files.

    ``plan`` sees the captions as they are while ``owner`` holds the lock. With ``dry_run`` no lock is taken
    and nothing is written; nor is anything if the captions stay as they are. Raises
    :class:`CaptionsMissingError`, :class:`~modal_gpu.captions.edits.EditError`, and ``LockHeldError`` if a
    run or another person holds the lock for half a minute.
    """
    changes: Sequence[Change] = ()

    def rewrite(before: Sequence[Caption], footage: Footage) -> Sequence[Caption]:
        nonlocal changes
        changes = plan(timed_cues(before, footage.timeline, growing))
        return apply(before, changes, footage)

    written = rewrite_captions(
        catalog, object_store, video, rewrite, owner=owner, growing=growing, dry_run=dry_run
    )
    return Edited(changes, written.before, written.after, written.is_written)


@dataclass(frozen=True)
class Rewritten:
    """The captions before and after a rewrite, and the row of the video that they belong to."""

    video: VideoRow
    before: Sequence[Caption]
    after: Sequence[Caption]
    is_written: bool


def rewrite_captions(
    catalog: Catalog,
    object_store: ObjectStore,
    video: VideoRow,
    rewrite: Rewrite,
    *,
    owner: str,
    growing: Growing,
    dry_run: bool = False,
    wait_seconds: float = 30,
) -> Rewritten:
    """Publish what ``rewrite`` makes of a video's captions: captions.db and the subtitle files.

    ``rewrite`` sees the captions as they are while ``owner`` holds the lock. With ``dry_run`` no lock is
    taken. Nothing is written if the captions stay as they are. Raises :class:`CaptionsMissingError`, what
    ``rewrite`` raises, and ``LockHeldError`` if another holds the lock for ``wait_seconds``.
    """
    keys = VideoKeys(video.tenant_id, video.video_id)
    leased = (
        nullcontext()
        if dry_run
        else catalog.lease(video.video_id, "captions", owner, wait_seconds=wait_seconds)
    )
    with leased as lease:
        # A run may have held the lock until now, and have changed the row.
        video = catalog.get_video(video.video_id)
        before = stored_captions(object_store, video)
        after = rewrite(before, footage_of(video, growing))
        is_written = lease is not None and after != before
        if lease is not None and is_written:
            lease.check()
            files = SubtitleFiles.of(catalog, video, after, growing)
            # captions.db is last: after a failure before it, the repeated edit writes all of them.
            files.put(object_store, keys)
            object_store.put(keys.captions_db, write_captions(after), "application/gzip")
            catalog.bump_database_version(lease.token)
            catalog.record_caption_count(lease.token, len(timed_cues(after, video.timeline, growing)))
    return Rewritten(video, before, after, is_written)
