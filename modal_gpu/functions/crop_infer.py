"""``crop_and_infer_caption_frame_extents``: the caption strip at 10 Hz, in chunks, and its pair labels."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from modal_gpu.contracts import (
    READY,
    WHOLE_VIDEO,
    CropInferRequest,
    CropInferResult,
    CropRegion,
    FrameRange,
    Progress,
    ZoneResult,
    crop_regions,
    no_progress,
)
from modal_gpu.databases.extents import SegmentScores, write_segment
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import ContractError, StorageError
from modal_gpu.extents.change_times import WINDOW, ChangeLocator, picture_size
from modal_gpu.extents.predictor import PairBatch, PairPredictor, StripHints
from modal_gpu.frame_index import chunks
from modal_gpu.functions.extents import GZIP, publish_extents
from modal_gpu.functions.feed import Feed
from modal_gpu.functions.frame_flow import every, inside, numbered, reported
from modal_gpu.functions.hints import sampled_strips, strip_hints
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import EncodedChunk, write_chunks
from modal_gpu.media.frames import CroppedFrame, StripPlace, read_strips
from modal_gpu.media.hardware import decodes
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.storage import ObjectStore

#: Frames on either side of a segment that are judged too, to find changes at its ends. The frames that
#: predictors get start at a multiple of it.
LABELLED_AROUND = 32
assert WINDOW < LABELLED_AROUND


class StripWatcher(Protocol):
    """Sees what passes through a call: strips in the caller's thread, their scores in the predictor's.

    Both come in index order, the scores some batches later. An error that it raises ends the call.
    """

    def frame(self, frame: CroppedFrame) -> None: ...

    def batch(self, batch: PairBatch) -> None: ...


def crop_and_infer_caption_frame_extents(
    request: CropInferRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
    watchers: Mapping[int, StripWatcher] | None = None,
) -> CropInferResult:
    """Encode, store and judge the strips in one pass over the video, while the next ones are decoded.

    The extents database, or a segment's part of it, is written last, after all chunks. The ``watchers``
    of zones see their strips and scores on the way. Raises :class:`BadVideoError` for a file that is not a
    video, and :class:`ContractError` for a segment if the predictor needs the whole video.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch, report, started_at = Stopwatch(), DecodeReport(), utc_now()
    predictor = settings.predictor()
    with local_video(store, request.video_key, keep=settings.keep_video) as path:
        watch.seconds["download"] = watch.total
        job = _Job.of(request, path, predictor, gpu=settings.gpu_decoding)
        strips = [
            _Strip(job, zone, crop, _hints(job, zone, crop, store))
            for zone, crop in crop_regions(request.crop_region, request.zones).items()
        ]
        with watch.stage("crop_and_infer"):
            results = _crop_and_judge(job, strips, store, report, progress, watchers or {})
    with watch.stage("database"):
        extents_keys = [
            _publish(strip, scores, store, started_at, watch.total)
            for strip, (_, scores) in zip(strips, results, strict=True)
        ]
    job.announce(progress)
    (stored, scores), key = results[0], extents_keys[0]
    return CropInferResult(
        version=request.version,
        frame_count=len(scores),
        label_counts=scores.pairs().label_counts(),
        processing_duration_seconds=watch.total,
        caption_frame_extents_db_key=key,
        cropped_frames_prefix=keys.cropped_frames_prefix(request.version),
        chunk_count=stored.count,
        total_size_bytes=stored.total_bytes,
        model_version=predictor.model_version,
        model_sha256=predictor.model_sha256,
        damage=report.describe(),
        duration=float(job.info.duration),
        time_spans=job.info.timeline.rows(),
        stage_seconds=watch.seconds,
        zones=tuple(
            ZoneResult(
                strip.zone,
                scores.pairs().label_counts(),
                key,
                keys.cropped_frames_prefix(request.version, strip.zone),
                stored.count,
                stored.total_bytes,
            )
            for strip, (stored, scores), key in zip(strips, results, extents_keys, strict=True)
            if strip.zone
        ),
    )


def _publish(
    strip: "_Strip", scores: SegmentScores, store: ObjectStore, started_at: str, seconds: float
) -> str:
    """Write a zone's extents database, or a segment's part of it; return its key."""
    job, request = strip.job, strip.job.request
    keys = VideoKeys(request.tenant_id, request.video_id)
    if job.segment != WHOLE_VIDEO:
        key = keys.caption_frame_extents_part(request.version, job.segment.start, strip.zone)
        store.put(key, write_segment(scores), GZIP)
        return key
    if "caption_frame_extents_db" in request.outputs:
        publish_extents(
            request,
            scores,
            store,
            started_at=started_at,
            completed_at=utc_now(),
            seconds=seconds,
            zone=strip.zone,
        )
    return keys.caption_frame_extents_db(request.version, strip.zone)


