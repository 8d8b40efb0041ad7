"""Correction of the extents by OCR: fragments of one caption are joined, captions without text are dropped.

The pair predictor prefers splitting a caption to joining two: a split is visible here as two neighbours with
the same text, but joined captions could not be separated. Captions that belong to a person are never changed,
and nothing is joined across them.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace

from rapidfuzz import fuzz

from modal_gpu.databases.captions import Caption

#: Largest number of frames between two fragments of one caption.
MAX_GAP = 2
#: A fragment of at most this many frames with nearly its neighbour's text (similarity 0 to 100) is the
#: neighbour, half faded.
FLICKER_FRAMES = 3
FLICKER_SIMILARITY = 80.0
#: A fragment of at most this many frames, with a text of at least this length that is part of its
#: neighbour's, is the neighbour, half faded.
PART_FRAMES, PART_LENGTH = 2, 3
#: Smallest similarity of a fragment between two fragments of one text.
BETWEEN_SIMILARITY = 50.0
#: Two longer readings of this similarity and length are one caption if OCR has less than this confidence in
#: one of them (small or blurred text).
BLURRED_SIMILARITY, BLURRED_LENGTH, BLURRED_CONFIDENCE = 85.0, 12, 0.95
#: Two neighbours with different texts are never joined if the confidence of both extents is at least this.
SURE = 0.95
#: Short extents with less confidence than this are noise, unless OCR read a word with confidence.
UNSURE, SURE_TEXT_CONFIDENCE, SURE_TEXT_LENGTH = 0.5, 0.85, 3

#: Forms of quotes and dashes in which readings of one text differ.
ALIKE = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})


def comparable(text: str) -> str:
    """Normalize text for comparison: compatibility forms, quotes, dashes and case, without spaces."""
    return "".join(unicodedata.normalize("NFKC", text.translate(ALIKE)).translate(ALIKE).casefold().split())


def reconcile(captions: Iterable[Caption]) -> list[Caption]:
    """Correct captions after OCR; return them sorted by start.

    * A predicted caption that OCR read as empty is dropped: it is clutter that looked like strokes.
      So is one of at most :data:`FLICKER_FRAMES` frames with uncertain extents and no certain word.
    * Neighbouring predicted captions with the same text and at most :data:`MAX_GAP` frames between
      them become one, with the first one's id. "Step 1" and "Step 2" remain two.
    * A fragment of at most :data:`FLICKER_FRAMES` frames is joined to an adjacent longer caption with
      nearly the same text and the same digits. So is a fragment between two captions of the same text, and
      one of at most :data:`PART_FRAMES` frames whose text is part of the other's.
      Longer fragments with nearly the same text are joined only if OCR was uncertain about a long text.
      Different texts are not joined if both extents are certain.

    Captions that OCR has not read, or failed on, are not changed.
    """
    result: list[Caption] = []
    for caption in sorted(captions, key=lambda c: (c.start_index, c.end_index)):
        if _is_read(caption) and (not comparable(caption.ocr_text or "") or _is_noise(caption)):
            continue
        if len(result) > 1 and _is_between(result[-2], result[-1], caption):
            caption = _joined(_joined(result.pop(-2), result.pop()), caption)
        if result and _is_one(result[-1], caption):
            caption = _joined(result.pop(), caption)
            # The longer caption may now absorb a fragment before it.
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
    """Return whether ``first`` and ``last`` are one caption and ``middle`` a short misreading of it."""
    if not all(map(_is_read, (first, middle, last))) or _length(middle) > FLICKER_FRAMES:
        return False
    if middle.start_index > first.end_index + 1 or last.start_index > middle.end_index + 1:
        return False
    text, between = comparable(first.ocr_text or ""), comparable(middle.ocr_text or "")
    return text == comparable(last.ocr_text or "") and may_be_one_text(between, text, BETWEEN_SIMILARITY)


def may_be_one_text(one: str, other: str, similarity: float) -> bool:
    """Return whether two readings may be of one text: similar, with the same digits."""
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
        return may_be_one_text(one, other, FLICKER_SIMILARITY)
    unsure = min(first.ocr_confidence or 0, second.ocr_confidence or 0) < BLURRED_CONFIDENCE
    enough = min(len(one), len(other)) >= BLURRED_LENGTH
    return unsure and enough and may_be_one_text(one, other, BLURRED_SIMILARITY)


def _joined(first: Caption, second: Caption) -> Caption:
    """Join two captions; the text is that of the longer one."""
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
