"""Metadata of the captions, their text and subtitles, for the Dagster UI."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from captionacc_dagster.assets.pictures.drawing import clock, evenly
from captionacc_dagster.assets.pictures.frames import strip_jpeg
from captionacc_dagster.assets.pictures.links import (
    Gallery,
    Markdown,
    Metadata,
    address,
    mean,
    one_line,
    short_table,
    table,
)
from captionacc_dagster.assets.pictures.timelines import captions_timeline
from captionacc_dagster.operations.subtitle_files import ActiveVersion
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.growth import Growing
from modal_gpu.captions.subtitles import shown
from modal_gpu.captions.zones import by_zone
from modal_gpu.contracts import CaptionOcrRequest, CaptionRange
from modal_gpu.databases.captions import Caption
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

#: Captions whose image is shown: the doubtful ones, and some of the others.
DOUBTFUL, OTHERS = 4, 4
#: Subtitles in the table.
SHOWN_CUES = 40
_TEXT = 60


class CaptionsShown:
    """Builds the metadata of a video's captions, their text and subtitles, after they are published."""

    def __init__(self, object_store: ObjectStore, video: VideoRow, warn: Callable[[str], object]) -> None:
        self._store, self._video = object_store, video
        self._keys = VideoKeys(video.tenant_id, video.video_id)
        self._gallery = Gallery(object_store, self._keys, warn)

    def captions(
        self, captions: Sequence[Caption], duration: float, version: ActiveVersion, model_version: str
    ) -> Mapping[str, Any]:
        """Return what ``captions_db`` shows: the captions over time by confidence, and counts."""
        spans = [(c.start_seconds, c.end_seconds, c.confidence or 0.0) for c in captions if c.state != "gap"]
        return {
            **self._gallery.show(
                "timeline",
                "captions over time, coloured by confidence",
                lambda: captions_timeline(spans, duration),
            ),
            "captions": len(captions),
            "captions_of_people": sum(c.belongs_to_person for c in captions),
            "captioned_seconds": round(sum(end - start for start, end, _ in spans), 1),
            "mean_confidence": round(mean([certainty for _, _, certainty in spans]), 3),
            "cropped_frames_version": version.version,
            "model_version": model_version,
            **zone_counts(version, captions),
            "dagster/uri": address(self._store, self._keys.captions_db),
            "dagster/partition_row_count": len(captions),
        }

    def text(
        self,
        captions: Sequence[Caption],
        version: ActiveVersion,
        request: Callable[[int, list[CaptionRange]], CaptionOcrRequest],
        counts: Mapping[str, int],
    ) -> Mapping[str, Any]:
        """Return what ``caption_ocr`` shows: captions' median images beside their text, doubtful ones first.

        ``request`` returns the request for the images of a zone's captions.
        """
        there = [c for c in captions if c.state != "gap" and c.zone in version.regions]
        ordered = sorted(there, key=lambda caption: (_certainty(caption), caption.start_index))
        doubtful, rest = ordered[:DOUBTFUL], ordered[DOUBTFUL:]
        others = evenly(sorted(rest, key=lambda caption: caption.start_index), OTHERS)
        confidences = [c.ocr_confidence for c in captions if c.ocr_confidence is not None]
        return {
            **self._images("least_certain", doubtful, request),
            **self._images("others", others, request),
            **counts,
            "mean_confidence": round(mean(confidences), 3),
            "lowest_confidence": round(min(confidences, default=0.0), 3),
            **zone_counts(version, captions),
            "dagster/uri": address(self._store, self._keys.captions_db),
            "dagster/partition_row_count": len(captions),
        }

    def subtitles(self, captions: Sequence[Caption], growing: Growing) -> Mapping[str, Any]:
        """Return what ``subtitles`` shows: the cues as a table, and counts."""
        cues = shown(captions, self._video.timeline, growing)
        rows = [
            (clock(start / 1000), clock(end / 1000), caption.best_text)
            for start, end, caption in cues[:SHOWN_CUES]
        ]
        columns = (("from", "string"), ("to", "string"), ("text", "string"))
        table_of_cues: Metadata = {"text": table(columns, rows)}
        if not rows:
            table_of_cues = {"text": dg.MetadataValue.text("This video has no captions.")}
        elif len(cues) > len(rows):
            table_of_cues["more"] = dg.MetadataValue.text(
                f"{len(cues) - len(rows)} cues more are in the file"
            )
        characters = sum(len(caption.best_text) for _, _, caption in cues)
        seconds = sum(end - start for start, end, _ in cues) / 1000
        return {
            **table_of_cues,
            "cues": len(cues),
            "states": sum(caption.is_shown for caption in captions),
            "characters": characters,
            "characters_a_second": round(characters / seconds, 1) if seconds else 0.0,
            "dagster/uri": address(self._store, self._keys.srt),
            "dagster/partition_row_count": len(cues),
        }

    def _images(
        self,
        name: str,
        chosen: Sequence[Caption],
        request: Callable[[int, list[CaptionRange]], CaptionOcrRequest],
    ) -> Metadata:
        def write() -> str:
            images = self._medians(chosen, request)
            rows = [
                (
                    images[caption.id],
                    clock(self._video.timeline.start(caption.start_seconds, caption.start_index))
                    + f" {one_line(caption.ocr_text or '', _TEXT)}",
                    "" if caption.ocr_confidence is None else f"{caption.ocr_confidence:.2f}",
                )
                for caption in chosen
            ]
            return short_table(("image", "text", "confidence"), rows)

        return self._gallery.tell(name, write) if chosen else {}

    def _medians(
        self,
        captions: Sequence[Caption],
        request: Callable[[int, list[CaptionRange]], CaptionOcrRequest],
    ) -> dict[int, Markdown]:
        """Return the stored median image of each caption."""
        from modal_gpu.functions.caption_ocr import caption_images

        found = {}
        for zone, part in by_zone(captions).items():
            ranges = [CaptionRange(c.id, c.start_index, c.end_index) for c in part]
            images = caption_images(request(zone, ranges), self._store)
            for caption, image in zip(part, images, strict=True):
                data = strip_jpeg(image)
                found[caption.id] = self._gallery.image("caption", data, f"caption {caption.id}")
        return found


def zone_counts(version: ActiveVersion, captions: Sequence[Caption]) -> dict[str, int]:
    """Return the number of captions of each zone; nothing for a video of one zone."""
    if not version.caption_zones:
        return {}
    return {f"zone_{zone}_captions": sum(c.zone == zone for c in captions) for zone in version.regions}


def _certainty(caption: Caption) -> float:
    """Return OCR's confidence; less than any for a caption that it failed on or has not read."""
    return -1.0 if caption.ocr_confidence is None else caption.ocr_confidence
