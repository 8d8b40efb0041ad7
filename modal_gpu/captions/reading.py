"""Reading captions: OCR of what waits, reconciliation, and OCR of what that joined.

Readings belong to frame ranges, not to rows, so that they can be applied to captions as they are
by the time OCR is done: a caption that a person moved or removed meanwhile takes none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from modal_gpu.captions.reconcile import reconcile
from modal_gpu.contracts import CaptionOcrResult, CaptionRange
from modal_gpu.databases.captions import Caption, OcrOutcome, store_ocr, waiting_for_ocr

#: How often captions that were joined are read again.
MAX_ROUNDS = 3
#: What OCR said of frames ``[start, end)``.
Readings = Mapping[tuple[int, int], CaptionOcrResult]
#: Reads captions, one result each, in their order.
Recognize = Callable[[list[CaptionRange]], Sequence[CaptionOcrResult]]


def read_texts(captions: Sequence[Caption], recognize: Recognize) -> Readings:
    """OCR of every caption that waits for it; a joined caption is read once more as a whole.

    The median over all its frames is cleaner than those of the pieces, so that two such captions may
    turn out to be one in their turn. Earlier errors are tried again.
    """
    readings = _read(waiting_for_ocr(captions, errors_too=True), recognize)
    for _ in range(MAX_ROUNDS):
        joined = [
            c for c in apply_readings(captions, readings) if _is_joined(c) and _range(c) not in readings
        ]
        if not joined:
            break
        readings |= _read(joined, recognize)
    return readings


def apply_readings(captions: Sequence[Caption], readings: Readings) -> list[Caption]:
    """Captions with their readings, reconciled, ordered by start.

    A person's own text is never touched: OCR has columns of its own.
    """
    captions = reconcile(_store(captions, waiting_for_ocr(captions, errors_too=True), readings))
    for _ in range(MAX_ROUNDS):
        captions = reconcile(_store(captions, filter(_is_joined, captions), readings))
    return captions


def _is_joined(caption: Caption) -> bool:
    return caption.image_needs_regen and caption.ocr_status == "completed" and not caption.belongs_to_person


def _range(caption: Caption) -> tuple[int, int]:
    return caption.start_index, caption.end_index


def _read(captions: Iterable[Caption], recognize: Recognize) -> dict[tuple[int, int], CaptionOcrResult]:
    ranges = [CaptionRange(c.id, c.start_index, c.end_index) for c in captions]
    results = recognize(ranges) if ranges else []
    return {(r.start_index, r.end_index): result for r, result in zip(ranges, results, strict=True)}


def _store(captions: Sequence[Caption], which: Iterable[Caption], readings: Readings) -> list[Caption]:
    outcomes = []
    for caption in which:
        if (result := readings.get(_range(caption))) is not None:
            # A joined caption that cannot be read as a whole, or is read as empty, keeps its pieces' text.
            if _is_joined(caption) and (result.error or not result.ocr_text.strip()):
                continue
            outcomes.append(OcrOutcome(caption.id, result.ocr_text, result.confidence, result.error))
    return store_ocr(captions, outcomes)
