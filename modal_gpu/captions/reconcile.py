"""What OCR says about the extents: fragments of one caption are joined, captions without text go.

The pair predictor rather splits a caption than joins two, since a split shows here as two
neighbours with one text, while joined captions would be lost. Captions that belong to a person
are never changed, and nothing is joined across them.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from rapidfuzz import fuzz

from modal_gpu.databases.captions import Caption

#: Frames between two fragments of one caption at most.
MAX_GAP = 2
#: A fragment this short with nearly its neighbour's text is the neighbour, half faded.
FLICKER_FRAMES = 3
FLICKER_SIMILARITY = 80.0
#: A fragment of a few frames that reads as a part of its neighbour's text is that text, half faded.
PART_FRAMES, PART_LENGTH = 2, 3
#: The same between two fragments of one text, where less likeness is needed.
BETWEEN_SIMILARITY = 50.0
#: Two longer readings this alike are one caption if OCR was unsure of either (small or blurred text).
BLURRED_SIMILARITY, BLURRED_LENGTH, BLURRED_CONFIDENCE = 85.0, 12, 0.95
#: Two neighbours whose extents are both at least this sure are two, however alike their texts are.
SURE = 0.95
#: Extents of a flicker's length and less confidence than this are noise, unless OCR is sure of a word.
UNSURE, SURE_TEXT_CONFIDENCE, SURE_TEXT_LENGTH = 0.5, 0.85, 3

_ALIKE = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})


def comparable(text: str) -> str:
    """Text for comparison: compatibility forms, quotes and dashes made one, case and spaces dropped."""
    return "".join(unicodedata.normalize("NFKC", text.translate(_ALIKE)).translate(_ALIKE).casefold().split())


def reconcile(captions: Iterable[Caption]) -> list[Caption]:
    """Captions by start, after OCR.

    * A predicted caption that OCR read as empty is dropped: it is clutter that looked like strokes.
      So is one of at most :data:`FLICKER_FRAMES` frames with unsure extents and no sure word.
    * Neighbouring predicted captions with the same text and at most :data:`MAX_GAP` frames between
      them become one, with the first one's id. "Step 1" and "Step 2" stay two.
    * A fragment of at most :data:`FLICKER_FRAMES` frames that touches a longer caption of nearly
      the same text, all digits equal, becomes part of it; so does one between two of the same text,
      and one of at most :data:`PART_FRAMES` frames whose text is a part of the other's.
      Longer fragments are joined at nearly the same text only where OCR was unsure of a long text.
      None of this joins unequal texts where both extents are sure.

    Captions that OCR has not read, or failed on, stay as they are.
    """
    result: list[Caption] = []
    for caption in sorted(captions, key=lambda c: (c.start_index, c.end_index)):
        if _is_read(caption) and (not comparable(caption.ocr_text or "") or _is_noise(caption)):
            continue
        if len(result) > 1 and _is_between(result[-2], result[-1], caption):
            caption = _joined(_joined(result.pop(-2), result.pop()), caption)
        if result and _is_one(result[-1], caption):
            caption = _joined(result.pop(), caption)
            # The grown caption may now swallow a fragment before it.
            while result and _is_one(result[-1], caption):
                caption = _joined(result.pop(), caption)
        result.append(caption)
    return result


def _is_read(caption: Caption) -> bool:
    return not caption.belongs_to_person and caption.ocr_status == "completed"


def _length(caption: Caption) -> int:
    return caption.end_index - caption.start_index


def _is_noise(caption: Caption) -> bool:
    unsure = caption.confidence is not None and caption.confidence < UNSURE
    sure_text = (caption.ocr_confidence or 0) >= SURE_TEXT_CONFIDENCE and (
        len(comparable(caption.ocr_text or "")) >= SURE_TEXT_LENGTH
    )
    return unsure and not sure_text and _length(caption) <= FLICKER_FRAMES


def _is_between(first: Caption, middle: Caption, last: Caption) -> bool:
    """Whether ``middle`` is a short bad reading of the one caption that ``first`` and ``last`` are."""
    if not all(map(_is_read, (first, middle, last))) or _length(middle) > FLICKER_FRAMES:
        return False
    if middle.start_index > first.end_index + 1 or last.start_index > middle.end_index + 1:
        return False
    text, between = comparable(first.ocr_text or ""), comparable(middle.ocr_text or "")
    return text == comparable(last.ocr_text or "") and _may_be(between, text, BETWEEN_SIMILARITY)


def _may_be(one: str, other: str, similarity: float) -> bool:
    """Whether two readings may be of one text: alike, and no digit differs."""
    return re.findall(r"\d", one) == re.findall(r"\d", other) and fuzz.ratio(one, other) >= similarity


def _is_part(fragment: Caption, whole: Caption) -> bool:
    part, text = comparable(fragment.ocr_text or ""), comparable(whole.ocr_text or "")
    return len(part) >= PART_LENGTH and part in text


def _is_one(first: Caption, second: Caption) -> bool:
    if not (_is_read(first) and _is_read(second)):
        return False
    gap = second.start_index - first.end_index
    if gap > MAX_GAP:
        return False
    one, other = comparable(first.ocr_text or ""), comparable(second.ocr_text or "")
    if one == other:
        return True
    if gap > 1 or min(first.confidence or 0, second.confidence or 0) >= SURE:
        return False
    short, long = sorted((first, second), key=_length)
    if _length(short) <= PART_FRAMES and _is_part(short, long):
        return True
    if _length(short) <= FLICKER_FRAMES:
        return _may_be(one, other, FLICKER_SIMILARITY)
    unsure = min(first.ocr_confidence or 0, second.ocr_confidence or 0) < BLURRED_CONFIDENCE
    enough = min(len(one), len(other)) >= BLURRED_LENGTH
    return unsure and enough and _may_be(one, other, BLURRED_SIMILARITY)


def _joined(first: Caption, second: Caption) -> Caption:
    """One caption over both; the text of the one that shows it longer."""
    text = first if _length(first) >= _length(second) else second
    confidences = [c.confidence for c in (first, second) if c.confidence is not None]
    return replace(
        first,
        end_index=second.end_index,
        end_seconds=second.end_seconds,
        pending=first.pending or second.pending,
        confidence=min(confidences, default=None),
        ocr_text=text.ocr_text,
        ocr_confidence=text.ocr_confidence,
        ocr_processed_at=text.ocr_processed_at,
        image_needs_regen=True,
    )
