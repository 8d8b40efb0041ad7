"""``captions.db``: a video's captions, with the pipeline's results and people's edits.

The file stores a caption's last frame (inclusive), since its clients expect that; all code uses half-open
ranges. Only :func:`_from_row` and :func:`_to_row` convert.
"""

import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from modal_gpu.databases.checked import MAX_FRAMES, FileKind
from modal_gpu.databases.extents import ChangeSeconds
from modal_gpu.databases.sqlite_file import new_database, pack, utc_now
from modal_gpu.errors import DatabaseFileError
from modal_gpu.extents.decoder import Extent
from modal_gpu.frame_index import INDEX_RATE

SCHEMA_VERSION = 1

ExtentsState = Literal["predicted", "confirmed", "gap", "issue"]
OcrStatus = Literal["queued", "processing", "completed", "error"]

SCHEMA = f"""
CREATE TABLE captions (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    start_frame_index INTEGER NOT NULL DEFAULT 0 CHECK (start_frame_index >= 0),
    -- Inclusive.
    end_frame_index INTEGER NOT NULL DEFAULT 0 CHECK (end_frame_index < {MAX_FRAMES}),
    caption_frame_extents_state TEXT NOT NULL DEFAULT 'predicted'
        CHECK (caption_frame_extents_state IN ('predicted', 'confirmed', 'gap', 'issue')),
    caption_frame_extents_pending INTEGER NOT NULL DEFAULT 1,
    caption_frame_extents_updated_at TEXT NOT NULL DEFAULT '',
    caption_frame_extents_confidence REAL CHECK (caption_frame_extents_confidence BETWEEN 0 AND 1),
    text TEXT,
    text_pending INTEGER NOT NULL DEFAULT 1,
    text_status TEXT,
    text_notes TEXT,
    text_updated_at TEXT,
    caption_ocr TEXT,
    caption_ocr_confidence REAL CHECK (caption_ocr_confidence BETWEEN 0 AND 1),
    caption_ocr_status TEXT NOT NULL DEFAULT 'queued'
        CHECK (caption_ocr_status IN ('queued', 'processing', 'completed', 'error')),
    caption_ocr_error TEXT,
    caption_ocr_processed_at TEXT,
    image_needs_regen INTEGER NOT NULL DEFAULT 0,
    created_at TEXT NOT NULL DEFAULT '',
    start_seconds REAL NOT NULL DEFAULT 0 CHECK (start_seconds >= 0),
    end_seconds REAL NOT NULL DEFAULT 0 CHECK (end_seconds >= 0),
    CHECK (end_frame_index >= start_frame_index)
);
CREATE INDEX captions_by_start ON captions (start_frame_index, end_frame_index);
CREATE INDEX captions_to_review ON captions (caption_frame_extents_state, caption_frame_extents_pending);
CREATE INDEX captions_to_read ON captions (caption_ocr_status);
"""

KIND = FileKind("captions.db", SCHEMA_VERSION, SCHEMA)


@dataclass(frozen=True)
class Caption:
    """A row, with its frames as a half-open range ``[start_index, end_index)``.

    ``id`` is 0 before the caption is stored. ``text`` is a person's (``None``: not reviewed, ``""``: no
    caption); ``ocr_text`` is OCR's. ``confidence`` is that of the extents.
    """

    start_index: int
    end_index: int
    start_seconds: float
    end_seconds: float
    id: int = 0
    state: ExtentsState = "predicted"
    pending: bool = True
    updated_at: str = ""
    confidence: float | None = None
    text: str | None = None
    text_pending: bool = True
    text_status: str | None = None
    text_notes: str | None = None
    text_updated_at: str | None = None
    ocr_text: str | None = None
    ocr_confidence: float | None = None
    ocr_status: OcrStatus = "queued"
    ocr_error: str | None = None
    ocr_processed_at: str | None = None
    image_needs_regen: bool = False
    created_at: str = ""

    @property
    def belongs_to_person(self) -> bool:
        """Whether a person confirmed or edited the caption, so that a re-run must not change it."""
        edited = (self.text, self.text_status or None, self.text_notes or None)
        return self.state != "predicted" or any(value is not None for value in edited)

    @property
    def best_text(self) -> str:
        """The person's text, else OCR's, else empty."""
        return self.text if self.text is not None else self.ocr_text or ""

    @property
    def is_shown(self) -> bool:
        """Whether subtitles show the caption: it has text and is not a gap."""
        return self.state != "gap" and bool(self.best_text.strip())


#: Captions with a lower confidence of their extents are pending review.
REVIEW_BELOW = 0.8

