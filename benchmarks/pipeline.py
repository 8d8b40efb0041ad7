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
    ExtractRequest,
    crop_regions,
)
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.databases.layout import read_layout
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


def run(video: Path, work: Path, settings: ComputeSettings | None = None) -> PipelineRun:
    """Run every step of the graph on a bucket in the folder ``work``; the detected layout is approved."""
    settings = settings or ComputeSettings()
    store = ObjectStore.from_url(work.resolve().as_uri())
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    store.upload(video, keys.video)
    seconds: dict[str, float] = {}
    mark = time.monotonic()

    def lap(name: str) -> None:
        nonlocal mark
        now = time.monotonic()
        seconds[name], mark = now - mark, now

    facts = extract_frames_and_ocr(ExtractRequest(keys.tenant_id, keys.video_id, keys.video), store, settings)
    lap("frames, OCR, layout")
    layout = read_layout(store.get(keys.layout_db))
    regions = crop_regions(layout.crop_region, layout.caption_zones)
    crop_and_infer_caption_frame_extents(
        CropInferRequest(
            keys.tenant_id,
            keys.video_id,
            keys.video,
            layout.crop_region,
            version=1,
            run_id="benchmark",
            zones=layout.caption_zones,
        ),
        store,
        settings,
    )
    lap("crops, chunks, pairs")
    decoded = {z: DecodedExtents.of(store.get(keys.caption_frame_extents_db(1, z))) for z in regions}
    # Written and read back for their ids, as in the graph.
    captions = read_captions(write_captions(merge_zones(decoded, facts.duration)))
    lap("captions")

    def recognize(zone: int, ranges: list[CaptionRange]) -> list[CaptionOcrResult]:
        count, crop = decoded[zone].frame_count, regions[zone]
        request = CaptionOcrRequest(keys.tenant_id, keys.video_id, 1, crop, count, ranges, zone=zone)
        return generate_caption_ocr(request, store, settings)

    captions = apply_zones(captions, read_zones(captions, regions, recognize))
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
