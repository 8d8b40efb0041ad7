"""Reading of captions: OCR of those queued, reconciliation, and OCR of those that it joined.

Readings belong to frame ranges, not to rows, so that they can be applied to the captions as they are when
OCR ends: a caption that a person moved or removed in the meantime gets none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from modal_gpu.captions.normalization import with_uniform_marks
from modal_gpu.captions.reconcile import reconcile
from modal_gpu.contracts import CaptionOcrResult, CaptionRange
from modal_gpu.databases.captions import Caption, OcrOutcome, store_ocr, waiting_for_ocr
from modal_gpu.ocr.languages.finding import UNREADABLE
from modal_gpu.ocr.languages.reading import (
    are_unreadable,
    partly_known,
    partly_read_language,
)

#: Largest number of times that joined captions are read again.
MAX_ROUNDS = 3
#: OCR's results by frame range ``[start, end)``.
Readings = Mapping[tuple[int, int], CaptionOcrResult]
#: A function that reads captions and returns one result each, in their order.
Recognize = Callable[[list[CaptionRange]], Sequence[CaptionOcrResult]]


def read_texts(captions: Sequence[Caption], recognize: Recognize, *, with_language: bool = False) -> Readings:
    """Read every caption that is queued for OCR or had an error; read each joined caption again.

    The median over all frames of a joined caption is cleaner than those of its pieces, so reading it may
    cause further captions to be joined.
    """
    readings = _read(waiting_for_ocr(captions, errors_too=True), recognize)
    for _ in range(MAX_ROUNDS):
        joined = [
            c for c in apply_readings(captions, readings) if _is_joined(c) and _range(c) not in readings
        ]
        if not joined:
            break
        readings |= _read(joined, recognize)
    return without_garbage(_uniform(readings), with_language)


def _uniform(readings: Readings) -> Readings:
    texts = with_uniform_marks({span: result.ocr_text for span, result in readings.items()})
    return {span: replace(result, ocr_text=texts[span]) for span, result in readings.items()}


def without_garbage(readings: Readings, with_language: bool = False) -> Readings:
    """Return the readings, with an error for each text if the model cannot read the captions' script.

    Most texts of such a video are poor readings, or in a language with letters that the model does not know.
    Garbage never becomes a caption's text, and a later attempt reads captions with errors again.
    ``with_language``: the model was chosen for the captions' languages, so its letters are not doubted.
    """
    read = [r for r in readings.values() if not r.error and r.ocr_text.strip()]
    if are_unreadable([(r.ocr_text, r.confidence) for r in read]):
        finding = f"{UNREADABLE}."
    elif not with_language and (partly := partly_read_language(r.ocr_text for r in read)) is not None:
        finding = partly_known(partly)
    else:
        return readings
    return {span: replace(r, ocr_text="", error=finding) if r in read else r for span, r in readings.items()}


def unreadable_note(captions: Sequence[Caption]) -> str:
    """Return the finding that captions have instead of a text; empty if they have none."""
    errors = (c.ocr_error or "" for c in captions if not c.belongs_to_person)
    return next((error for error in errors if error.startswith(UNREADABLE)), "")


def apply_readings(captions: Sequence[Caption], readings: Readings) -> list[Caption]:
    """Return the captions with their readings, reconciled and sorted by start.

    A person's text is never changed, since OCR has its own columns.
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
            # A joined caption whose reading fails or is empty keeps the text of its pieces.
            if _is_joined(caption) and (result.error or not result.ocr_text.strip()):
                continue
            outcomes.append(OcrOutcome(caption.id, result.ocr_text, result.confidence, result.error))
    return store_ocr(captions, outcomes)
