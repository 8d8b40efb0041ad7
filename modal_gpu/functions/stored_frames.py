"""The frames of one cropped-frames version, found out from its chunks, for callers without the catalogue."""

from collections import defaultdict
from dataclasses import dataclass
from itertools import islice

from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import read_layout
from modal_gpu.errors import DamagedChunkError, ObjectNotFoundError
from modal_gpu.frame_index import INDEX_RATE, ChunkRef, level_of
from modal_gpu.frame_rates import CROP_RATES
from modal_gpu.keys import CroppedFramesPlace, VideoKeys, cropped_frames_versions
from modal_gpu.media.chunks import frames_in
from modal_gpu.storage import ObjectStore

_STEPS = tuple(INDEX_RATE // rate for rate in CROP_RATES)


@dataclass(frozen=True)
class StoredFrames:
    """``index_count`` indices; every ``step``-th one has a frame."""

    index_count: int
    step: int

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return len(range(0, self.index_count, self.step))


def stored_frames(store: ObjectStore, place: CroppedFramesPlace) -> StoredFrames:
    """Find out which frames the chunks at a place hold: from their names, and the last ones' lengths.

    Raises :class:`ObjectNotFoundError` without chunks, and :class:`DamagedChunkError` if one is missing or
    damaged.
    """
    by_level: dict[int, list[int]] = defaultdict(list)
    for info in store.list(place.prefix):
        if found := place.keys.chunk_of(info.key, place.version, place.zone):
            by_level[found[0]].append(found[1])
    if not by_level:
        raise ObjectNotFoundError(f"there are no chunks under {place.prefix}: crop the video first")
    # The second frame is the first one of its level's chunk, whose name therefore says how far it is.
    step = min((index for firsts in by_level.values() for index in firsts if index), default=1)
    if step not in _STEPS:
        raise DamagedChunkError(
            f"the first chunks under {place.prefix} are missing; make a new cropped-frames version"
        )
    last = max(_last_index(store, place, level, max(firsts), step) for level, firsts in by_level.items())
    return StoredFrames(last + 1, step)


def _last_index(store: ObjectStore, place: CroppedFramesPlace, level: int, first: int, step: int) -> int:
    try:
        ref = ChunkRef(level, first, step)
    except ValueError as error:
        raise DamagedChunkError(f"{place.prefix}: {error}; make a new cropped-frames version") from None
    count = frames_in(store.get(place.keys.chunk(place.version, ref, place.zone)))
    members = (index for index in range(first, first + 2**16, step) if level_of(index) == level)
    return next(islice(members, max(0, count - 1), None))


def crop_region_of(store: ObjectStore, place: CroppedFramesPlace) -> CropRegion:
    """Return the crop region of a zone as layout.db has it; everything for a video without a layout."""
    try:
        layout = read_layout(store.get(place.keys.layout_db))
    except ObjectNotFoundError:
        return CropRegion(0.0, 0.0, 1.0, 1.0)
    zones = {zone.zone_index: zone.crop_region for zone in layout.caption_zones}
    return zones.get(place.zone, layout.crop_region)


def next_version(store: ObjectStore, keys: VideoKeys) -> int:
    """Return the version after those that have chunks in the bucket. The catalogue allots them safely."""
    names = (info.key for info in store.list(keys.client_prefix))
    return max(cropped_frames_versions(keys, names), default=0) + 1
