"""``raw-ocr.db``: the OCR reading of each full frame, from which the layout can be analysed again."""

from collections import defaultdict
from collections.abc import Iterable

from modal_gpu.databases.checked import MAX_FRAMES, FileKind
from modal_gpu.databases.sqlite_file import new_database, pack
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

SCHEMA_VERSION = 1

SCHEMA = f"""
CREATE TABLE frames (
    frame_index INTEGER PRIMARY KEY NOT NULL CHECK (frame_index >= 0 AND frame_index < {MAX_FRAMES}),
    status TEXT NOT NULL DEFAULT 'empty' CHECK (status IN ('ok', 'empty', 'failed')),
    error TEXT
);
CREATE TABLE full_frame_ocr (
    id INTEGER PRIMARY KEY NOT NULL,
    frame_index INTEGER NOT NULL REFERENCES frames (frame_index),
    box_index INTEGER NOT NULL,
    text TEXT NOT NULL DEFAULT '',
    confidence REAL NOT NULL DEFAULT 0 CHECK (confidence BETWEEN 0 AND 1),
    bbox_left REAL NOT NULL DEFAULT 0,
    bbox_top REAL NOT NULL DEFAULT 0,
    bbox_right REAL NOT NULL DEFAULT 0,
    bbox_bottom REAL NOT NULL DEFAULT 0,
    UNIQUE (frame_index, box_index)
);
"""

KIND = FileKind("raw-ocr.db", SCHEMA_VERSION, SCHEMA)


def write_raw_ocr(frames: Iterable[FrameOcr], created_at: str | None = None) -> bytes:
    """Return ``raw-ocr.db`` as gzip bytes. ``created_at`` is ISO 8601 and defaults to now."""
    with new_database(SCHEMA, SCHEMA_VERSION, created_at) as connection:
        for frame in frames:
            connection.execute(
                "INSERT INTO frames (frame_index, status, error) VALUES (?, ?, ?)",
                (frame.frame_index, frame.status, frame.error or None),
            )
            connection.executemany(
                "INSERT INTO full_frame_ocr (frame_index, box_index, text, confidence,"
                " bbox_left, bbox_top, bbox_right, bbox_bottom) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    (
                        frame.frame_index,
                        index,
                        line.text,
                        line.confidence,
                        line.box.left,
                        line.box.top,
                        line.box.right,
                        line.box.bottom,
                    )
                    for index, line in enumerate(frame.lines)
                ),
            )
        return pack(connection)


def read_raw_ocr(data: bytes) -> list[FrameOcr]:
    """Read the frames of a ``raw-ocr.db`` (gzip or plain), ascending by index.

    Raises :class:`DatabaseFileError` if the file is damaged or has another version, and
    :class:`ContractError` if a row is out of range.
    """
    with KIND.read(data) as connection:
        lines: dict[int, list[OcrLine]] = defaultdict(list)
        for row in connection.execute("SELECT * FROM full_frame_ocr ORDER BY frame_index, box_index"):
            box = Box(row["bbox_left"], row["bbox_top"], row["bbox_right"], row["bbox_bottom"])
            lines[row["frame_index"]].append(OcrLine(row["text"], row["confidence"], box))
        return [
            FrameOcr(row["frame_index"], row["status"], tuple(lines[row["frame_index"]]), row["error"] or "")
            for row in connection.execute("SELECT * FROM frames ORDER BY frame_index")
        ]
