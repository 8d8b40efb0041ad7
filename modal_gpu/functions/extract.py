"""``extract_frames_and_ocr``: full frames, their text, and the caption layout."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from modal_gpu.byte_queue import items_within
from modal_gpu.contracts import (
    WHOLE_VIDEO,
    ExtractRequest,
    ExtractResult,
    FrameRange,
    Progress,
    no_progress,
)
from modal_gpu.databases.raw_ocr import write_raw_ocr
from modal_gpu.errors import OcrError, OcrUnavailableError
from modal_gpu.frame_index import coarse_frame_indices, full_frame_indices, indices_at_rate
from modal_gpu.frame_rates import exact_rate
from modal_gpu.functions.coarse_to_fine import coarse_to_fine
from modal_gpu.functions.extents import GZIP
from modal_gpu.functions.feed import read_ahead
from modal_gpu.functions.layout import publish_layout
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.layout.certainty import is_certain as layout_is_certain
from modal_gpu.media.frames import FullFrame, read_full_frames
from modal_gpu.media.images import encode_jpeg, thumbnail
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.storage import ObjectStore

JPEG_QUALITY = 90
THUMBNAIL_QUALITY = 85
#: Largest number of frames that are being encoded or wait for the store.
MAX_PENDING_UPLOADS = 16


def extract_frames_and_ocr(
    request: ExtractRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
) -> ExtractResult:
    """Extract, read and publish the requested outputs; the databases are written after their frames.

    A segment's readings are stored as a part, since the layout depends on the whole video. Raises
    :class:`BadVideoError` for a file that is not a video, and :class:`OcrError` if no frame of a whole video
    could be read.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch = Stopwatch()
    report = DecodeReport()
    with local_video(store, request.video_key, keep=settings.keep_video) as path:
        watch.seconds["download"] = watch.total
        job = _Job.of(request, path)
        with watch.stage("frames_and_ocr"):
            readings = _process_frames(job, store, settings, report, progress)
    info, with_language = job.info, settings.has_language(request.languages)
    with watch.stage("databases"):
        _publish_readings(job, readings, store, with_language=with_language)
    return ExtractResult(
        frame_count=info.index_count,
        duration=float(info.duration),
        frame_width=info.width,
        frame_height=info.height,
        video_codec=info.codec,
        bitrate=info.bitrate,
        ocr_box_count=sum(len(frame.lines) for frame in readings),
        failed_ocr_count=sum(frame.status == "failed" for frame in readings),
        processing_duration_seconds=watch.total,
        full_frames_key=keys.full_frames_prefix,
        ocr_db_key=keys.raw_ocr_db,
        layout_db_key=keys.layout_db,
        full_frame_count=len(job.indices),
        damage=report.describe(),
        time_spans=info.timeline.rows(),
        stage_seconds=watch.seconds,
        with_language=with_language,
    )


@dataclass(frozen=True)
class _Job:
    """A request with its video, and the segment to process (:data:`WHOLE_VIDEO` if it covers the video)."""

    request: ExtractRequest
    path: Path
    info: VideoInfo
    segment: FrameRange

    @classmethod
    def of(cls, request: ExtractRequest, path: Path) -> "_Job":
        info = probe(path)
        return cls(request, path, info, (request.segment or WHOLE_VIDEO).within(info.index_count))

    @property
    def keys(self) -> VideoKeys:
        return VideoKeys(self.request.tenant_id, self.request.video_id)

    @property
    def indices(self) -> list[int]:
        """Indices of the segment's full frames."""
        own, count, rate = self.segment.of(self.info.index_count), self.info.index_count, self.full_frame_rate
        indices = full_frame_indices(count) if rate is None else indices_at_rate(count, exact_rate(rate))
        return [index for index in indices if index in own]

    @property
    def full_frame_rate(self) -> float | None:
        return self.request.full_frame_rate

    @property
    def reads(self) -> bool:
        """True if an output needs OCR."""
        return not self.request.outputs.isdisjoint({"raw_ocr_db", "layout_db"})


