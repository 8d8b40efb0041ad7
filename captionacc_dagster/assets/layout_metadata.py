"""Metadata of the assets up to the layout, for the Dagster UI."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from captionacc_dagster.assets.external import region_facts, source_video
from captionacc_dagster.assets.pictures import frames as pictures
from captionacc_dagster.assets.pictures.drawing import clock, evenly
from captionacc_dagster.assets.pictures.layout import layout_picture, text_map
from captionacc_dagster.assets.pictures.links import Gallery, address, mean, table
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.contracts import ExtractResult, crop_regions
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.frame_index import INDEX_RATE, full_frame_indices
from modal_gpu.keys import VideoKeys
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline

#: Frames whose text the OCR database shows, and lines of them.
SAMPLE_FRAMES, SAMPLE_LINES = 6, 18
_TEXT = 80


class LayoutShown:
    """Builds the metadata of a video's assets up to its layout, after they are published."""

    def __init__(self, object_store: ObjectStore, keys: VideoKeys, warn: Callable[[str], object]) -> None:
        self._store, self._keys = object_store, keys
        self._gallery = Gallery(object_store, keys, warn)

    def upload(self, video: VideoRow, result: ExtractResult) -> dg.AssetObservation:
        """Return what decoding showed of the upload: a frame, the length, the resolution."""
        indices = list(full_frame_indices(result.frame_count))
        index = indices[len(indices) // 3]
        return dg.AssetObservation(
            asset_key=source_video.key,
            partition=video.partition_key,
            description=video.display_path,
            metadata={
                **self._gallery.show(
                    "poster",
                    "a frame of the video",
                    lambda: pictures.poster(
                        pictures.PreviewFrame(index, self._store.get(self._keys.full_frame(index)))
                    ),
                ),
                "length": clock(result.duration),
                "resolution": f"{result.frame_width} × {result.frame_height}",
                "codec": result.video_codec,
                "duration_seconds": round(result.duration, 2),
                "bitrate": result.bitrate,
                "start_offset_seconds": round(Timeline.from_rows(result.time_spans).start_offset_seconds, 3),
            },
        )

    def frames(self, result: ExtractResult, frames: Sequence[FrameOcr]) -> Mapping[str, Any]:
        """Return what ``full_frames`` shows: the contact sheet, counts and times."""
        return {
            **self._gallery.show(
                "contact_sheet",
                "full frames with the text that was read",
                lambda: self._contact_sheet(result, frames),
            ),
            "frames": result.full_frame_count,
            "seconds": round(result.processing_duration_seconds, 2),
            **{f"seconds_{name}": round(value, 2) for name, value in result.stage_seconds.items()},
            "dagster/uri": address(self._store, result.full_frames_key),
        }

    def ocr(self, frames: Sequence[FrameOcr]) -> Mapping[str, Any]:
        """Return what ``raw_ocr_db`` shows: some frames with their texts and confidences, and counts."""
        lines = [line for frame in frames for line in frame.lines]
        return {
            **self._read_frames(frames),
            "text_lines": len(lines),
            "frames_with_text": sum(frame.status == "ok" for frame in frames),
            "frames_without_text": sum(frame.status == "empty" for frame in frames),
            "frames_failed": sum(frame.status == "failed" for frame in frames),
            "mean_confidence": round(mean([line.confidence for line in lines]), 3),
            "dagster/uri": address(self._store, self._keys.raw_ocr_db),
            "dagster/partition_row_count": len(lines),
        }

    def layout(self, layout: LayoutFile) -> Mapping[str, Any]:
        """Return what ``layout_db`` shows: crop region, all text boxes, and how they were judged."""
        crop = layout.crop_region
        captions = sum(box.is_caption for box in layout.boxes)
        regions = list(crop_regions(crop, layout.caption_zones).values())
        return {
            **self._gallery.show(
                "crop_region",
                "crop region, with captions in green and other text in red",
                lambda: layout_picture(self._store, self._keys, layout, regions),
            ),
            **self._gallery.show(
                "text_in_all_frames",
                "where text stands in all frames: captions in green, other text in red",
                lambda: text_map(self._store, self._keys, layout, regions),
            ),
            "finding": layout.reason,
            "confidence": round(layout.confidence, 3),
            "caption_band_found": layout.caption_band_found,
            "caption_lines": captions,
            "other_lines": len(layout.boxes) - captions,
            "labels_of_people": len(layout.labels),
            "zones": 1 + len(layout.zones),
            "anchor": layout.anchor_type or "none",
            **region_facts(crop),
            "dagster/uri": address(self._store, self._keys.layout_db),
            "dagster/partition_row_count": len(layout.boxes),
        }

    def _contact_sheet(self, result: ExtractResult, frames: Sequence[FrameOcr]) -> bytes:
        lines = {frame.frame_index: frame.lines for frame in frames}
        indices = evenly(list(full_frame_indices(result.frame_count)), 30)
        boxes = {
            index: [pictures.PreviewBox.of(line.box) for line in lines.get(index, ())] for index in indices
        }
        return pictures.contact_sheet(self._with_boxes(boxes, self._keys.thumbnail))

    def _with_boxes(
        self, boxes: Mapping[int, Sequence[pictures.PreviewBox]], key_of: Callable[[int], str]
    ) -> list[pictures.PreviewFrame]:
        """Return some frames with their boxes; ``key_of`` an index is the full frame or its thumbnail."""
        keys = {index: key_of(index) for index in boxes}
        found = dict(self._store.get_many(keys.values()))
        return [pictures.PreviewFrame(index, found[key], boxes[index]) for index, key in keys.items()]

    def _read_frames(self, frames: Sequence[FrameOcr]) -> Mapping[str, Any]:
        with_text = evenly([frame for frame in frames if frame.lines], SAMPLE_FRAMES)
        if not with_text:
            return {}
        rows: list[tuple[int, str, str, float]] = []
        boxes: dict[int, list[pictures.PreviewBox]] = {}
        for frame in with_text:
            boxes[frame.frame_index] = []
            for line in frame.lines:
                number = len(rows) + 1
                note = str(number) if number <= SAMPLE_LINES else ""
                box = pictures.PreviewBox.of(line.box, note=note, confidence=line.confidence)
                boxes[frame.frame_index].append(box)
                if note:
                    time = clock(frame.frame_index / INDEX_RATE)
                    rows.append((number, time, line.text[:_TEXT], line.confidence))
        columns = (("line", "int"), ("time", "string"), ("text", "string"), ("confidence", "float"))
        return {
            **self._gallery.show(
                "sample",
                "frames with numbered lines, red where the reading is doubtful",
                lambda: pictures.contact_sheet(self._with_boxes(boxes, self._keys.full_frame), columns=2),
            ),
            "texts": table(columns, rows),
        }
