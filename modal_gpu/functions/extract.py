"""``extract_frames_and_ocr``: full frames, the text on them, and where the captions are."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from modal_gpu.byte_queue import items_within
from modal_gpu.contracts import ExtractRequest, ExtractResult, FrameRange, Progress, no_progress
from modal_gpu.databases.raw_ocr import write_raw_ocr
from modal_gpu.errors import OcrError, OcrUnavailableError
from modal_gpu.frame_index import full_frame_indices
from modal_gpu.functions.layout import publish_layout
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.functions.workspace import Stopwatch, local_video
from modal_gpu.keys import VideoKeys
from modal_gpu.media.frames import read_full_frames
from modal_gpu.media.images import encode_jpeg, thumbnail
from modal_gpu.media.probe import VideoInfo, probe
from modal_gpu.media.report import DecodeReport
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.storage import ObjectStore

JPEG_QUALITY = 90
THUMBNAIL_QUALITY = 85
#: Frames encoded and waiting for the store at once.
MAX_PENDING_UPLOADS = 16


def extract_frames_and_ocr(
    request: ExtractRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
) -> ExtractResult:
    """Take, read and publish what the request names; the databases come after the frames they speak of.

    Of a segment, what was read is stored as a part: the layout is a matter of the whole video. Raises
    :class:`BadVideoError` for a file that is no video, :class:`OcrError` when no frame of a whole video
    could be read.
    """
    keys = VideoKeys(request.tenant_id, request.video_id)
    watch = Stopwatch()
    report = DecodeReport()
    with local_video(store, request.video_key) as path:
        watch.seconds["download"] = watch.total
        info = probe(path)
        segment = request.segment or FrameRange(0)
        whole = segment.covers(info.index_count)
        own = segment.of(info.index_count)
        indices = [index for index in full_frame_indices(info.index_count) if index in own]
        with watch.stage("frames_and_ocr"):
            frames = _read_frames(path, info, indices, report, request, keys, store, settings, progress)
    with watch.stage("databases"):
        if not whole:
            store.put(keys.raw_ocr_part(segment.start), write_raw_ocr(frames), "application/gzip")
        elif "raw_ocr_db" in request.outputs:
            store.put(keys.raw_ocr_db, write_raw_ocr(frames), "application/gzip")
        if whole and "layout_db" in request.outputs:
            publish_layout(store, keys, frames, info.width, info.height)
    return ExtractResult(
        frame_count=info.index_count,
        duration=float(info.duration),
        frame_width=info.width,
        frame_height=info.height,
        video_codec=info.codec,
        bitrate=info.bitrate,
        ocr_box_count=sum(len(frame.lines) for frame in frames),
        failed_ocr_count=sum(frame.status == "failed" for frame in frames),
        processing_duration_seconds=watch.total,
        full_frames_key=keys.full_frames_prefix,
        ocr_db_key=keys.raw_ocr_db,
        layout_db_key=keys.layout_db,
        full_frame_count=len(indices),
        damage=report.describe(),
        time_spans=info.timeline.rows(),
        stage_seconds=watch.seconds,
    )


def _read_frames(
    path: Path,
    info: VideoInfo,
    indices: Sequence[int],
    report: DecodeReport,
    request: ExtractRequest,
    keys: VideoKeys,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress,
) -> list[FrameOcr]:
    publish = "full_frames" in request.outputs
    read = not request.outputs.isdisjoint({"raw_ocr_db", "layout_db"})
    found: list[FrameOcr] = []
    progress("frames", 0, len(indices))
    with ThreadPoolExecutor(4, thread_name_prefix="upload") as uploads:
        pending: list[Future[None]] = []

        def images() -> Iterator[tuple[int, np.ndarray]]:
            for frame in read_full_frames(path, indices, report, info=info):
                if publish:
                    while len(pending) >= items_within(frame.image.nbytes, MAX_PENDING_UPLOADS):
                        pending.pop(0).result()
                    pending.append(uploads.submit(_store_frame, store, keys, frame.index, frame.image))
                yield frame.index, frame.image

        if read and indices:
            with OcrPool(lambda: settings.open_ocr("frames"), settings.worker_count) as pool:
                try:
                    for done, frame in enumerate(pool.map(images()), 1):
                        found.append(frame)
                        progress("frames", done, len(indices))
                except OcrUnavailableError:
                    raise
                except OcrError:
                    # All frames of a segment may fail where others do not: that is for the whole to say.
                    segment = request.segment or FrameRange(0)
                    if segment.covers(info.index_count) or len(found) < len(indices):
                        raise
        else:
            for done, _ in enumerate(images(), 1):
                progress("frames", done, len(indices))
        for upload in pending:
            upload.result()
    return found


def _store_frame(store: ObjectStore, keys: VideoKeys, index: int, image: np.ndarray) -> None:
    store.put(keys.full_frame(index), encode_jpeg(image, JPEG_QUALITY), "image/jpeg")
    store.put(keys.thumbnail(index), encode_jpeg(thumbnail(image), THUMBNAIL_QUALITY), "image/jpeg")
