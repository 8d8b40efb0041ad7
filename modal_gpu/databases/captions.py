"""``captions.db``: a video's captions, with the pipeline's results and people's edits.

The file stores a caption's last frame (inclusive), since its clients expect that; all code uses half-open
ranges. Only :func:`_from_row` and :func:`_to_row` convert.
"""

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from modal_gpu.contracts import MAX_ZONES
from modal_gpu.databases.checked import MAX_FRAMES, FileKind
from modal_gpu.databases.sqlite_file import new_database, pack, utc_now
from modal_gpu.errors import DatabaseFileError

SCHEMA_VERSION = 1
#: Has the column ``zone``. Only files with captions of further zones are written in it: all clients know the
#: other one.
ZONES_VERSION = 2

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

_ZONE = f"    zone INTEGER NOT NULL DEFAULT 0 CHECK (zone BETWEEN 0 AND {MAX_ZONES - 1}),\n"
_LAST_CHECK = "    CHECK (end_frame_index >= start_frame_index)\n"
ZONES_SCHEMA = SCHEMA.replace(_LAST_CHECK, _ZONE + _LAST_CHECK)

KIND = FileKind("captions.db", ZONES_VERSION, ZONES_SCHEMA, earlier={SCHEMA_VERSION: frozenset({"zone"})})


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
    #: Index of the caption zone; captions of different zones may overlap.
    zone: int = 0

    @property
    def belongs_to_person(self) -> bool:
        """True if a person confirmed or edited the caption, so that a re-run must not change it."""
        edited = (self.text, self.text_status or None, self.text_notes or None)
        return self.state != "predicted" or any(value is not None for value in edited)

    @property
    def best_text(self) -> str:
        """The person's text, else OCR's, else empty."""
        return self.text if self.text is not None else self.ocr_text or ""

    @property
    def is_shown(self) -> bool:
        """True if subtitles show the caption: it has text and is not a gap."""
        return self.state != "gap" and bool(self.best_text.strip())


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
    "zone": "zone",
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

    Without captions of further zones it has the schema of version 1. Raises ``ValueError`` for an empty
    range.
    """
    # Captions with an id first, so that AUTOINCREMENT cannot assign it to another one.
    ordered = sorted(captions, key=lambda c: (c.id == 0, c.id, c.start_index))
    for caption in ordered:
        if not 0 <= caption.start_index < caption.end_index:
            raise ValueError(
                f"caption {caption.id}: frames [{caption.start_index}, {caption.end_index}) are empty"
            )
    one_zone = all(caption.zone == 0 for caption in ordered)
    schema, version = (SCHEMA, SCHEMA_VERSION) if one_zone else (ZONES_SCHEMA, ZONES_VERSION)
    columns = [column for column in _COLUMNS.values() if column != "zone" or not one_zone]
    with new_database(schema, version) as connection:
        connection.executemany(
            f"INSERT INTO captions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            (_to_row(caption)[: len(columns)] for caption in ordered),
        )
        return pack(connection)


def read_captions(data: bytes) -> list[Caption]:
    """Read all captions, sorted by start index. Raises :class:`DatabaseFileError` for a damaged file."""
    with KIND.read(data) as connection:
        rows = connection.execute("SELECT * FROM captions ORDER BY start_frame_index, id").fetchall()
    return [_from_row(row) for row in rows]


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
