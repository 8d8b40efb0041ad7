"""``python -m benchmarks.core_seconds VIDEO``: the CPU time of each part of the work.

Estimates of costs are based on these figures (the constants of ``captionacc_dagster/costs/estimates.py``).
They are CPU seconds of this process and its threads, which other work on the machine disturbs less than wall
time; each is the median of ``--turns``. Models are loaded before the measurement.
"""

import os
import statistics
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.speed import plain_decoding
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionRange,
    CropInferRequest,
    ExtractRequest,
)
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout
from modal_gpu.extents.decoder import decode, settings_for
from modal_gpu.functions.caption_ocr import generate_caption_ocr
from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore


def measured(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of ``work``, in all threads, and its result."""
    before = os.times()
    result = work()
    after = os.times()
    return after.user + after.system - before.user - before.system, result


def one_turn(video: Path, folder: Path) -> dict[str, float]:
    """Return core-seconds, by the name of the constant that they determine."""
    store = ObjectStore.from_url(folder.as_uri())
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    store.upload(video, keys.video)
    network = ComputeSettings()
    decoding = plain_decoding(video).cpu
    seconds, facts = measured(
        lambda: extract_frames_and_ocr(
            ExtractRequest(keys.tenant_id, keys.video_id, keys.video), store, network
        )
    )
    frames_ocr = (seconds - decoding) / facts.full_frame_count
    crop = read_layout(store.get(keys.layout_db)).crop_region

    def judge(settings: ComputeSettings, version: int) -> float:
        request = CropInferRequest(keys.tenant_id, keys.video_id, keys.video, crop, version, "measured")
        return measured(lambda: crop_and_infer_caption_frame_extents(request, store, settings))[0]

    by_strokes = judge(replace(network, extents_predictor="strokes"), 1)
    by_network = judge(network, 2)
    run, predictions = read_extents(store.get(keys.caption_frame_extents_db(2)))
    extents = decode(predictions, settings_for(run.model_version))
    ranges = [CaptionRange(n, found.start, found.end) for n, found in enumerate(extents, 1)]
    request = CaptionOcrRequest(keys.tenant_id, keys.video_id, 2, crop, predictions.frame_count, ranges)
    reading, _ = measured(lambda: generate_caption_ocr(request, store, network))
    return {
        "DECODE_CORE_SECONDS": decoding / facts.duration,
        "FRAME_OCR_CORE_SECONDS": frames_ocr,
        "CROP_CORE_SECONDS": by_network / facts.duration,
        "… with the strokes": by_strokes / facts.duration,
        "CAPTION_CORE_SECONDS": reading / len(ranges),
        "CAPTIONS_A_MINUTE": len(ranges) / facts.duration * 60,
    }


def main(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    turns: Annotated[int, typer.Option(help="the median counts")] = 5,
) -> None:
    """Print the figures of all turns, and their medians."""
    settings = ComputeSettings()
    settings.predictor()
    settings.open_ocr("frames")
    settings.open_ocr("strips")
    found = []
    for _ in range(turns):
        with tempfile.TemporaryDirectory(prefix="captionacc-seconds-") as folder:
            found.append(one_turn(video, Path(folder)))
    for name in found[0]:
        values = [turn[name] for turn in found]
        every = ", ".join(f"{value:.3f}" for value in values)
        print(f"{name:24} {statistics.median(values):7.3f}   of {every}")


if __name__ == "__main__":
    typer.run(main)