@dataclass(frozen=True)
class _Job:
    """A request with its video, and the segment to process (:data:`WHOLE_VIDEO` if it covers the video)."""

    request: CropInferRequest
    path: Path
    info: VideoInfo
    segment: FrameRange
    predictor: PairPredictor
    #: Whether a GPU decodes the video, as long as it can.
    gpu: bool = False

    @classmethod
    def of(cls, request: CropInferRequest, path: Path, predictor: PairPredictor, *, gpu: bool) -> "_Job":
        """Probe the video. Raises :class:`ContractError` if the predictor cannot judge a segment."""
        info = probe(path)
        segment = (request.segment or WHOLE_VIDEO).within(info.index_count)
        if segment != WHOLE_VIDEO and predictor.margin is None:
            raise ContractError(
                f"video {request.video_id}: {predictor.model_version} judges only whole videos, "
                f"not frames from {segment.start} on"
            )
        # A GPU guesses damaged pictures in its own way and does not report them.
        return cls(request, path, info, segment, predictor, gpu and not request.damaged and decodes(info))

    def announce(self, progress: Progress) -> None:
        """Say that a segment's scores can be read, before the other segments are finished."""
        if self.segment != WHOLE_VIDEO:
            progress(READY, 1, 1)

    @property
    def frame_count(self) -> int:
        """Number of frames in the segment."""
        return len(self.segment.of(self.info.index_count)[:: self.request.step])

    @property
    def writes_chunks(self) -> bool:
        """True if the request asks for chunks."""
        return "cropped_chunks" in self.request.outputs

    @property
    def around(self) -> int:
        """Number of frames on either side of the segment that the predictor needs."""
        return LABELLED_AROUND + (self.predictor.margin or 0)

    @property
    def first_index(self) -> int:
        """First frame that the predictor gets."""
        return max(0, self.segment.start - self.around)

    def read_strips(
        self, strips: Sequence["_Strip"], report: DecodeReport
    ) -> Iterator[tuple[CroppedFrame, ...]]:
        """Read the strips of the segment and of the frames around it."""
        end = None if self.segment.end is None else self.segment.end + self.around
        places = [strip.place for strip in strips]
        read = read_strips(
            self.path,
            places,
            report,
            info=self.info,
            first_index=self.first_index,
            end_index=end,
            gpu=self.gpu,
        )
        return every(read, self.request.step)


@dataclass(frozen=True)
class _Strip:
    """One zone's strip in a job."""

    job: _Job
    zone: int
    crop: CropRegion
    hints: StripHints

    @property
    def place(self) -> StripPlace:
        info = self.job.info
        left, top, right, bottom = self.crop.pixels(info.width, info.height)
        return StripPlace(self.crop, picture_size(bottom - top, right - left, self.hints.line_height))


class _StoredChunks:
    """The chunks stored for one zone of a cropped-frames version; ``total_bytes`` is their size."""

    def __init__(self, store: ObjectStore, request: CropInferRequest, zone: int) -> None:
        self._store, self._version, self._zone = store, request.version, zone
        self._keys = VideoKeys(request.tenant_id, request.video_id)
        self.count = 0
        self.total_bytes = 0

    def store(self, encoded: Iterable[EncodedChunk]) -> None:
        """Store chunks as they arrive."""
        self._store.put_many(map(self._object, encoded), concurrency=4)

    def _object(self, chunk: EncodedChunk) -> tuple[str, bytes, str]:
        self.count += 1
        self.total_bytes += len(chunk.data)
        return self._keys.chunk(self._version, chunk.ref, self._zone), chunk.data, "video/webm"


def _hints(job: _Job, zone: int, crop: CropRegion, store: ObjectStore) -> StripHints:
    keys = VideoKeys(job.request.tenant_id, job.request.video_id)
    hints = strip_hints(store, keys, crop, zone)
    if job.predictor.margin is None:
        return hints
    part = job.segment.of(job.info.index_count)
    samples = sampled_strips(store, keys, crop, job.info, part)
    return replace(hints, samples=samples.at_step(job.request.step))


_Outcome = tuple[_StoredChunks, SegmentScores]


