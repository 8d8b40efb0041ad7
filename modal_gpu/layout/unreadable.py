"""Captions that the OCR model in use cannot read, recognised by their places and poor readings.

The detector finds lines of any script. A line that the model cannot read comes out empty, as a "." from a
whole line, or as letters with a low confidence. Where most wide lines of one height and anchor are like that,
and change over time, they are captions.
"""

import hashlib
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from modal_gpu.layout.lines import BOTTOM_ZONE, BoxKey, size_ratio
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine
from modal_gpu.ocr.languages.finding import UNREADABLE
from modal_gpu.ocr.languages.reading import is_poor, is_wide, partly_known, partly_read_language

#: Lines of one row: centres within this share of the line height, heights within this ratio, an anchored edge
#: or centre within this distance.
_ROW, _HEIGHTS, _ANCHOR = 0.5, 1.8, 0.035
#: Share of a row's lines that have their anchor in common.
_ANCHORED_SHARE = 0.7
#: Two lines are of one caption if both ends differ by at most this.
_SAME_SPAN = 0.008
#: Share of a row's frames whose lines were read poorly.
_POOR_SHARE = 0.6
#: Fewest different spans, and fewest frames, of captions; in clips of few samples fewer suffice where
#: captions usually are.
_SPANS, _FRAMES, _FEW_SAMPLES = 2, 3, 10
#: Engines that keep unread lines return them with a lower confidence than this.
_LEAST_CONFIDENCE = 0.5


@dataclass(frozen=True)
class Unread:
    """Lines of captions that were not read, each with a text that stands for it; and the finding."""

    texts: dict[BoxKey, str] = field(default_factory=dict)
    finding: str = ""


def find_unread(frames: Sequence[FrameOcr], aspect: float, with_language: bool = False) -> Unread:
    """Return the unread captions among readings of frames of ``aspect`` (width by height); none is usual.

    Lines of one caption get one text, and different captions get different ones, so that layout analysis can
    find their place as it finds that of others. Without a language (``with_language``), letters that were
    read may tell one that the wheel's model knows only in part.
    """
    lines = [
        ((frame.frame_index, index), line)
        for frame in frames
        for index, line in enumerate(frame.lines)
        if is_wide(line.box, aspect)
    ]
    for row in _rows(lines):
        poor = [(key, line) for key, line in row if is_poor(line, aspect)]
        if len(poor) < _POOR_SHARE * len(row) or not _is_anchored([line.box for _, line in row]):
            continue
        texts = _texts(poor)
        if _are_captions(texts, [line.box for _, line in poor], len(frames)):
            return Unread(texts, f"{UNREADABLE}.")
    read = [line.text for _, line in lines if not is_poor(line, aspect)]
    if not with_language and (partly := partly_read_language(read)) is not None:
        return Unread(finding=partly_known(partly))
    return Unread()


def _are_captions(texts: dict[BoxKey, str], boxes: Sequence[Box], samples: int) -> bool:
    seen = len({frame for frame, _ in texts})
    if len(set(texts.values())) >= _SPANS and seen >= min(_FRAMES, samples):
        return True
    usual = median(box.center_y for box in boxes) >= BOTTOM_ZONE and abs(boxes[0].center_x - 0.5) < _ANCHOR
    return samples < _FEW_SAMPLES and usual and seen >= 2


def _rows(lines: Sequence[tuple[BoxKey, OcrLine]]) -> list[list[tuple[BoxKey, OcrLine]]]:
    """Group lines by vertical centre and height, the largest group first."""
    rows: list[list[tuple[BoxKey, OcrLine]]] = []
    for key, line in sorted(lines, key=lambda one: one[1].box.center_y):
        for row in rows:
            box = row[len(row) // 2][1].box
            near = abs(line.box.center_y - box.center_y) <= _ROW * box.height
            if near and size_ratio(line.box.height, box.height) <= _HEIGHTS:
                row.append((key, line))
                break
        else:
            rows.append([(key, line)])
    return sorted((sorted(row, key=lambda one: one[0]) for row in rows), key=len, reverse=True)


def _is_anchored(boxes: Sequence[Box]) -> bool:
    """Return whether most of the boxes share their left edge, centre or right edge."""
    for values in ([b.left for b in boxes], [b.center_x for b in boxes], [b.right for b in boxes]):
        middle = median(values)
        if sum(abs(value - middle) <= _ANCHOR for value in values) >= _ANCHORED_SHARE * len(values):
            return True
    return False


def _texts(lines: Sequence[tuple[BoxKey, OcrLine]]) -> dict[BoxKey, str]:
    """Return one text a caption: lines of the same span after each other are one."""
    texts: dict[BoxKey, str] = {}
    spans: list[Box] = []
    for key, line in lines:
        number = next((n for n, span in enumerate(spans) if _same_span(span, line.box)), len(spans))
        if number == len(spans):
            spans.append(line.box)
        # Letters only, since layout analysis takes all digits as equal.
        digest = hashlib.sha256(str(number).encode()).hexdigest()[:24]
        texts[key] = digest.translate(str.maketrans("0123456789", "ghijklmnop"))
    return texts


def _same_span(one: Box, other: Box) -> bool:
    return abs(one.left - other.left) <= _SAME_SPAN and abs(one.right - other.right) <= _SAME_SPAN


def as_read(frame: FrameOcr, unread: Unread, labelled: Container[BoxKey] = ()) -> list[tuple[int, OcrLine]]:
    """Return a frame's lines with their indices, without those that were not read and are no captions.

    Lines that a person ``labelled`` stay.
    """
    kept = []
    for index, line in enumerate(frame.lines):
        key = (frame.frame_index, index)
        if (text := unread.texts.get(key)) is not None:
            kept.append((index, replace(line, text=text)))
        elif key in labelled or (line.text and line.confidence >= _LEAST_CONFIDENCE):
            kept.append((index, line))
    return kept
