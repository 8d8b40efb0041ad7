"""The compute functions on this machine's CPU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from captionacc_dagster.resources.compute.calls import CallReport, ComputeCall
from captionacc_dagster.resources.compute.child_process import run_in_child
from captionacc_dagster.resources.compute.fan_out import FannedOutCompute, FanOut
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CropInferRequest,
    ExtractRequest,
    Progress,
    from_wire,
    no_progress,
    to_wire,
)
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.storage import ObjectStore


def local_compute(
    object_store: ObjectStore, settings: ComputeSettings, fan_out: FanOut | None = None
) -> FannedOutCompute:
    """Return a compute that runs everything on this machine."""
    fan_out = fan_out or FanOut()
    return FannedOutCompute(LocalBackend(object_store, settings, fan_out.max_parallel), object_store, fan_out)


@dataclass(frozen=True)
class LocalBackend:
    """Runs calls on this machine's CPU, free of charge.

    A video's first segment runs in the caller's process. Later segments each run in a process of their own,
    ``parallel`` at once, and share the workers. The functions' modules, and with them the decoder and the
    OCR engine, are imported at the first call.
    """

    object_store: ObjectStore
    settings: ComputeSettings
    parallel: int = 1

    @property
    def is_billed(self) -> bool:
        return False

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        segment = call.request.get("segment") or {"start": 0}
        if segment["start"] == 0:
            return run_call(call, self.object_store, self.settings, progress)
        settings = replace(self.settings, workers=max(1, self.settings.worker_count // self.parallel))
        name = f"video {call.video_id}: {call.function} of frames from {segment['start']} on"
        return run_in_child(partial(run_call, call, self.object_store, settings), name, progress)

    def take_reports(self) -> list[CallReport]:
        return []


def run_call(
    call: ComputeCall, store: ObjectStore, settings: ComputeSettings, progress: Progress = no_progress
) -> Any:
    """Run the function that a call names, in this process; return its result as wire data."""
    if call.function == "extract_frames_and_ocr":
        from modal_gpu.functions.extract import extract_frames_and_ocr

        extract = from_wire(ExtractRequest, call.request)
        return to_wire(extract_frames_and_ocr(extract, store, settings, progress))
    if call.function == "crop_and_infer_caption_frame_extents":
        from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents

        crop = from_wire(CropInferRequest, call.request)
        return to_wire(crop_and_infer_caption_frame_extents(crop, store, settings, progress))
    from modal_gpu.functions.caption_ocr import generate_caption_ocr

    read = from_wire(CaptionOcrRequest, call.request)
    results: Sequence[CaptionOcrResult] = generate_caption_ocr(read, store, settings, progress)
    return [to_wire(result) for result in results]
