"""The full pipeline on one file without the orchestrator, as the benchmarks measure it."""

import time
import uuid
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.metrics import Caption as TimedCaption
from modal_gpu.captions.decoded import DecodedExtents
from modal_gpu.captions.subtitles import shown
from modal_gpu.captions.zones import apply_zones, merge_zones, read_zones
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
    CropInferRequest,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    crop_regions,
)
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.functions.caption_ocr import generate_caption_ocr
from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore
from modal_gpu.timeline import Timeline


@dataclass
class PipelineRun:
    """The captions of a video and the wall seconds of each step."""

    captions: list[Caption]
    duration: float
    timeline: Timeline
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


class Steps:
    """The steps of the graph on a bucket in a folder, which later processes may continue."""

    def __init__(self, video: Path, work: Path, settings: ComputeSettings | None = None) -> None:
        """``work`` is the bucket's folder: each needs its own."""
        self.settings = settings or ComputeSettings()
        url = work.resolve().as_uri()
        self.store = ObjectStore.from_url(url)
        self.keys = VideoKeys(
            str(uuid.uuid5(uuid.NAMESPACE_URL, url)), str(uuid.uuid5(uuid.NAMESPACE_OID, url))
        )
        self._video = video

    def read_frames(self) -> ExtractResult:
        """Store the video, its full frames, their OCR and the layout, which counts as approved."""
        keys = self.keys
        self.store.upload(self._video, keys.video)
        request = ExtractRequest(keys.tenant_id, keys.video_id, keys.video)
        return extract_frames_and_ocr(request, self.store, self.settings)

    def crop_and_judge(self) -> None:
        """Store the chunks and the extents of each zone."""
        keys, layout = self.keys, self._layout()
        request = CropInferRequest(
            keys.tenant_id,
            keys.video_id,
            keys.video,
            layout.crop_region,
            version=1,
            run_id="benchmark",
            zones=layout.caption_zones,
        )
        crop_and_infer_caption_frame_extents(request, self.store, self.settings)

    def captions(self, duration: float) -> list[Caption]:
        """Return the captions without text; ``duration`` is the video's, in seconds."""
        # Written and read back for their ids, as in the graph.
        return read_captions(write_captions(merge_zones(self._decoded(), duration)))

    def read_captions(self, captions: list[Caption]) -> list[Caption]:
        """Return the captions with their text."""
        keys, regions, decoded = self.keys, self._regions(), self._decoded()

        def recognize(zone: int, ranges: list[CaptionRange]) -> list[CaptionOcrResult]:
            count, crop = decoded[zone].frame_count, regions[zone]
            request = CaptionOcrRequest(keys.tenant_id, keys.video_id, 1, crop, count, ranges, zone=zone)
            return generate_caption_ocr(request, self.store, self.settings)

        readings = read_zones(captions, regions, recognize, lambda zone: self.settings.has_language())
        return apply_zones(captions, readings)

    def _layout(self) -> LayoutFile:
        return read_layout(self.store.get(self.keys.layout_db))

    def _regions(self) -> dict[int, CropRegion]:
        layout = self._layout()
        return crop_regions(layout.crop_region, layout.caption_zones)

    def _decoded(self) -> dict[int, DecodedExtents]:
        return {
            zone: DecodedExtents.of(self.store.get(self.keys.caption_frame_extents_db(1, zone)))
            for zone in self._regions()
        }


def run(video: Path, work: Path, settings: ComputeSettings | None = None) -> PipelineRun:
    """Run every step of the graph on a bucket in the folder ``work``; the detected layout is approved."""
    steps = Steps(video, work, settings)
    seconds: dict[str, float] = {}
    mark = time.monotonic()

    def lap(name: str) -> None:
        nonlocal mark
        now = time.monotonic()
        seconds[name], mark = now - mark, now

    facts = steps.read_frames()
    lap("frames, OCR, layout")
    steps.crop_and_judge()
    lap("crops, chunks, pairs")
    captions = steps.captions(facts.duration)
    lap("captions")
    captions = steps.read_captions(captions)
    lap("caption OCR")
    return PipelineRun(captions, facts.duration, Timeline.from_rows(facts.time_spans), seconds)


def run_pipeline(video: Path, work: Path) -> list[TimedCaption]:
    """Return the captions of a video, as subtitles show them."""
    return timed_captions(run(video, work))


def timed_captions(done: PipelineRun) -> list[TimedCaption]:
    """Return a run's captions of all zones, as subtitles show them."""
    return [caption for _, caption in _shown(done)]


def run_zones(video: Path, work: Path, settings: ComputeSettings | None = None) -> list[list[TimedCaption]]:
    """Return the captions of each zone that has some, as subtitles show them."""
    zones: dict[int, list[TimedCaption]] = defaultdict(list)
    for zone, caption in _shown(run(video, work, settings)):
        zones[zone].append(caption)
    return [zones[zone] for zone in sorted(zones)]


def _shown(done: PipelineRun) -> list[tuple[int, TimedCaption]]:
    return [
        (caption.zone, TimedCaption(start / 1000, end / 1000, caption.best_text))
        for start, end, caption in shown(done.captions, done.timeline)
    ]
