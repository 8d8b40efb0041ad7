"""The predecessor's ``captions.db``: captions with people's edits."""

from dataclasses import dataclass
from typing import get_args

from captionacc_dagster.adoption.errors import RefusedVideoError
from captionacc_dagster.adoption.old_files import Values, flag, frame, number, old_database, rows_of, text
from modal_gpu.captions.merging import boundary_seconds
from modal_gpu.databases.captions import Caption, ExtentsState, OcrStatus
from modal_gpu.errors import DatabaseFileError
from modal_gpu.frame_index import INDEX_RATE

#: ``caption_ocr_status``, and the older ``median_ocr_status``. Work of the predecessor that never ended is
#: queued again.
_OCR_STATUSES: dict[str, OcrStatus] = {
    "queued": "queued",
    "pending": "queued",
    "processing": "queued",
    "completed": "completed",
    "complete": "completed",
    "error": "error",
}


@dataclass(frozen=True)
class OldCaptions:
    """The captions, as this platform has them, and what was dropped or changed on the way."""

    captions: tuple[Caption, ...]
    notes: tuple[str, ...] = ()


def read_old_captions(
    data: bytes, frame_count: int | None = None, duration: float | None = None
) -> OldCaptions:
    """Read a ``captions.db``; the end of a row is inclusive there.

    Times are those of :func:`~modal_gpu.captions.merging.boundary_seconds`, since the file has none.
    ``frame_count`` and ``duration`` are the video's, if they are known. Raises :class:`DatabaseFileError`
    for a damaged file, and :class:`RefusedVideoError` if a person's caption cannot be represented.
    """
    with old_database(data, "captions.db") as connection:
        rows = rows_of(connection, "captions", order="id")
    if rows is None:
        raise DatabaseFileError("database captions.db is damaged or not ours: no such table: captions")
    ends = [end for row in rows if (end := frame(row, "end_frame_index")) is not None]
    count = max([frame_count or 1, *(end + 1 for end in ends)])
    length = max(duration or 0, (count - 1) / INDEX_RATE)
    captions, notes = [], []
    for row in rows:
        caption = _caption(row, count, length)
        if caption is not None:
            captions.append(caption)
        elif _has_work(row):
            raise RefusedVideoError(
                f"caption {row.get('id')} in captions.db, which a person edited, has the frames "
                f"{row.get('start_frame_index')} to {row.get('end_frame_index')}: correct it there first"
            )
        else:
            notes.append(f"caption {row.get('id')} has no valid frames and was left out")
    return OldCaptions(tuple(sorted(captions, key=lambda c: (c.start_index, c.id))), tuple(notes))


def _caption(row: Values, frame_count: int, duration: float) -> Caption | None:
    start, last = frame(row, "start_frame_index"), frame(row, "end_frame_index")
    if start is None or last is None or last < start:
        return None
    times = [boundary_seconds(index, frame_count, duration) for index in (start, last + 1)]
    status = _ocr_status(row)
    return Caption(
        start_index=start,
        end_index=last + 1,
        start_seconds=times[0],
        end_seconds=max(times),
        id=max(0, int(number(row, "id") or 0)),
        state=_state(row),
        pending=flag(row, "caption_frame_extents_pending", default=True),
        updated_at=text(row, "caption_frame_extents_updated_at") or "",
        text=text(row, "text"),
        text_pending=flag(row, "text_pending", default=True),
        text_status=text(row, "text_status"),
        text_notes=text(row, "text_notes"),
        text_updated_at=text(row, "text_updated_at"),
        ocr_text=text(row, "caption_ocr", "median_ocr_text"),
        ocr_status=status,
        ocr_error=text(row, "caption_ocr_error", "median_ocr_error") if status == "error" else None,
        ocr_processed_at=text(row, "caption_ocr_processed_at", "median_ocr_processed_at"),
        image_needs_regen=flag(row, "image_needs_regen", default=False),
        created_at=text(row, "created_at") or "",
    )


def _state(row: Values) -> ExtentsState:
    """Return the state of the extents.

    Only a person clears ``pending`` of a predicted caption there, so such a caption counts as confirmed:
    a run here would otherwise be free to replace it.
    """
    state = text(row, "caption_frame_extents_state") or "predicted"
    if state == "predicted" and not flag(row, "caption_frame_extents_pending", default=True):
        return "confirmed"
    return next((known for known in get_args(ExtentsState) if known == state), "issue")


def _ocr_status(row: Values) -> OcrStatus:
    status = _OCR_STATUSES.get(text(row, "caption_ocr_status", "median_ocr_status") or "queued", "queued")
    has_text = text(row, "caption_ocr", "median_ocr_text") is not None
    # An image that has to be made again was read in another range of frames.
    outdated = flag(row, "image_needs_regen", default=False)
    return "queued" if status == "completed" and (outdated or not has_text) else status


def _has_work(row: Values) -> bool:
    if _state(row) != "predicted":
        return True
    return any(text(row, column) for column in ("text", "text_status", "text_notes")) or row.get("text") == ""
