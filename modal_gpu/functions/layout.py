"""Layout analysis from stored OCR: no GPU, no video, no heavy import."""

from collections.abc import Sequence

from modal_gpu.databases.layout import LayoutFile, layout_file, merge_people, read_layout, write_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.layout.analysis import analyze_layout
from modal_gpu.ocr.engine import FrameOcr
from modal_gpu.storage import ObjectStore


def rebuild_layout(store: ObjectStore, keys: VideoKeys, width: int, height: int) -> LayoutFile:
    """Analyse the stored OCR again, with the labels that people set since; publishes layout.db.

    ``width`` and ``height`` are the upright frame's, in pixels. Raises :class:`ObjectNotFoundError`
    when the video was never read.
    """
    frames = read_raw_ocr(store.get(keys.raw_ocr_db))
    return publish_layout(store, keys, frames, width, height)


def publish_layout(
    store: ObjectStore, keys: VideoKeys, frames: Sequence[FrameOcr], width: int, height: int
) -> LayoutFile:
    """Analyse what was read and write layout.db, keeping what people did in the one that is there."""
    try:
        previous = read_layout(store.get(keys.layout_db))
    except ObjectNotFoundError:
        previous = None
    layout = layout_file(analyze_layout(frames, width, height), frames)
    merged = merge_people(previous, layout)
    if merged.labels:
        # People's labels are tied to boxes by place, so they are known only after a first merge.
        layout = layout_file(analyze_layout(frames, width, height, merged.labels), frames)
        merged = merge_people(previous, layout)
    store.put(keys.layout_db, write_layout(merged), "application/gzip")
    return merged
