"""Where the heavy functions run. One interface; this module holds the local backend."""

from dataclasses import dataclass
from typing import Protocol

from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CropInferRequest,
    CropInferResult,
    ExtractRequest,
    ExtractResult,
    Progress,
    no_progress,
)
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.storage import ObjectStore


class Compute(Protocol):
    """The three functions. Each blocks until its result is published, or raises a typed error."""

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        """Full frames, OCR and layout; publishes the outputs that the request names."""
        ...

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        """Cropped frames in chunks and the labels of neighbouring frames."""
        ...

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        """The text of each caption, in the request's order."""
        ...


@dataclass(frozen=True)
class LocalCompute:
    """The same functions in the run's own process, on the CPU.

    Their modules, and with them the decoder and the OCR engine, are imported at the first call.
    """

    object_store: ObjectStore
    settings: ComputeSettings

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        from modal_gpu.functions.extract import extract_frames_and_ocr

        return extract_frames_and_ocr(request, self.object_store, self.settings, progress)

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents

        return crop_and_infer_caption_frame_extents(request, self.object_store, self.settings, progress)

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        from modal_gpu.functions.caption_ocr import generate_caption_ocr

        return generate_caption_ocr(request, self.object_store, self.settings, progress)
