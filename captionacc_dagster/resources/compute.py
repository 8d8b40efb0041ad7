"""Where the heavy functions run. One interface; what differs is the backend that runs one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CropInferRequest,
    CropInferResult,
    ExtractRequest,
    ExtractResult,
    Progress,
    from_wire,
    no_progress,
    to_wire,
)
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.storage import ObjectStore

FunctionName = Literal[
    "extract_frames_and_ocr", "crop_and_infer_caption_frame_extents", "generate_caption_ocr"
]


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
class ComputeCall:
    """One call of one function, as plain data. ``request`` is :func:`to_wire` of the request."""

    function: FunctionName
    tenant_id: str
    video_id: str
    request: dict[str, Any]


class Backend(Protocol):
    """Runs single calls, several at once from different threads."""

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        """Block until the call is done; its result as wire data (a list of them for caption OCR).

        ``progress`` is called every few seconds at least while the call waits or runs; an exception
        that it raises cancels the call and is passed on.
        """
        ...


@dataclass(frozen=True)
class FannedOutCompute:
    """:class:`Compute` over a backend."""

    backend: Backend
    object_store: ObjectStore

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        call = _call("extract_frames_and_ocr", request)
        return from_wire(ExtractResult, self.backend.call(call, progress))

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        call = _call("crop_and_infer_caption_frame_extents", request)
        return from_wire(CropInferResult, self.backend.call(call, progress))

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        results = self.backend.call(_call("generate_caption_ocr", request), progress)
        return [from_wire(CaptionOcrResult, result) for result in results]


def _call(
    function: FunctionName, request: ExtractRequest | CropInferRequest | CaptionOcrRequest
) -> ComputeCall:
    return ComputeCall(function, request.tenant_id, request.video_id, to_wire(request))


@dataclass(frozen=True)
class LocalBackend:
    """The functions on this machine's CPU, in the caller's own process.

    Their modules, and with them the decoder and the OCR engine, are imported at the first call.
    """

    object_store: ObjectStore
    settings: ComputeSettings

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        return run_call(call, self.object_store, self.settings, progress)


def run_call(
    call: ComputeCall, store: ObjectStore, settings: ComputeSettings, progress: Progress = no_progress
) -> Any:
    """Run the function that a call names, in this process; the result as wire data."""
    if call.function == "extract_frames_and_ocr":
        from modal_gpu.functions.extract import extract_frames_and_ocr

        request = from_wire(ExtractRequest, call.request)
        return to_wire(extract_frames_and_ocr(request, store, settings, progress))
    if call.function == "crop_and_infer_caption_frame_extents":
        from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents

        request = from_wire(CropInferRequest, call.request)
        return to_wire(crop_and_infer_caption_frame_extents(request, store, settings, progress))
    from modal_gpu.functions.caption_ocr import generate_caption_ocr

    request = from_wire(CaptionOcrRequest, call.request)
    results: Sequence[CaptionOcrResult] = generate_caption_ocr(request, store, settings, progress)
    return [to_wire(result) for result in results]


def LocalCompute(object_store: ObjectStore, settings: ComputeSettings) -> FannedOutCompute:
    """Everything on this machine."""
    return FannedOutCompute(LocalBackend(object_store, settings), object_store)
