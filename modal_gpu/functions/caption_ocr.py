"""``generate_caption_ocr``: the text of captions, read from the per-pixel median of their frames."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from modal_gpu.captions.median import median_image, sample_indices
from modal_gpu.captions.text import TextSettings, caption_text
from modal_gpu.captions.text_parts import TextPartWriter
from modal_gpu.contracts import (
    READY,
    CaptionOcrRequest,
    CaptionOcrResult,
    CaptionRange,
    CropRegion,
    Progress,
    no_progress,
)
from modal_gpu.frame_index import ChunkRef
from modal_gpu.functions.hints import strip_hints
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.media.chunks import ChunkReader
from modal_gpu.ocr.engine import Box, FrameOcr
from modal_gpu.ocr.pool import OcrPool
from modal_gpu.storage import ObjectStore


def generate_caption_ocr(
    request: CaptionOcrRequest,
    store: ObjectStore,
    settings: ComputeSettings,
    progress: Progress = no_progress,
) -> list[CaptionOcrResult]:
    """Return one result per caption, in the request's order; a failed caption's result has its error.

    The texts read so far are stored every few seconds (:mod:`modal_gpu.captions.text_parts`). Raises
    :class:`OcrError` if every caption failed, and :class:`ObjectNotFoundError` if a chunk is missing.
    """
    if not request.captions:
        return []
    total = len(request.captions)
    progress("captions", 0, total)
    results = []
    images = zip(request.captions, caption_images(request, store), strict=True)
    keys = VideoKeys(request.tenant_id, request.video_id)
    reading = text_settings(store, keys, request.crop_region, request.zone)
    part = TextPartWriter(request, store)
    for result in read_images(
        images, reading, settings, min(settings.worker_count, total), request.languages
    ):
        results.append(result)
        progress("captions", len(results), total)
        if part.store(results):
            progress(READY, len(results), total)
    return results


def read_images(
    images: Iterable[tuple[CaptionRange, np.ndarray]],
    reading: TextSettings,
    settings: ComputeSettings,
    workers: int,
    languages: Sequence[str] = (),
) -> Iterator[CaptionOcrResult]:
    """Yield the text of each caption's image (uint8 RGB, H × W × 3), in their order.

    Images are drawn as workers become free. Raises :class:`OcrError` after the last one if all failed.
    """
    read: deque[CaptionRange] = deque()

    def numbered() -> Iterator[tuple[int, np.ndarray]]:
        for number, (caption, image) in enumerate(images):
            read.append(caption)
            yield number, image

    with OcrPool(lambda: settings.open_ocr("strips", languages), workers) as pool:
        for frame in pool.map(numbered()):
            yield _result(read.popleft(), frame, reading)


def caption_images(request: CaptionOcrRequest, store: ObjectStore) -> Iterator[np.ndarray]:
    """Yield the median image (uint8 RGB, H × W × 3) of each caption, in the request's order."""
    keys = VideoKeys(request.tenant_id, request.video_id)

    def fetch(ref: ChunkRef) -> bytes:
        return store.get(keys.chunk(request.version, ref, request.zone))

    step = request.step
    reader = ChunkReader(fetch, request.frame_count, step=step)
    for caption in request.captions:
        # The frames that exist, or the one that is shown where none begins inside the caption.
        first, end = -(-caption.start_index // step), -(-caption.end_index // step)
        wanted = sample_indices(first, end) if first < end else [caption.start_index // step]
        yield median_image(image for _, image in reader.at(place * step for place in wanted))


def text_settings(store: ObjectStore, keys: VideoKeys, crop: CropRegion, zone: int = 0) -> TextSettings:
    """Return the selection of a strip's lines that belong to the caption, from layout.db."""
    hints = strip_hints(store, keys, crop, zone)
    return TextSettings(
        line_height=hints.line_height if hints.line_height_seen else None,
        vertical_center=hints.vertical_center if hints.line_height_seen else None,
        ignore_boxes=tuple(Box(*box) for box in hints.ignore_boxes),
    )


def _result(caption: CaptionRange, frame: FrameOcr, reading: TextSettings) -> CaptionOcrResult:
    count = caption.end_index - caption.start_index
    if frame.status == "failed":
        return CaptionOcrResult("", 0.0, count, caption.caption_id, error=frame.error or "OCR failed")
    text = caption_text(frame.lines, reading)
    return CaptionOcrResult(text.text, text.confidence, count, caption.caption_id)


def single(request: CaptionOcrRequest, results: Sequence[CaptionOcrResult]) -> CaptionOcrResult:
    """Return the only result of a request for one caption, with the index in the middle of its frames."""
    (caption,), (result,) = request.captions, results
    return replace(result, median_frame_index=(caption.start_index + caption.end_index) // 2)
