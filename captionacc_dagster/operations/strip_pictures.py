"""Pictures of a video's caption strips, out of its chunks: single frames, medians, and sheets of frames."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from captionacc_dagster.operations.kept_bytes import KeptBytes
from captionacc_dagster.resources.catalog import Catalog, VideoRow, WrongStateError
from modal_gpu.captions.median import median_image, sample_indices
from modal_gpu.contracts import CropRegion, Zones, crop_regions
from modal_gpu.errors import CaptionAccError
from modal_gpu.frame_index import LEVELS, ChunkRef
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import ChunkReader
from modal_gpu.media.images import encode_webp
from modal_gpu.media.probe import header_rate
from modal_gpu.storage import ObjectStore
from modal_gpu.storage_files import open_object

#: Frames of one sheet.
MOST_SHEET_FRAMES = 32
#: Chunks and pictures that are kept in memory, in bytes.
_KEPT_BYTES = 48 * 1024 * 1024


class PictureRangeError(CaptionAccError):
    """Frames or a zone that a video does not have."""


@dataclass(frozen=True)
class Strips:
    """The cropped frames that a reviewer sees."""

    version: int
    frame_count: int
    crop_region: CropRegion
    caption_zones: Zones

    @property
    def zones(self) -> tuple[int, ...]:
        """The indices of the zones."""
        return tuple(crop_regions(self.crop_region, self.caption_zones))


def find_strips(catalog: Catalog, video: VideoRow) -> Strips:
    """Return a video's active cropped frames, or before the first ones those that a run is writing.

    Raises :class:`WrongStateError` if there are none.
    """
    versions = catalog.list_cropped_frames_versions(video.video_id)
    active = next((v for v in versions if v.version == video.current_cropped_frames_version), None)
    chosen = active or max(
        (v for v in versions if v.status == "processing"), key=lambda v: v.version, default=None
    )
    if chosen is None:
        raise WrongStateError(f"video {video.video_id} has no cropped frames yet: its layout is not approved")
    count = chosen.total_frames or video.media().frame_count
    return Strips(chosen.version, count, chosen.crop_region, chosen.caption_zones)


class StripPictures:
    """Pictures as WebP. One instance serves many threads; it keeps the chunks and pictures used last.

    Methods raise :class:`PictureRangeError`, ``ObjectNotFoundError`` if a chunk is missing or not written
    yet, and ``DamagedChunkError``.
    """

    def __init__(self, object_store: ObjectStore) -> None:
        self._store = object_store
        self._chunks, self._pictures = KeptBytes(_KEPT_BYTES), KeptBytes(_KEPT_BYTES)
        self._rates: OrderedDict[str, float | None] = OrderedDict()

    def frame(self, video: VideoRow, strips: Strips, index: int, zone: int = 0) -> bytes:
        """Return one frame of a zone's strip."""
        return self.sheet(video, strips, index, index + 1, 1, zone)

    def median(self, video: VideoRow, strips: Strips, start: int, end: int, zone: int = 0) -> bytes:
        """Return the per-pixel median of frames ``[start, end)``: what OCR reads."""
        self._check(strips, start, end, zone)
        return self._picture(
            video,
            strips,
            zone,
            ("median", start, end),
            lambda reader: median_image(image for _, image in reader.at(sample_indices(start, end))),
        )

    def sheet(self, video: VideoRow, strips: Strips, start: int, end: int, step: int, zone: int = 0) -> bytes:
        """Return the frames of ``[start, end)`` whose index is a multiple of ``step``, one above the other.

        ``step`` is 16, 4 or 1, so that a player fetches a coarse view first; at most 32 frames.
        """
        indices = self.sheet_indices(strips, start, end, step, zone)
        return self._picture(
            video,
            strips,
            zone,
            ("sheet", start, end, step),
            lambda reader: np.concatenate([image for _, image in reader.at(indices)]),
        )

    def sheet_indices(self, strips: Strips, start: int, end: int, step: int, zone: int = 0) -> list[int]:
        """Return the indices of a sheet's frames, from its top."""
        self._check(strips, start, end, zone)
        if step not in LEVELS:
            raise PictureRangeError(f"a step is one of {', '.join(map(str, LEVELS))}, not {step}")
        indices = [index for index in range(start, end) if index % step == 0]
        if not indices or len(indices) > MOST_SHEET_FRAMES:
            raise PictureRangeError(
                f"[{start}, {end}) has {len(indices)} frames at step {step}; a sheet has 1 to "
                f"{MOST_SHEET_FRAMES}"
            )
        return indices

    def frame_seconds(self, video: VideoRow) -> float | None:
        """Return how long one frame of the source is shown, by its header; ``None`` if it does not say.

        ``None`` also for a source that was removed, or is no video.
        """
        if video.video_id not in self._rates:
            try:
                with open_object(self._store, video.storage_key) as file:
                    rate = header_rate(file)
            except CaptionAccError as error:
                if error.retryable:
                    raise
                rate = None
            self._rates[video.video_id] = None if rate is None else round(float(1 / rate), 6)
            while len(self._rates) > 1000:
                self._rates.popitem(last=False)
        return self._rates[video.video_id]

    def _check(self, strips: Strips, start: int, end: int, zone: int) -> None:
        if not 0 <= start < end <= strips.frame_count:
            raise PictureRangeError(f"frames [{start}, {end}) are not in [0, {strips.frame_count})")
        if zone not in strips.zones:
            raise PictureRangeError(f"there is no zone {zone}; there are {', '.join(map(str, strips.zones))}")

    def _picture(
        self,
        video: VideoRow,
        strips: Strips,
        zone: int,
        which: tuple[object, ...],
        draw: Callable[[ChunkReader], np.ndarray],
    ) -> bytes:
        keys = VideoKeys(video.tenant_id, video.video_id)

        def fetch(ref: ChunkRef) -> bytes:
            key = keys.chunk(strips.version, ref, zone)
            return self._chunks.get((key,), lambda: self._store.get(key))

        def make() -> bytes:
            # Up to two chunks of each level are open, and one more where a range begins.
            return encode_webp(draw(ChunkReader(fetch, strips.frame_count, cached_chunks=9)))

        return self._pictures.get((video.video_id, strips.version, zone, *which), make)
