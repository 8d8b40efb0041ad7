"""Captions and texts of a run that has not ended: of its finished segments, and what it has read so far.

Before a video's first captions are stored, those of the segments that are finished can be read. Later runs
leave the stored captions in place until they have ended; of those, only texts are added.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from captionacc_dagster.operations.strip_pictures import find_strips
from captionacc_dagster.resources.catalog import Catalog, VideoRow, WrongStateError
from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.segments import captions_of_segments
from modal_gpu.captions.text_parts import ReadText, read_text_parts
from modal_gpu.contracts import MAX_ZONES
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.extents import read_segment
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectInfo, ObjectStore

_KEPT = 32


@dataclass(frozen=True)
class Unfinished:
    """The objects that a video's running stages have stored so far.

    ``segments`` are by zone; ``complete`` has the zones whose segments are merged.
    """

    segments: Mapping[int, Sequence[ObjectInfo]] = field(default_factory=dict)
    complete: Mapping[int, ObjectInfo] = field(default_factory=dict)
    texts: Sequence[ObjectInfo] = ()

    @property
    def tag(self) -> tuple[tuple[str, str | None], ...]:
        """The objects with their entity tags: another one once there is more."""
        segments = (one for found in self.segments.values() for one in found)
        objects = [*segments, *self.complete.values(), *self.texts]
        return tuple((one.key, one.etag) for one in objects)


def find_unfinished(
    catalog: Catalog, object_store: ObjectStore, video: VideoRow, *, has_captions: bool
) -> Unfinished:
    """Return what the runs that work on a video have stored; nothing if none does.

    ``has_captions``: captions are stored already.
    """
    keys = VideoKeys(video.tenant_id, video.video_id)
    texts = _listed(object_store, keys.caption_text_parts) if video.text.run_id and has_captions else []
    segments: dict[int, Sequence[ObjectInfo]] = {}
    complete: dict[int, ObjectInfo] = {}
    if video.boundaries.run_id and not has_captions:
        with suppress(WrongStateError):
            strips = find_strips(catalog, video)
            for zone in strips.zones:
                if found := _listed(object_store, keys.caption_frame_extents_parts(strips.version, zone)):
                    segments[zone] = found
                else:
                    with suppress(ObjectNotFoundError):
                        complete[zone] = object_store.head(
                            keys.caption_frame_extents_db(strips.version, zone)
                        )
    return Unfinished(segments, complete, texts)


class UnfinishedCaptions:
    """Reads what :func:`find_unfinished` found, and keeps the last of it. Thread-safe."""

    def __init__(self, object_store: ObjectStore) -> None:
        self._store = object_store
        self._kept: OrderedDict[object, Sequence[Caption]] = OrderedDict()
        self._guard = threading.Lock()

    def captions(self, video: VideoRow, found: Unfinished) -> Sequence[Caption]:
        """Return the captions of the finished segments, sorted by start. Their ids are negative.

        Captions that are stored later have other ids.
        """
        if not found.segments and not found.complete:
            return ()
        known = (video.video_id, found.tag)
        with self._guard:
            if known in self._kept:
                return self._kept[known]
        try:
            captions = list(self._read(video, found))
        except ObjectNotFoundError:
            return ()  # They were merged a moment ago; the next look finds the result.
        captions = [replace(each, id=-(each.start_index * MAX_ZONES + each.zone) - 1) for each in captions]
        captions.sort(key=lambda each: (each.start_index, each.zone))
        with self._guard:
            self._kept[known] = captions
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return captions

    def texts(self, found: Unfinished) -> Mapping[tuple[int, int, int], ReadText]:
        """Return the texts that were read so far, by zone, first frame and end."""
        return read_text_parts(self._store, [one.key for one in found.texts])

    def _read(self, video: VideoRow, found: Unfinished) -> Iterator[Caption]:
        media = video.media()
        duration = media.duration_seconds
        for zone, one in found.complete.items():
            yield from DecodedExtents.of(self._store.get(one.key)).captions(duration, zone=zone)
        for zone, objects in found.segments.items():
            parts = [read_segment(self._store.get(one.key)) for one in objects]
            yield from captions_of_segments(parts, media.frame_count, duration, zone)


def _listed(object_store: ObjectStore, prefix: str) -> list[ObjectInfo]:
    return sorted(object_store.list(prefix), key=lambda one: one.key)
