"""The interface to the three compute functions, and its implementation over single calls.

Long videos are cut into segments and many captions into batches, one call each. Merging what the calls
leave publishes the same as one undivided call.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol, TypeVar

from captionacc_dagster.resources.compute.calls import (
    Backend,
    CallReport,
    ComputeCall,
    FunctionName,
    run_calls,
)
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
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
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

T = TypeVar("T")

#: Errors of one batch of captions that leave the other batches' readings intact.
_BATCH_ERRORS = (OcrError, RemoteTimeoutError)

#: Stored full frames below which the network judges a segment differently from an undivided video.
FEWEST_FULL_FRAMES = 16


@dataclass(frozen=True)
class FanOut:
    """Division of one video's work into calls.

    ``segment_frames``: most 10 Hz frames of a segment, a multiple of 512; shorter videos are not
    divided. ``max_parallel``: most calls at once; with 1 nothing is divided. ``captions_a_call``: most
    captions that one call reads. ``divide_crops``: whether the predictor can judge a part of a video.
    """

    segment_frames: int = 6144
    max_parallel: int = 1
    captions_a_call: int = 100
    divide_crops: bool = False

    def segments(self, frame_count: int) -> list[FrameRange]:
        """Return a video's segments; a single one without an end where the video is not divided."""
        return self._divided(0, frame_count) if self.max_parallel > 1 else [FrameRange(0)]

    def segments_after_first(self, frame_count: int) -> list[FrameRange]:
        """Return the segments after a first one of ``segment_frames``, by which the length became known."""
        first = self.segment_frames
        return self._divided(first, frame_count - first) if frame_count > first else []

    def _divided(self, first: int, count: int) -> list[FrameRange]:
        starts = [first + s for s in segment_starts(count, self.segment_frames, self.max_parallel)]
        return [FrameRange(start, end) for start, end in zip(starts, [*starts[1:], None], strict=True)]


class Compute(Protocol):
    """The three functions. Each blocks until its result is published, or raises a typed error."""

    @property
    def fan_out(self) -> FanOut:
        """Division of a video's work, which decides how many containers it is expected to need."""
        ...

    @property
    def is_billed(self) -> bool:
        """True if calls cost money: they are then reserved, charged and reported."""
        ...

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        """Take full frames, read them, find the layout; publish the outputs that the request names."""
        ...

    def crop_and_infer(self, request: CropInferRequest, progress: Progress = no_progress) -> CropInferResult:
        """Publish cropped frames in chunks, and the labels of neighbouring frames."""
        ...

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        """Return the text of each caption, in the request's order."""
        ...

    def take_reports(self) -> list[CallReport]:
        """Return the reports of billed calls that ended since the last time, and forget them."""
        ...


@dataclass(frozen=True)
class FannedOutCompute:
    """:class:`Compute` over a backend: plans the calls, runs them in parallel, merges what they leave.

    The first call that fails ends the others, and its error is raised. After a call that ran into its time
    limit the running calls finish: what they made is kept, and a retry pays for what is missing.
    """

    backend: Backend
    object_store: ObjectStore
    fan_out: FanOut = field(default_factory=FanOut)

    @property
    def is_billed(self) -> bool:
        return self.backend.is_billed

    def take_reports(self) -> list[CallReport]:
        return self.backend.take_reports()

    def extract(self, request: ExtractRequest, progress: Progress = no_progress) -> ExtractResult:
        def call(segment: FrameRange | None) -> ComputeCall:
            return _call("extract_frames_and_ocr", replace(request, segment=segment))

        if self.fan_out.max_parallel == 1:
            return from_wire(ExtractResult, self.backend.call(call(None), progress))
        # The length is known only after the first call; most videos have no more than one segment.
        first = FrameRange(0, self.fan_out.segment_frames)
        results = [from_wire(ExtractResult, self.backend.call(call(first), progress))]
        count = results[0].frame_count
        if first.covers(count):
            return results[0]
        rest = self.fan_out.segments_after_first(count)
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
        # A segment is judged as in an undivided call only beside full frames of the entire video.
        keys = VideoKeys(request.tenant_id, request.video_id)
        stored = sum(1 for _ in islice(self.object_store.list(keys.full_frames_prefix), FEWEST_FULL_FRAMES))
        return segments if stored == FEWEST_FULL_FRAMES else [FrameRange(0)]

    def caption_ocr(
        self, request: CaptionOcrRequest, progress: Progress = no_progress
    ) -> list[CaptionOcrResult]:
        """Return the text of each caption; captions of a batch that failed have its error.

        Raises the first batch's error when every batch failed.
        """
        batches = self._caption_batches(request)
        calls = [_call("generate_caption_ocr", replace(request, captions=batch)) for batch in batches]
        answers = run_calls(self.backend, calls, self.fan_out.max_parallel, progress, tolerated=_BATCH_ERRORS)
        errors = [answer for answer in answers if isinstance(answer, _BATCH_ERRORS)]
        if len(errors) == len(answers):
            raise errors[0]
        return [
            result
            for batch, answer in zip(batches, answers, strict=True)
            for result in _batch_results(batch, answer)
        ]

    def _caption_batches(self, request: CaptionOcrRequest) -> list[list[CaptionRange]]:
        size = self.fan_out.captions_a_call if self.fan_out.max_parallel > 1 else len(request.captions)
        return list(batched(request.captions, max(1, size))) or [request.captions]


def _batch_results(batch: Sequence[CaptionRange], answer: Any) -> list[CaptionOcrResult]:
    if isinstance(answer, _BATCH_ERRORS):
        return [
            CaptionOcrResult("", 0.0, c.end_index - c.start_index, c.caption_id, error=str(answer))
            for c in batch
        ]
    return [from_wire(CaptionOcrResult, result) for result in answer]


def batched(items: Sequence[T], size: int) -> Iterator[list[T]]:
    """Yield ``items`` in lists of nearly equal length, at most ``size`` each."""
    count = -(-len(items) // size)
    for place in range(count):
        yield list(items[place * len(items) // count : (place + 1) * len(items) // count])


def _call(
    function: FunctionName, request: ExtractRequest | CropInferRequest | CaptionOcrRequest
) -> ComputeCall:
    return ComputeCall(function, request.tenant_id, request.video_id, to_wire(request))
