"""Layout analysis that uses and keeps people's work from the previous file."""

from collections.abc import Sequence

from modal_gpu.databases.layout import LayoutFile, layout_file
from modal_gpu.databases.layout_merging import merge_people
from modal_gpu.layout.analysis import analyze_layout
from modal_gpu.ocr.engine import FrameOcr


def layout_with_people(
    frames: Sequence[FrameOcr],
    width: int,
    height: int,
    previous: LayoutFile | None = None,
    *,
    with_language: bool = False,
) -> LayoutFile:
    """Analyse ``frames`` (``width`` × ``height`` pixels) with the labels of ``previous``, which are kept.

    ``frames`` may come from another OCR run than ``previous``: labels are matched by the boxes' places.
    ``with_language``: they were read with a model for the captions' languages.
    """
    layout = analyze_layout(frames, width, height, with_language=with_language)
    merged = merge_people(previous, layout_file(layout, frames))
    if not merged.labels:
        return merged
    layout = analyze_layout(frames, width, height, merged.labels, with_language=with_language)
    return merge_people(previous, layout_file(layout, frames))
