"""A caption's text, from the OCR lines of its image."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from modal_gpu.ocr.engine import Box, OcrLine

#: Scripts without spaces between words: Han, kana and their punctuation and full-width forms.
_UNSPACED = re.compile(
    "[\u2e80-\u303f\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef]"
)


#: A line below this share of the usual line height is dropped if there is a higher one.
LOW_LINE = 0.55
#: Smallest confidence to keep low lines if there is no other line.
SURE = 0.9


@dataclass(frozen=True)
class TextSettings:
    """Selection of the lines that belong to the caption.

    ``line_height`` and ``vertical_center`` are fractions of the image, ``None`` if unknown. Lines in
    ``ignore_boxes``, with a confidence below ``min_confidence``, much taller than a caption line, or far
    from the band are dropped.
    """

    line_height: float | None = None
    vertical_center: float | None = None
    ignore_boxes: tuple[Box, ...] = ()
    min_confidence: float = 0.5


@dataclass(frozen=True)
class CaptionText:
    """Lines joined by a line feed; ``confidence`` is their mean weighted by length, 0 without text."""

    text: str
    confidence: float
    line_count: int


def caption_text(lines: Sequence[OcrLine], settings: TextSettings | None = None) -> CaptionText:
    """Return a caption's text in reading order, NFC-normalized.

    Fragments of a row are joined with a space, but directly between Chinese or Japanese characters; rows of
    right-to-left scripts are read from the right.
    """
    settings = settings or TextSettings()
    kept = _without_specks(
        [line for line in lines if line.text.strip() and _belongs(line, settings)], settings
    )
    if not kept:
        return CaptionText("", 0.0, 0)
    rows = [_join(row) for row in _rows(kept)]
    weights = [len(line.text.strip()) for line in kept]
    confidence = sum(w * line.confidence for w, line in zip(weights, kept, strict=True)) / sum(weights)
    return CaptionText("\n".join(rows), min(1.0, confidence), len(rows))


def _belongs(line: OcrLine, settings: TextSettings) -> bool:
    if line.confidence < settings.min_confidence:
        return False
    if any(line.box.intersection(box) >= 0.5 * line.box.area for box in settings.ignore_boxes):
        return False
    if settings.line_height:
        # Boxes of short lines ("-", "一") may be flat, and two lines in one box have double height.
        if line.box.height > 2.5 * settings.line_height:
            return False
        if settings.vertical_center is not None:
            return abs(line.box.center_y - settings.vertical_center) <= 3 * settings.line_height
    return True


def _without_specks(lines: list[OcrLine], settings: TextSettings) -> list[OcrLine]:
    """Drop lines much lower than a caption's: OCR reads lit windows and fences as "II I".

    If there is no other line, those with a high confidence are kept: a caption may consist of "…".
    """
    if not settings.line_height:
        return lines
    low = LOW_LINE * settings.line_height
    high = [line for line in lines if line.box.height >= low]
    return high or [line for line in lines if line.confidence >= SURE]


def _rows(lines: Sequence[OcrLine]) -> list[list[OcrLine]]:
    """Group lines into rows, top to bottom: they overlap vertically by half of the smaller height."""
    rows: list[list[OcrLine]] = []
    for line in sorted(lines, key=lambda line: line.box.center_y):
        if rows:
            last = rows[-1][-1].box
            shared = min(last.bottom, line.box.bottom) - max(last.top, line.box.top)
            beside = min(last.right, line.box.right) - max(last.left, line.box.left) <= 0.2 * min(
                last.width, line.box.width
            )
            if beside and shared >= 0.5 * min(last.height, line.box.height):
                rows[-1].append(line)
                continue
        rows.append([line])
    return rows


def _join(row: Sequence[OcrLine]) -> str:
    from_right = sum(_direction(line.text) * len(line.text) for line in row) < 0
    ordered = sorted(row, key=lambda line: -line.box.right if from_right else line.box.left)
    text = ""
    for line in ordered:
        part = " ".join(unicodedata.normalize("NFC", line.text).split())
        unspaced = text and _UNSPACED.match(text[-1]) and _UNSPACED.match(part[0])
        text += part if not text or unspaced else f" {part}"
    return text


def _direction(text: str) -> int:
    """Return 1 for left-to-right text and −1 for right-to-left, by its strong characters; 1 without any."""
    kinds = [unicodedata.bidirectional(character) for character in text]
    right = sum(kind in ("R", "AL") for kind in kinds)
    return -1 if right > sum(kind == "L" for kind in kinds) else 1
