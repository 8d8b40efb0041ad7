"""A layout file from OCR results that keeps, and learns from, what people did in the file before."""

from collections.abc import Sequence

from modal_gpu.databases.layout import LayoutFile, layout_file, merge_people
from modal_gpu.layout.analysis import analyze_layout
from modal_gpu.ocr.engine import FrameOcr


def layout_with_people(
    frames: Sequence[FrameOcr], width: int, height: int, previous: LayoutFile | None = None
) -> LayoutFile:
    """Analyse ``frames`` (``width`` × ``height`` pixels) under the labels of ``previous``, and keep them all.

    ``frames`` may come from another OCR run than ``previous``: labels follow the boxes by their places.
    """
    layout = analyze_layout(frames, width, height)
    merged = merge_people(previous, layout_file(layout, frames))
    if not merged.labels:
        return merged
    layout = analyze_layout(frames, width, height, merged.labels)
    return merge_people(previous, layout_file(layout, frames))
