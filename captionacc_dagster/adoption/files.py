"""The predecessor's objects of one video: which there are, under which of its keys.

Its writers disagreed on keys. Chunks are under ``T/V/cropped_frames_vN/…``, without ``client/videos/``,
where its newest code wrote them, or under the intended prefix. Extents are one un-versioned key, or one for
each run in older code. Databases may lack the ``.gz``, or have it without being gzipped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from captionacc_dagster.adoption.rows import OldVideo
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.frame_index import ChunkRef, chunks
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectInfo, ObjectStore

_FRAME = re.compile(r"frame_(\d{6,7})\.jpg")
_CHUNK = re.compile(r"cropped_frames_v(\d{1,6})/modulo_(\d{1,3})/chunk_(\d{4,10})\.webm")
#: Databases by name, with the names that each has had, the newest first.
_DATABASES: Mapping[str, tuple[str, ...]] = {
    "layout": ("layout.db.gz", "layout.db"),
    "captions": ("captions.db.gz", "captions.db"),
    "raw_ocr": ("raw-ocr.db.gz", "raw-ocr.db", "fullOCR.db.gz", "fullOCR.db"),
    "extents": ("caption_frame_extents.db.gz", "caption_frame_extents.db"),
}


@dataclass(frozen=True)
class OldFiles:
    """A video's objects. Empty objects count as missing, except for the upload."""

    upload: ObjectInfo | None = None
    #: Full frames and their thumbnails by index, in tenths of a second.
    frames: Mapping[int, ObjectInfo] = field(default_factory=dict)
    thumbnails: Mapping[int, ObjectInfo] = field(default_factory=dict)
    #: Databases by name: ``layout``, ``captions``, ``raw_ocr``, ``extents``.
    databases: Mapping[str, ObjectInfo] = field(default_factory=dict)
    #: Chunks by version, in this platform's convention of names.
    chunks: Mapping[int, Mapping[ChunkRef, ObjectInfo]] = field(default_factory=dict)
    #: Versions that also have chunks by another convention (overlapping levels, other numbers).
    foreign_chunks: Mapping[int, int] = field(default_factory=dict)

    def missing_chunks(self, version: int, frame_count: int) -> list[ChunkRef]:
        """Return the chunks that a video of ``frame_count`` frames needs and the version lacks."""
        found = self.chunks.get(version, {})
        return [ref for ref in chunks(frame_count) if ref not in found]

    @property
    def newest_version(self) -> int | None:
        """The highest version that has chunks."""
        return max({*self.chunks, *self.foreign_chunks}, default=None)


def list_files(store: ObjectStore, video: OldVideo) -> OldFiles:
    """List a video's objects. Raises ``InvalidIdError`` and :class:`~modal_gpu.errors.StorageError`."""
    keys = video.keys
    listed = {
        info.key: info
        for prefix in _prefixes(keys)
        for info in store.list(prefix)
        if info.size or info.key == keys.video
    }
    upload = _upload(store, video, listed)
    version_chunks, foreign = _chunks(keys, listed.values())
    return OldFiles(
        upload=upload,
        frames=dict(_numbered(listed.values(), keys.full_frames_prefix)),
        thumbnails=dict(_numbered(listed.values(), keys.thumbnails_prefix)),
        databases=_databases(keys, listed),
        chunks=version_chunks,
        foreign_chunks=foreign,
    )


def _prefixes(keys: VideoKeys) -> Iterator[str]:
    yield keys.client_prefix
    yield keys.server_prefix
    yield f"{keys.tenant_id}/{keys.video_id}/"
    yield _former_runs(keys)


def _former_runs(keys: VideoKeys) -> str:
    """Return the prefix under which older code stored extents, one file for each run."""
    return f"videos/{keys.tenant_id}/{keys.video_id}/caption_frame_extents/"


def _upload(store: ObjectStore, video: OldVideo, listed: Mapping[str, ObjectInfo]) -> ObjectInfo | None:
    """Return the upload: the object that the row names, else the one at the usual key."""
    if video.storage_key and video.storage_key not in listed and video.storage_key != video.keys.video:
        try:
            return store.head(video.storage_key)
        except (ObjectNotFoundError, ValueError):
            pass
    return listed.get(video.storage_key) or listed.get(video.keys.video)


def _numbered(objects: Iterable[ObjectInfo], prefix: str) -> Iterator[tuple[int, ObjectInfo]]:
    for info in objects:
        if info.key.startswith(prefix) and (found := _FRAME.fullmatch(info.key.removeprefix(prefix))):
            yield int(found.group(1)), info


def _databases(keys: VideoKeys, listed: Mapping[str, ObjectInfo]) -> dict[str, ObjectInfo]:
    found = {}
    for name, variants in _DATABASES.items():
        places = [prefix + variant for variant in variants for prefix in _places(keys)]
        if key := next((key for key in places if key in listed), None):
            found[name] = listed[key]
    runs = [info for key, info in listed.items() if key.startswith(_former_runs(keys))]
    if "extents" not in found and runs:
        found["extents"] = max(runs, key=lambda info: info.last_modified)
    return found


def _places(keys: VideoKeys) -> tuple[str, str]:
    return keys.client_prefix, keys.server_prefix


def _chunks(
    keys: VideoKeys, objects: Iterable[ObjectInfo]
) -> tuple[dict[int, dict[ChunkRef, ObjectInfo]], dict[int, int]]:
    """Return the chunks by version, and the number of chunks of other conventions by version.

    The intended key wins over the one without ``client/videos/``.
    """
    former = f"{keys.tenant_id}/{keys.video_id}/"
    found: dict[int, dict[ChunkRef, ObjectInfo]] = {}
    foreign: dict[int, int] = {}
    for info in sorted(objects, key=lambda each: each.key.startswith(keys.client_prefix)):
        name = info.key.removeprefix(keys.client_prefix).removeprefix(former)
        if not (match := _CHUNK.fullmatch(name)):
            continue
        version, level, first = map(int, match.groups())
        try:
            ref = ChunkRef(level, first)
        except ValueError:
            foreign[version] = foreign.get(version, 0) + 1
            continue
        if len(match.group(3)) != 10:
            foreign[version] = foreign.get(version, 0) + 1
            continue
        found.setdefault(version, {})[ref] = info
    return found, foreign
