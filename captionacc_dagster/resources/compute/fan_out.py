"""Where the heavy functions run. One interface; what differs is the backend that runs one call.

Long videos are cut into segments and many captions into batches, one call each; what the calls leave
is put together here, to the same as one call would have published.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import Any, Protocol, TypeVar

from captionacc_dagster.resources.compute.calls import Backend, ComputeCall, FunctionName, run_calls
from captionacc_dagster.resources.compute.child_process import run_in_child
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CropInferRequest,
    CropInferResult,
    ExtractRequest,
    ExtractResult,
    FrameRange,
    Progress,
    from_wire,
    no_progress,
    to_wire,
)
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import OcrError, RemoteTimeoutError
from modal_gpu.frame_index import segment_starts
from modal_gpu.functions.merge import merge_crops, merge_extracts
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

T = TypeVar("T")

#: Errors of one batch of captions that leave the other batches' readings as they are.
_OF_A_BATCH = (OcrError, RemoteTimeoutError)

#: Stored full frames without which the network cannot judge a part of a video like the whole.
FEWEST_FULL_FRAMES = 16


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
class FanOut:
    """How one video's work is divided.

    ``segment_frames``: 10 Hz frames of a segment at most, a multiple of 512; shorter videos are not
    divided. ``max_parallel``: calls at once; with 1 nothing is divided. ``captions_a_call``: captions
    that one call reads at most. ``divide_crops``: whether the predictor can judge a part of a video.
    """

    segment_frames: int = 6144
    max_parallel: int = 1
    captions_a_call: int = 100
    divide_crops: bool = False

    def segments(self, frame_count: int) -> list[FrameRange]:
        """The segments of a video; one without an end, the whole video, where it is not divided."""
        starts = segment_starts(frame_count, self.segment_frames) if self.max_parallel > 1 else [0]
        return [FrameRange(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


@dataclass(frozen=True)
class FannedOutCompute:
    """:class:`Compute` over a backend: plans the calls, runs them side by side, merges what they leave.

    The first call that fails ends the others, and its error is raised. One that runs into its time limit
    leaves those that run: what they make is kept, and a retry pays for what is missing.
    """

    backend: Backend
    object_store: ObjectStore
    fan_out: FanOut = field(default_factory=FanOut)

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        def call(segment: FrameRange | None) -> ComputeCall:
            return _call("extract_frames_and_ocr", replace(request, segment=segment))

        if self.fan_out.max_parallel == 1:
            return from_wire(ExtractResult, self.backend.call(call(None), progress))
        # How long the video is, the call for its beginning tells; most videos have no more than that.
        first = FrameRange(0, self.fan_out.segment_frames)
        results = [from_wire(ExtractResult, self.backend.call(call(first), progress))]
        count = results[0].frame_count
        if first.covers(count):
            return results[0]
        starts = range(self.fan_out.segment_frames, count, self.fan_out.segment_frames)
        rest = [FrameRange(a, b) for a, b in zip(starts, [*starts[1:], None], strict=True)]
        answers = run_calls(self.backend, list(map(call, rest)), self.fan_out.max_parallel, progress)
        results += [from_wire(ExtractResult, answer) for answer in answers]
        progress("merge", 0, 1)
        merged = merge_extracts(request, [first, *rest], results, self.object_store)
        progress("merge", 1, 1)
        return merged

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        def call(segment: FrameRange | None) -> ComputeCall:
            return _call("crop_and_infer_caption_frame_extents", replace(request, segment=segment))

        segments = self._crop_segments(request)
        if len(segments) == 1:
            return from_wire(CropInferResult, self.backend.call(call(None), progress))
        started_at = utc_now()
        answers = run_calls(self.backend, list(map(call, segments)), self.fan_out.max_parallel, progress)
        results = [from_wire(CropInferResult, answer) for answer in answers]
        progress("merge", 0, 1)
        merged = merge_crops(
            request, segments, results, self.object_store, started_at=started_at, completed_at=utc_now()
        )
        progress("merge", 1, 1)
        return merged

    def _crop_segments(self, request: CropInferRequest) -> list[FrameRange]:
        segments = self.fan_out.segments(request.frame_count)
        if len(segments) == 1 or not self.fan_out.divide_crops:
            return [FrameRange(0)]
        # A part is judged like the whole only beside pictures of the whole video.
        keys = VideoKeys(request.tenant_id, request.video_id)
        stored = sum(1 for _ in islice(self.object_store.list(keys.full_frames_prefix), FEWEST_FULL_FRAMES))
        return segments if stored == FEWEST_FULL_FRAMES else [FrameRange(0)]

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        """A batch that fails as a whole, where others do not, fails caption by caption."""
        size = self.fan_out.captions_a_call if self.fan_out.max_parallel > 1 else len(request.captions)
        batches = list(batched(request.captions, max(1, size)))
        calls = [_call("generate_caption_ocr", replace(request, captions=batch)) for batch in batches]
        if len(calls) <= 1:
            calls = [_call("generate_caption_ocr", request)]
            batches = [request.captions]
        answers = run_calls(self.backend, calls, self.fan_out.max_parallel, progress, tolerated=_OF_A_BATCH)
        errors = [answer for answer in answers if isinstance(answer, _OF_A_BATCH)]
        if len(errors) == len(answers):
            raise errors[0]
        results: list[CaptionOcrResult] = []
        for batch, answer in zip(batches, answers, strict=True):
            if isinstance(answer, _OF_A_BATCH):
                results += [
                    CaptionOcrResult("", 0.0, c.end_index - c.start_index, c.caption_id, error=str(answer))
                    for c in batch
                ]
            else:
                results += [from_wire(CaptionOcrResult, result) for result in answer]
        return results


def batched(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """``items`` in lists of nearly one length, ``size`` at most."""
    count = -(-len(items) // size)
    for place in range(count):
        yield list(items[place * len(items) // count : (place + 1) * len(items) // count])


def _call(
    function: FunctionName, request: ExtractRequest | CropInferRequest | CaptionOcrRequest
) -> ComputeCall:
    return ComputeCall(function, request.tenant_id, request.video_id, to_wire(request))


@dataclass(frozen=True)
class LocalBackend:
    """The functions on this machine's CPU: in the caller's own process, later segments each in one of
    their own, ``parallel`` at once, which share the workers.

    The functions' modules, and with them the decoder and the OCR engine, are imported at the first call.
    """

    object_store: ObjectStore
    settings: ComputeSettings
    parallel: int = 1

    def call(self, call: ComputeCall, progress: Progress = no_progress) -> Any:
        segment = call.request.get("segment") or {"start": 0}
        if segment["start"] == 0:
            return run_call(call, self.object_store, self.settings, progress)
        settings = replace(self.settings, workers=max(1, self.settings.worker_count // self.parallel))
        what = f"video {call.video_id}: {call.function} of frames from {segment['start']} on"
        return run_in_child(partial(run_call, call, self.object_store, settings), what, progress)


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


def LocalCompute(
    object_store: ObjectStore, settings: ComputeSettings, fan_out: FanOut | None = None
) -> FannedOutCompute:
    """Everything on this machine."""
    fan_out = fan_out or FanOut()
    return FannedOutCompute(LocalBackend(object_store, settings, fan_out.max_parallel), object_store, fan_out)