class _FrameUploads:
    """Uploads of full frames and their thumbnails, in threads.

    Leaving the context waits for all uploads and raises their first error.
    """

    def __init__(self, store: ObjectStore, keys: VideoKeys) -> None:
        self._store, self._keys = store, keys
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="upload")
        self._pending: deque[Future[None]] = deque()

    def add_each(self, frames: Iterable[FullFrame]) -> Iterator[FullFrame]:
        """Start the upload of each frame and yield it; blocks while too many uploads are pending."""
        for frame in frames:
            while len(self._pending) >= items_within(frame.image.nbytes, MAX_PENDING_UPLOADS):
                self._pending.popleft().result()
            self._pending.append(self._threads.submit(self._store_frame, frame))
            yield frame

    def _store_frame(self, frame: FullFrame) -> None:
        image, index = frame.image, frame.index
        self._store.put(self._keys.full_frame(index), encode_jpeg(image, JPEG_QUALITY), "image/jpeg")
        small = encode_jpeg(thumbnail(image), THUMBNAIL_QUALITY)
        self._store.put(self._keys.thumbnail(index), small, "image/jpeg")

    def __enter__(self) -> "_FrameUploads":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for upload in self._pending:
                    upload.result()
        finally:
            self._threads.shutdown(wait=True)


def _process_frames(
    job: _Job, store: ObjectStore, settings: ComputeSettings, report: DecodeReport, progress: Progress
) -> list[FrameOcr]:
    """Publish and read the full frames, as far as requested; return the readings."""
    total = len(job.indices)
    progress("frames", 0, total)
    frames: Iterator[FullFrame] = read_full_frames(job.path, job.indices, report, info=job.info)
    with _FrameUploads(store, job.keys) as uploads:
        if "full_frames" in job.request.outputs:
            frames = uploads.add_each(frames)
        if job.reads and total:
            # The first frames are decoded while the engine's models load.
            with read_ahead(frames, size=lambda frame: frame.image.nbytes) as ahead:
                return _read_frames(job, ahead, settings, progress)
        for done, _ in enumerate(frames, 1):
            progress("frames", done, total)
    return []


def _read_frames(
    job: _Job, frames: Iterator[FullFrame], settings: ComputeSettings, progress: Progress
) -> list[FrameOcr]:
    """Read the frames, of a whole video as many as its layout needs, and return the readings in order.

    Raises :class:`OcrError` if OCR fails on all frames of a whole video.
    """
    total = len(job.indices)
    readings: list[FrameOcr] = []
    with_language = settings.has_language(job.request.languages)

    def is_certain() -> bool:
        seen = _in_order(readings)
        return layout_is_certain(seen, job.info.width, job.info.height, with_language=with_language)

    if job.segment == WHOLE_VIDEO and job.full_frame_rate is None:
        frames = coarse_to_fine(frames, coarse_frame_indices(job.info.index_count), is_certain)
    images = ((frame.index, frame.image) for frame in frames)
    with OcrPool(lambda: settings.open_ocr("frames", job.request.languages), settings.worker_count) as pool:
        try:
            for done, reading in enumerate(pool.map(images), 1):
                readings.append(reading)
                progress("frames", done, total)
        except OcrUnavailableError:
            raise
        except OcrError:
            # All frames of one segment may fail while others succeed: the merge decides.
            if job.segment == WHOLE_VIDEO or len(readings) < total:
                raise
    progress("frames", total, total)
    return _in_order(readings)


def _in_order(readings: Iterable[FrameOcr]) -> list[FrameOcr]:
    return sorted(readings, key=lambda reading: reading.frame_index)


def _publish_readings(
    job: _Job, readings: list[FrameOcr], store: ObjectStore, *, with_language: bool
) -> None:
    outputs = job.request.outputs
    if job.segment != WHOLE_VIDEO:
        store.put(job.keys.raw_ocr_part(job.segment.start), write_raw_ocr(readings), GZIP)
        return
    if "raw_ocr_db" in outputs:
        store.put(job.keys.raw_ocr_db, write_raw_ocr(readings), GZIP)
    if "layout_db" in outputs:
        publish_layout(
            store, job.keys, readings, job.info.width, job.info.height, with_language=with_language
        )