#: The column of each field. ``id`` and ``end_index`` are converted in _from_row and _to_row.
_COLUMNS = {
    "id": "id",
    "start_index": "start_frame_index",
    "end_index": "end_frame_index",
    "start_seconds": "start_seconds",
    "end_seconds": "end_seconds",
    "state": "caption_frame_extents_state",
    "pending": "caption_frame_extents_pending",
    "updated_at": "caption_frame_extents_updated_at",
    "confidence": "caption_frame_extents_confidence",
    "text": "text",
    "text_pending": "text_pending",
    "text_status": "text_status",
    "text_notes": "text_notes",
    "text_updated_at": "text_updated_at",
    "ocr_text": "caption_ocr",
    "ocr_confidence": "caption_ocr_confidence",
    "ocr_status": "caption_ocr_status",
    "ocr_error": "caption_ocr_error",
    "ocr_processed_at": "caption_ocr_processed_at",
    "image_needs_regen": "image_needs_regen",
    "created_at": "created_at",
}
_FLAGS = ("pending", "text_pending", "image_needs_regen")


def _from_row(row: sqlite3.Row) -> Caption:
    values = {name: row[column] for name, column in _COLUMNS.items()}
    values["end_index"] += 1  # stored inclusive
    return Caption(**values | {name: bool(values[name]) for name in _FLAGS})


def _to_row(caption: Caption) -> list[Any]:
    values = {name: getattr(caption, name) for name in _COLUMNS}
    values["end_index"] -= 1  # stored inclusive
    values["id"] = caption.id or None
    return [int(value) if name in _FLAGS else value for name, value in values.items()]


def write_captions(captions: Iterable[Caption]) -> bytes:
    """Return the database, packed. Captions with ``id`` 0 get new ids above all others.

    Raises ``ValueError`` for an empty range.
    """
    # Captions with an id first, so that AUTOINCREMENT cannot assign it to another one.
    ordered = sorted(captions, key=lambda c: (c.id == 0, c.id, c.start_index))
    for caption in ordered:
        if not 0 <= caption.start_index < caption.end_index:
            raise ValueError(
                f"caption {caption.id}: frames [{caption.start_index}, {caption.end_index}) are empty"
            )
    with new_database(SCHEMA, SCHEMA_VERSION) as connection:
        names = ", ".join(_COLUMNS.values())
        marks = ", ".join("?" * len(_COLUMNS))
        connection.executemany(
            f"INSERT INTO captions ({names}) VALUES ({marks})", (_to_row(caption) for caption in ordered)
        )
        return pack(connection)


def read_captions(data: bytes) -> list[Caption]:
    """Read all captions, sorted by start index. Raises :class:`DatabaseFileError` for a damaged file."""
    with KIND.read(data) as connection:
        rows = connection.execute("SELECT * FROM captions ORDER BY start_frame_index, id").fetchall()
    return [_from_row(row) for row in rows]


def boundary_seconds(index: int, frame_count: int, duration: float) -> float:
    """Estimate when a caption that appears (or disappears) at ``index`` starts (or ends), in seconds.

    Used if the source frame of the change is unknown. The change is uniformly distributed in
    ((index − 1)/10, index/10]; the middle has the least expected absolute error (25 ms, at most 50 ms).
    A caption seen at index 0 starts at 0, and one seen at the last index ends with the video. The result is
    clamped to [0, duration].
    """
    if index <= 0:
        return 0.0
    if index >= frame_count:
        return float(duration)
    return min(float(Fraction(2 * index - 1, 2 * INDEX_RATE)), float(duration))


def captions_from_extents(
    extents: Sequence[Extent], frame_count: int, duration: float, change_seconds: ChangeSeconds | None = None
) -> list[Caption]:
    """Return a new video's captions: predicted, queued for OCR, and pending review if uncertain.

    ``change_seconds`` (n − 1,) is the time of each pair's change; NaN if unknown.
    """
    return merge_extents([], extents, frame_count, duration, change_seconds)


def _predicted(
    start: int, end: int, extent: Extent, frame_count: int, duration: float, changes: ChangeSeconds
) -> Caption:
    """Build the caption of ``[start, end)``, an extent or a part of one.

    Only the extent's own ends have the times of source frames.
    """
    now = utc_now()
    coarse = tuple(boundary_seconds(index, frame_count, duration) for index in (start, end))
    begins, ends = (
        min(float(changes[index - 1]), float(duration))
        if index == own and 0 < index < frame_count and not np.isnan(changes[index - 1])
        else seconds
        for index, own, seconds in zip((start, end), (extent.start, extent.end), coarse, strict=True)
    )
    return Caption(
        start_index=start,
        end_index=end,
        start_seconds=begins if begins < ends else coarse[0],
        end_seconds=ends if begins < ends else coarse[1],
        updated_at=now,
        pending=extent.confidence < REVIEW_BELOW,
        confidence=extent.confidence,
        created_at=now,
    )