def _crop_and_judge(
    job: _Job,
    strips: Sequence[_Strip],
    store: ObjectStore,
    report: DecodeReport,
    progress: Progress,
    watchers: Mapping[int, StripWatcher],
) -> list[_Outcome]:
    """Pass each zone's strips to its predictor and its chunk encoder; return its chunks and scores.

    Zone 0's chunks are encoded in this thread, which decodes, and those of further zones in theirs.
    Raises :class:`StorageError` if not all chunks were stored.
    """
    first, *further = strips
    stored = _StoredChunks(store, job.request, first.zone)
    with ExitStack() as stack:
        branches = [stack.enter_context(_Branch(strip, store, watchers.get(strip.zone))) for strip in further]
        judge = stack.enter_context(_judging(first, watchers.get(first.zone)))
        read = _watched(job.read_strips(strips, report), [watchers.get(strip.zone) for strip in strips])
        frames = _fed(read, branches, judge)
        own = reported(inside(frames, job.segment), job.frame_count, progress)
        if job.writes_chunks:
            stored.store(write_chunks(own, first_index=job.segment.start, step=job.request.step))
        else:
            for _ in own:
                pass
        scores = judge.result()
        results = [(stored, scores), *(branch.result() for branch in branches)]
    progress("strips", job.frame_count, job.frame_count)
    if job.writes_chunks:
        for strip, (chunks_of_zone, scores) in zip(strips, results, strict=True):
            _check_complete(strip, chunks_of_zone, len(scores))
    return results


def _judging(strip: _Strip, watcher: StripWatcher | None) -> Feed[CroppedFrame, SegmentScores]:
    return Feed(lambda frames: _judge(strip, frames, watcher), size=lambda frame: frame.yuv.nbytes)


class _Branch:
    """The threads of a further zone: one judges its strips, one encodes and stores their chunks."""

    def __init__(self, strip: _Strip, store: ObjectStore, watcher: StripWatcher | None) -> None:
        self._stored = _StoredChunks(store, strip.job.request, strip.zone)
        self._stack = ExitStack()
        self._judge = self._stack.enter_context(_judging(strip, watcher))
        self._encode: Feed[CroppedFrame, None] | None = None
        if strip.job.writes_chunks:
            segment, step = strip.job.segment, strip.job.request.step

            def encode(frames: Iterator[CroppedFrame]) -> None:
                own = inside(frames, segment)
                self._stored.store(write_chunks(own, first_index=segment.start, step=step))

            feed = Feed[CroppedFrame, None](encode, size=lambda frame: frame.yuv.nbytes)
            self._encode = self._stack.enter_context(feed)

    def put(self, frame: CroppedFrame) -> None:
        """Pass a frame on; blocks while the threads are behind."""
        self._judge.put(frame)
        if self._encode is not None:
            self._encode.put(frame)

    def result(self) -> _Outcome:
        """Return the zone's chunks and scores; call it after the last frame."""
        if self._encode is not None:
            self._encode.result()
        return self._stored, self._judge.result()

    def __enter__(self) -> "_Branch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _watched(
    frames: Iterable[tuple[CroppedFrame, ...]], watchers: Sequence[StripWatcher | None]
) -> Iterator[tuple[CroppedFrame, ...]]:
    """Yield the zones' frames; show each to its zone's watcher before."""
    for of_zones in frames:
        for watcher, frame in zip(watchers, of_zones, strict=True):
            if watcher is not None:
                watcher.frame(frame)
        yield of_zones


def _fed(
    frames: Iterable[tuple[CroppedFrame, ...]],
    branches: Sequence[_Branch],
    judge: Feed[CroppedFrame, SegmentScores],
) -> Iterator[CroppedFrame]:
    for frame, *others in frames:
        judge.put(frame)
        for branch, other in zip(branches, others, strict=True):
            branch.put(other)
        yield frame


def _check_complete(strip: _Strip, stored: _StoredChunks, frame_count: int) -> None:
    start, step = strip.job.segment.start, strip.job.request.step
    expected = sum(start <= ref.first_index for ref in chunks(start + frame_count * step, step))
    if stored.count != expected:
        raise StorageError(
            f"{stored.count} of {expected} chunks of version {strip.job.request.version}, "
            f"zone {strip.zone}, were stored"
        )


def _judge(strip: _Strip, frames: Iterator[CroppedFrame], watcher: StripWatcher | None) -> SegmentScores:
    """Judge the frames and return the segment's scores."""
    job, hints = strip.job, strip.hints
    predictor, index = job.predictor, job.first_index
    locator = ChangeLocator(index)
    frames = numbered(frames, job.request.step)
    presence, same = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for batch in predictor.predict(locator.watched(frames), hints, job.first_index):
        if batch.first_index != index:
            raise ValueError(f"batch starts at frame {batch.first_index}, expected {index}")
        index += len(batch.presence)
        presence.append(batch.presence)
        same.append(batch.same)
        locator.add(batch)
        if watcher is not None:
            watcher.batch(batch)
    end = None if job.segment.end is None else job.segment.end - job.first_index
    own = slice(job.segment.start - job.first_index, end)
    return SegmentScores(
        job.segment.start,
        np.concatenate(presence)[own],
        np.concatenate(same)[own],
        locator.finish()[own],
        predictor.model_version,
        predictor.model_sha256,
    )
