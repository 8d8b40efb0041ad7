"""Metadata of the chunks, the extents and the approval that they start from, for the Dagster UI."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg
import numpy as np
import numpy.typing as npt

from captionacc_dagster.assets.external import layout_approval
from captionacc_dagster.assets.pictures import frames as pictures
from captionacc_dagster.assets.pictures.drawing import evenly
from captionacc_dagster.assets.pictures.layout import layout_picture
from captionacc_dagster.assets.pictures.links import Gallery, Metadata, address
from captionacc_dagster.assets.pictures.timelines import extents_timeline
from captionacc_dagster.resources.catalog import LayoutApproval, VideoRow
from modal_gpu.contracts import CropInferResult, crop_regions
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout
from modal_gpu.extents.predictor import LABELS
from modal_gpu.frame_index import INDEX_RATE, ChunkRef
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

#: Frames of the film strip.
STRIP_FRAMES = 12
#: Every label but these two is a change between the frames of a pair.
_NO_CHANGE = ("same", "empty_empty")


class CropsShown:
    """Builds the metadata of a video's chunks and extents, after they are published."""

    def __init__(self, object_store: ObjectStore, video: VideoRow, warn: Callable[[str], object]) -> None:
        self._store, self._video = object_store, video
        self._keys = VideoKeys(video.tenant_id, video.video_id)
        self._gallery = Gallery(object_store, self._keys, warn)

    def approval(self) -> dg.AssetObservation:
        """Return the approved region on a frame, as the run used it; the approval's event has the rest."""
        video = self._video
        return dg.AssetObservation(
            asset_key=layout_approval.key,
            partition=video.partition_key,
            description=video.display_path,
            metadata=self._gallery.show("approved_region", "the approved region", self._region),
        )

    def _region(self) -> bytes:
        regions = crop_regions(LayoutApproval.of(self._video).crop_region, self._video.caption_zones)
        layout = read_layout(self._store.get(self._keys.layout_db))
        return layout_picture(self._store, self._keys, layout, list(regions.values()))

    def chunks(self, result: CropInferResult, size_bytes: int) -> Mapping[str, Any]:
        """Return what ``cropped_chunks`` shows: a film strip, counts and sizes."""
        return {
            **self._gallery.show(
                "film_strip", "cropped frames over the video", lambda: self._film_strip(result)
            ),
            "frames": result.frame_count,
            "chunks": result.chunk_count,
            "megabytes": round(size_bytes / 1e6, 2),
            "kilobytes_a_minute": round(size_bytes / 1e3 * 60 * INDEX_RATE / max(1, result.frame_count), 1),
            **{f"zone_{zone.zone_index}_chunks": zone.chunk_count for zone in result.zones},
            "dagster/uri": address(self._store, result.cropped_frames_prefix),
        }

    def extents(self, result: CropInferResult) -> Mapping[str, Any]:
        """Return what ``caption_frame_extents_db`` shows: the probabilities over time, pairs by label."""
        zones = [0, *(zone.zone_index for zone in result.zones)]
        return {
            **{name: value for zone in zones for name, value in self._timeline(result, zone).items()},
            "model_version": result.model_version,
            **{f"pairs_{label}": count for label, count in result.label_counts.items()},
            **{
                f"zone_{zone.zone_index}_pairs_{label}": count
                for zone in result.zones
                for label, count in zone.label_counts.items()
            },
            "dagster/uri": address(self._store, result.caption_frame_extents_db_key),
            "dagster/partition_row_count": max(0, result.frame_count - 1),
        }

    def _film_strip(self, result: CropInferResult) -> bytes:
        indices = evenly(range(result.frame_count), STRIP_FRAMES)
        return pictures.film_strip(
            [
                (self._video.timeline.start(index / INDEX_RATE, index), image)
                for index, image in self._frames(result, indices)
            ]
        )

    def _frames(
        self, result: CropInferResult, indices: list[int]
    ) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        # Decoding imports FFmpeg, which the definitions do not need.
        from modal_gpu.media.chunks import ChunkReader

        def fetch(ref: ChunkRef) -> bytes:
            return self._store.get(self._keys.chunk(result.version, ref))

        return ChunkReader(fetch, result.frame_count).at(indices)

    def _timeline(self, result: CropInferResult, zone: int) -> Metadata:
        def draw() -> bytes:
            key = self._keys.caption_frame_extents_db(result.version, zone)
            _, found = read_extents(self._store.get(key))
            columns = [place for place, name in enumerate(LABELS) if name not in _NO_CHANGE]
            return extents_timeline(found.presence, found.forward[:, columns].sum(axis=1))

        name = f"zone_{zone}_probabilities" if zone else "probabilities"
        return self._gallery.show(name, "probability of a caption, and of a change, over time", draw)
