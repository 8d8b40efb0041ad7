"""``crop_and_infer_caption_frame_extents``: the caption strip at 10 Hz, in chunks, and its pair labels."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from modal_gpu.contracts import (
    WHOLE_VIDEO,
    CropInferRequest,
    CropInferResult,
    FrameRange,
    Progress,
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
from modal_gpu.functions.hints import sampled_strips, strip_hints
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import EncodedChunk, write_chunks
from modal_gpu.media.frames import CroppedFrame, read_cropped_frames
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
    watcher: StripWatcher | None = None,
) -> CropInferResult:
    """Encode, store and judge the strips in one pass over the video, while the next ones are decoded.

    The extents database, or a segment's part of it, is written last, after all chunks. ``watcher`` sees the
    strips and their scores on the way. Raises
    :class:`BadVideoError` for a file that is not a video, and :class:`ContractError` for a segment if the
    predictor needs the whole video.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch, report, started_at = Stopwatch(), DecodeReport(), utc_now()
    predictor = settings.predictor()
    with local_video(store, request.video_key, keep=settings.keep_video) as path:
        watch.seconds["download"] = watch.total
        job = _Job.of(request, path, predictor, gpu=settings.gpu_decoding)
        hints = _hints(job, store)
        with watch.stage("crop_and_infer"):
            stored, scores = _crop_and_judge(job, hints, store, report, progress, watcher)
    key = keys.caption_frame_extents_db(request.version)
    with watch.stage("database"):
        if job.segment != WHOLE_VIDEO:
            key = keys.caption_frame_extents_part(request.version, job.segment.start)
            store.put(key, write_segment(scores), GZIP)
        elif "caption_frame_extents_db" in request.outputs:
            publish_extents(
                request, scores, store, started_at=started_at, completed_at=utc_now(), seconds=watch.total
            )
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
        damage=report.describe(),
        duration=float(job.info.duration),
        time_spans=job.info.timeline.rows(),
        stage_seconds=watch.seconds,
    )


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

    @property
    def frame_count(self) -> int:
        """Number of frames in the segment."""
        return len(self.segment.of(self.info.index_count))

    @property
    def around(self) -> int:
        """Number of frames on either side of the segment that the predictor needs."""
        return LABELLED_AROUND + (self.predictor.margin or 0)

    @property
    def first_index(self) -> int:
        """First frame that the predictor gets."""
        return max(0, self.segment.start - self.around)

    def read_frames(self, hints: StripHints, report: DecodeReport) -> Iterator[CroppedFrame]:
        """Read the strips of the segment and of the frames around it."""
        left, top, right, bottom = self.request.crop_region.pixels(self.info.width, self.info.height)
        return read_cropped_frames(
            self.path,
            self.request.crop_region,
            report,
            info=self.info,
            first_index=self.first_index,
            end_index=None if self.segment.end is None else self.segment.end + self.around,
            source_size=picture_size(bottom - top, right - left, hints.line_height),
            gpu=self.gpu,
        )


class _StoredChunks:
    """The chunks stored for one cropped-frames version; ``total_bytes`` is their size."""

    def __init__(self, store: ObjectStore, request: CropInferRequest) -> None:
        self._store, self._version = store, request.version
        self._keys = VideoKeys(request.tenant_id, request.video_id)
        self.count = 0
        self.total_bytes = 0

    def store(self, encoded: Iterable[EncodedChunk]) -> None:
        """Store chunks as they arrive."""
        self._store.put_many(map(self._object, encoded), concurrency=4)

    def _object(self, chunk: EncodedChunk) -> tuple[str, bytes, str]:
        self.count += 1
        self.total_bytes += len(chunk.data)
        return self._keys.chunk(self._version, chunk.ref), chunk.data, "video/webm"


def _hints(job: _Job, store: ObjectStore) -> StripHints:
    keys, crop = VideoKeys(job.request.tenant_id, job.request.video_id), job.request.crop_region
    hints = strip_hints(store, keys, crop)
    if job.predictor.margin is None:
        return hints
    part = job.segment.of(job.info.index_count)
    return replace(hints, samples=sampled_strips(store, keys, crop, job.info, part))


def _crop_and_judge(
    job: _Job,
    hints: StripHints,
    store: ObjectStore,
    report: DecodeReport,
    progress: Progress,
    watcher: StripWatcher | None,
) -> tuple[_StoredChunks, SegmentScores]:
    """Pass the strips to the predictor's thread and to the chunk encoder; return chunks and scores.

    Raises :class:`StorageError` if not all chunks were stored.
    """
    stored = _StoredChunks(store, job.request)
    with Feed[CroppedFrame, SegmentScores](
        lambda frames: _judge(job, hints, frames, watcher), size=lambda frame: frame.yuv.nbytes
    ) as judge:
        frames = _fed(job.read_frames(hints, report), judge, watcher)
        own = _reported(_inside(frames, job.segment), job.frame_count, progress)
        if "cropped_chunks" in job.request.outputs:
            stored.store(write_chunks(own, first_index=job.segment.start))
        else:
            for _ in own:
                pass
        scores = judge.result()
    progress("strips", job.frame_count, job.frame_count)
    if "cropped_chunks" in job.request.outputs:
        _check_complete(job, stored, len(scores))
    return stored, scores


def _fed(
    frames: Iterable[CroppedFrame], judge: Feed[CroppedFrame, SegmentScores], watcher: StripWatcher | None
) -> Iterator[CroppedFrame]:
    for frame in frames:
        if watcher is not None:
            watcher.frame(frame)
        judge.put(frame)
        yield frame


def _inside(frames: Iterable[CroppedFrame], segment: FrameRange) -> Iterator[CroppedFrame]:
    """Yield the frames of the segment; the others are read to their end too."""
    for frame in frames:
        if frame.index >= segment.start and (segment.end is None or frame.index < segment.end):
            yield frame


def _reported(frames: Iterable[CroppedFrame], total: int, progress: Progress) -> Iterator[CroppedFrame]:
    """Yield the frames; report progress at every 50th."""
    for count, frame in enumerate(frames, 1):
        if count % 50 == 1:
            progress("strips", min(count, total), total)
        yield frame


def _check_complete(job: _Job, stored: _StoredChunks, frame_count: int) -> None:
    start = job.segment.start
    expected = sum(start <= ref.first_index for ref in chunks(start + frame_count))
    if stored.count != expected:
        raise StorageError(
            f"{stored.count} of {expected} chunks of version {job.request.version} were stored"
        )


def _judge(
    job: _Job, hints: StripHints, frames: Iterator[CroppedFrame], watcher: StripWatcher | None
) -> SegmentScores:
    """Judge the frames and return the segment's scores."""
    predictor, index = job.predictor, job.first_index
    locator = ChangeLocator(index)
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