def merge_extents(
    existing: Sequence[Caption],
    extents: Sequence[Extent],
    frame_count: int,
    duration: float,
    change_seconds: ChangeSeconds | None = None,
) -> list[Caption]:
    """Return the captions after a new run of extents, with the times of :func:`captions_from_extents`.

    Captions that belong to a person are not changed. A new extent is reduced to the parts that they leave
    free, and dropped if one of them covers at least half of it, since a person set its edges there.

    A predicted caption with an unchanged range is kept with its OCR result; its times and confidence are
    updated. A new caption that overlaps an old predicted one takes over its id, with ``image_needs_regen``
    set and OCR queued again. Other predicted captions are removed.
    """
    changes = np.full(max(0, frame_count - 1), np.nan) if change_seconds is None else change_seconds
    # A duration from elsewhere must not remove captions that frames show.
    duration = max(duration, (frame_count - 1) / INDEX_RATE)
    kept = sorted((c for c in existing if c.belongs_to_person), key=lambda c: c.start_index)
    predicted = sorted((c for c in existing if not c.belongs_to_person), key=lambda c: c.start_index)
    pieces = [
        (start, end, extent)
        for extent in extents
        if not _is_mostly_covered(extent, kept)
        for start, end in _free_parts(extent.start, extent.end, kept)
    ]
    fresh = [
        _predicted(start, end, extent, frame_count, duration, changes)
        for start, end, extent in sorted(pieces, key=lambda piece: piece[:2])
    ]
    return sorted([*kept, *_with_earlier_ids(fresh, predicted)], key=lambda c: c.start_index)


def _with_earlier_ids(fresh: Sequence[Caption], earlier: Sequence[Caption]) -> Iterator[Caption]:
    """Yield new captions with the ids of the earlier ones that they continue; both sorted by start."""
    by_range = {(c.start_index, c.end_index): c for c in earlier}
    unchanged = {c.id for c in (by_range.get((c.start_index, c.end_index)) for c in fresh) if c is not None}
    spare = deque(c for c in earlier if c.id not in unchanged)
    for caption in fresh:
        if (same := by_range.get((caption.start_index, caption.end_index))) is not None:
            yield replace(
                same,
                start_seconds=caption.start_seconds,
                end_seconds=caption.end_seconds,
                confidence=caption.confidence,
                pending=caption.pending,
            )
            continue
        while spare and spare[0].end_index <= caption.start_index:
            spare.popleft()
        if spare and spare[0].start_index < caption.end_index:
            before = spare.popleft()
            caption = replace(caption, id=before.id, created_at=before.created_at, image_needs_regen=True)
        yield caption


def _is_mostly_covered(extent: Extent, captions: Sequence[Caption]) -> bool:
    """Return whether one of a person's captions (not a gap) covers at least half of an extent."""
    return any(
        caption.state != "gap"
        and 2 * (min(caption.end_index, extent.end) - max(caption.start_index, extent.start))
        >= extent.end - extent.start
        for caption in captions
    )


def _free_parts(start: int, end: int, occupied: Sequence[Caption]) -> list[tuple[int, int]]:
    """Return the parts of ``[start, end)`` outside of captions, which are sorted by start."""
    parts = []
    for caption in occupied:
        if caption.end_index <= start:
            continue
        if caption.start_index >= end:
            break
        if caption.start_index > start:
            parts.append((start, caption.start_index))
        start = max(start, caption.end_index)
    if start < end:
        parts.append((start, end))
    return parts


@dataclass(frozen=True)
class OcrOutcome:
    """OCR's result for one caption: text and confidence, or an error."""

    caption_id: int
    text: str = ""
    confidence: float = 0.0
    error: str = ""


def waiting_for_ocr(captions: Iterable[Caption], *, errors_too: bool = False) -> list[Caption]:
    """Return the captions to read: queued, or left in ``processing`` by a crashed run; never gaps."""
    states = {"queued", "processing"} | ({"error"} if errors_too else set())
    return [c for c in captions if c.ocr_status in states and c.state != "gap"]


def mark_ocr(
    captions: Iterable[Caption], ids: Iterable[int], status: Literal["queued", "processing"]
) -> list[Caption]:
    """Set the OCR status of the captions ``ids``. Raises :class:`DatabaseFileError` for an unknown id."""
    return _changed(captions, {i: {"ocr_status": status, "ocr_error": None} for i in ids})


def store_ocr(captions: Iterable[Caption], outcomes: Iterable[OcrOutcome]) -> list[Caption]:
    """Return the captions with OCR's results or errors.

    A person's text is never changed, since OCR has its own columns. An error keeps the earlier result.
    Raises :class:`DatabaseFileError` for an unknown id.
    """
    now = utc_now()
    changes: dict[int, dict[str, Any]] = {}
    for outcome in outcomes:
        change: dict[str, Any]
        if outcome.error:
            change = {"ocr_status": "error", "ocr_error": outcome.error}
        else:
            change = {
                "ocr_status": "completed",
                "ocr_error": None,
                "ocr_text": outcome.text,
                "ocr_confidence": outcome.confidence,
                "image_needs_regen": False,
            }
        changes[outcome.caption_id] = change | {"ocr_processed_at": now}
    return _changed(captions, changes)


def _changed(captions: Iterable[Caption], changes: dict[int, dict[str, Any]]) -> list[Caption]:
    captions = list(captions)
    if unknown := changes.keys() - {c.id for c in captions}:
        raise DatabaseFileError(f"captions.db has no caption with id {', '.join(map(str, sorted(unknown)))}")
    return [replace(c, **changes[c.id]) if c.id in changes else c for c in captions]
