"""The certainty of a layout: whether a part of the full frames is enough to place a video's captions."""

from collections.abc import Sequence

from modal_gpu.layout.analysis import TEXTS_TO_TRUST_LINE_COUNT, analyze_layout
from modal_gpu.layout.lines import Line, different_texts, size_ratio
from modal_gpu.layout.rejection import reject_shapes, reject_static
from modal_gpu.ocr.engine import FrameOcr

#: Least confidence of a certain layout.
_CONFIDENCE = 0.95
#: Largest ratio of sizes of two places of captions, and of frames with text that may be a second place.
_SIZE_RATIO, _STRAY_FRAMES = 2.0, 1


def is_certain(frames: Sequence[FrameOcr], width: int, height: int, *, with_language: bool = False) -> bool:
    """Return whether more frames would hardly change the layout of a video of ``width`` × ``height`` pixels.

    That is so if there is one band with many different texts, and no other text of such a size in more than
    a single frame, except static text. ``frames`` are in order; ``with_language``: see
    :func:`modal_gpu.layout.analysis.analyze_layout`.
    """
    layout = analyze_layout(frames, width, height, with_language=with_language)
    if not layout.box_height or layout.zones or layout.confidence < _CONFIDENCE:
        return False
    captions = {(box.frame_index, box.box_index) for box in layout.predictions if box.label == "in"}
    seen = [frame for frame in frames if frame.status != "failed"]
    lines = [
        Line(frame.frame_index, index, line.text, line.box, None)
        for frame in seen
        for index, line in enumerate(frame.lines)
    ]
    texts = different_texts([line for line in lines if (line.frame, line.index) in captions])
    if len(texts) < TEXTS_TO_TRUST_LINE_COUNT:
        return False
    reject_shapes(lines, width, height)
    reject_static(lines, [frame.frame_index for frame in seen])
    stray = {
        line.frame
        for line in lines
        if not line.verdict
        and (line.frame, line.index) not in captions
        and size_ratio(line.box.height, layout.box_height) <= _SIZE_RATIO
    }
    return len(stray) <= _STRAY_FRAMES
