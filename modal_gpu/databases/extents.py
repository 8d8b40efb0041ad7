"""``caption_frame_extents_v{N}.db``: the pair predictor's results for one cropped-frames version."""

import math
import sqlite3
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modal_gpu.databases.checked import MAX_FRAMES, FileKind
from modal_gpu.databases.sqlite_file import new_database, pack
from modal_gpu.errors import DatabaseFileError
from modal_gpu.extents.predictor import (
    LABELS,
    REVERSED_COLUMNS,
    FloatArray,
    PairPredictions,
    predictions,
)

#: float64, seconds after the first presented frame; NaN if unknown.
ChangeSeconds = NDArray[np.float64]

SCHEMA_VERSION = 2
#: Of files whose frames were cropped at less than 10 Hz, for callers of their own: the platform makes none,
#: and reads none.
STEPPED_SCHEMA_VERSION = 3
PART_SCHEMA_VERSION = 1


def _direction(name: str) -> str:
    labels = ", ".join(f"'{label}'" for label in LABELS)
    probabilities = "".join(
        f"    {name}_prob_{label} REAL NOT NULL DEFAULT 0 CHECK ({name}_prob_{label} BETWEEN 0 AND 1),\n"
        for label in LABELS
    )
    return (
        f"    {name}_predicted_label TEXT NOT NULL DEFAULT 'empty_empty'\n"
        f"        CHECK ({name}_predicted_label IN ({labels})),\n"
        f"    {name}_confidence REAL NOT NULL DEFAULT 0 CHECK ({name}_confidence BETWEEN 0 AND 1),\n"
        f"{probabilities}"
    )


SCHEMA = f"""
CREATE TABLE run_metadata (
    run_id TEXT PRIMARY KEY NOT NULL,
    cropped_frames_version INTEGER NOT NULL DEFAULT 1 CHECK (cropped_frames_version >= 1),
    model_version TEXT NOT NULL DEFAULT '',
    model_sha256 TEXT NOT NULL DEFAULT '',
    started_at TEXT NOT NULL DEFAULT '',
    completed_at TEXT NOT NULL DEFAULT '',
    total_pairs INTEGER NOT NULL DEFAULT 0 CHECK (total_pairs >= 0 AND total_pairs < {MAX_FRAMES}),
    processing_time_seconds REAL NOT NULL DEFAULT 0 CHECK (processing_time_seconds >= 0)
);
CREATE TABLE pair_results (
    frame1_index INTEGER PRIMARY KEY NOT NULL CHECK (frame1_index >= 0 AND frame1_index < {MAX_FRAMES}),
    frame2_index INTEGER NOT NULL DEFAULT 0,
{_direction("forward")}{_direction("backward")}
    -- Presentation time of the first source frame that looks like the second frame; NULL without a change.
    change_seconds REAL CHECK (change_seconds >= 0),
    CHECK (frame2_index = frame1_index + 1)
);
"""
STEPPED_SCHEMA = SCHEMA.replace(
    "CHECK (frame2_index = frame1_index + 1)", "CHECK (frame2_index > frame1_index)"
)

PART_SCHEMA = f"""
CREATE TABLE segment (
    start_index INTEGER PRIMARY KEY NOT NULL CHECK (start_index >= 0 AND start_index < {MAX_FRAMES}),
    model_version TEXT NOT NULL DEFAULT '',
    model_sha256 TEXT NOT NULL DEFAULT ''
);
CREATE TABLE frames (
    frame_index INTEGER PRIMARY KEY NOT NULL CHECK (frame_index >= 0 AND frame_index < {MAX_FRAMES}),
    presence REAL NOT NULL DEFAULT 0,
    -- The following columns compare a frame with the previous one.
    same REAL NOT NULL DEFAULT 0,
    change_seconds REAL
);
"""

KIND = FileKind(
    "caption_frame_extents.db",
    SCHEMA_VERSION,
    SCHEMA,
    earlier={1: frozenset({"change_seconds"})},
    max_mib=512,
)
PART_KIND = FileKind("part of caption_frame_extents.db", PART_SCHEMA_VERSION, PART_SCHEMA)

_COLUMNS = (
    "frame1_index",
    "frame2_index",
    *(
        f"{side}_{column}"
        for side in ("forward", "backward")
        for column in ("predicted_label", "confidence", *(f"prob_{label}" for label in LABELS))
    ),
    "change_seconds",
)


@dataclass(frozen=True)
class ExtentsRun:
    """A run of the predictor. Times are ISO 8601 in UTC."""

    run_id: str
    cropped_frames_version: int
    model_version: str
    model_sha256: str
    started_at: str
    completed_at: str
    total_pairs: int
    processing_time_seconds: float


def write_extents(
    run: ExtentsRun, pairs: PairPredictions, change_seconds: ChangeSeconds | None = None, *, step: int = 1
) -> bytes:
    """Return the database, packed. Raises ``ValueError`` if ``run.total_pairs`` is wrong.

    ``change_seconds`` (n − 1,) is the time at which each pair's second frame begins; NaN if unknown.
    ``step``: indices from one frame to the next.
    """
    count = len(pairs.forward)
    if run.total_pairs != count:
        raise ValueError(f"run {run.run_id} has {run.total_pairs} pairs, but {count} are given")
    times = [None] * count if change_seconds is None else _nullable(change_seconds)
    schema, version = (SCHEMA, SCHEMA_VERSION) if step == 1 else (STEPPED_SCHEMA, STEPPED_SCHEMA_VERSION)
    with new_database(schema, version, created_at=run.completed_at) as connection:
        marks = ", ".join("?" * 8)
        connection.execute(f"INSERT INTO run_metadata VALUES ({marks})", astuple(run))
        sides = [zip(*_columns(side), strict=True) for side in (pairs.forward, pairs.backward)]
        connection.executemany(
            f"INSERT INTO pair_results ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",
            (
                (i * step, (i + 1) * step, *forward, *backward, at)
                for i, forward, backward, at in zip(range(count), *sides, times, strict=True)
            ),
        )
        return pack(connection)


def _columns(probabilities: np.ndarray) -> list[list[Any]]:
    """Return the columns of label, confidence and the five probabilities."""
    values = np.clip(probabilities.astype(np.float64), 0, 1)
    best = values.argmax(axis=1) if len(values) else np.zeros(0, int)
    return [[LABELS[k] for k in best], values.max(axis=1, initial=0).tolist(), *values.T.tolist()]


def read_extents(data: bytes) -> tuple[ExtentsRun, PairPredictions]:
    """Return the run and its predictions; a frame's presence is the mean of its pairs'.

    A run without pairs is a video of one frame without a caption. Raises :class:`DatabaseFileError` if the
    file is damaged or pairs are missing.
    """
    with KIND.read(data) as connection:
        run = _the_run(connection)
        names = ", ".join(f"{side}_prob_{label}" for side in ("forward", "backward") for label in LABELS)
        rows = connection.execute(f"SELECT {names} FROM pair_results ORDER BY frame1_index")
        table = np.empty((run.total_pairs, 2 * len(LABELS)), np.float32)
        for place, row in enumerate(rows):
            table[place] = tuple(row)
    forward, backward = table[:, :5].copy(), table[:, 5:].copy()
    return run, PairPredictions(_presence(forward, backward), forward, backward)


def read_change_seconds(data: bytes) -> ChangeSeconds:
    """Return the time at which each pair's second frame begins, float64 (n − 1,); NaN if unknown.

    Raises :class:`DatabaseFileError` if the file is damaged.
    """
    with KIND.read(data) as connection:
        _the_run(connection)
        rows = connection.execute("SELECT change_seconds FROM pair_results ORDER BY frame1_index")
        return np.array([row[0] for row in rows], np.float64)


def _the_run(connection: sqlite3.Connection) -> ExtentsRun:
    """Return a file's run. Raises unless it has exactly one run with all of its pairs.

    Counting is enough, since the pairs of a frame index are unique.
    """
    rows = connection.execute("SELECT * FROM run_metadata").fetchall()
    if len(rows) != 1:
        raise DatabaseFileError(f"caption_frame_extents.db describes {len(rows)} runs instead of one")
    run = ExtentsRun(**dict(rows[0]))
    count, last = connection.execute("SELECT count(*), max(frame1_index) FROM pair_results").fetchone()
    if count != run.total_pairs:
        raise DatabaseFileError(
            f"caption_frame_extents.db holds {count} pairs, but its run has {run.total_pairs}"
        )
    if count and last != count - 1:
        raise DatabaseFileError(f"caption_frame_extents.db: {count} pairs extend to frame {last}")
    return run


@dataclass(frozen=True)
class SegmentScores:
    """A segment's part of a video's extents: three values per frame, from ``start_index`` on.

    ``presence`` and ``same`` are float32 (k,), ``change_seconds`` float64 (k,); the latter two compare
    a frame with the previous one.
    """

    start_index: int
    presence: FloatArray
    same: FloatArray
    change_seconds: ChangeSeconds
    model_version: str
    model_sha256: str

    def __len__(self) -> int:
        return len(self.presence)

    def pairs(self) -> PairPredictions:
        """Return the label probabilities of the pairs inside the segment."""
        return predictions(self.presence, self.same[1:])


def write_segment(scores: SegmentScores) -> bytes:
    """Return a segment's scores, packed, with exact values."""
    with new_database(PART_SCHEMA, PART_SCHEMA_VERSION) as connection:
        model = scores.start_index, scores.model_version, scores.model_sha256
        connection.execute("INSERT INTO segment VALUES (?, ?, ?)", model)
        connection.executemany(
            "INSERT INTO frames VALUES (?, ?, ?, ?)",
            zip(
                range(scores.start_index, scores.start_index + len(scores)),
                scores.presence.astype(np.float64).tolist(),
                scores.same.astype(np.float64).tolist(),
                _nullable(scores.change_seconds),
                strict=True,
            ),
        )
        return pack(connection)


def read_segment(data: bytes) -> SegmentScores:
    """Read a file of :func:`write_segment`. Raises :class:`DatabaseFileError` if the file is damaged."""
    with PART_KIND.read(data) as connection:
        segments = connection.execute("SELECT * FROM segment").fetchall()
        rows = connection.execute("SELECT * FROM frames ORDER BY frame_index").fetchall()
    if len(segments) != 1:
        raise DatabaseFileError(f"part of caption_frame_extents.db describes {len(segments)} segments")
    start, model_version, model_sha256 = segments[0]
    indices, presence, same, change_seconds = zip(*map(tuple, rows), strict=True) if rows else [()] * 4
    if indices != tuple(range(start, start + len(rows))):
        raise DatabaseFileError(f"part of caption_frame_extents.db from frame {start} has gaps")
    return SegmentScores(
        start,
        np.array(presence, np.float32),
        np.array(same, np.float32),
        np.array(change_seconds, np.float64),
        model_version,
        model_sha256,
    )


def _nullable(values: ChangeSeconds) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _presence(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    fused = (forward + backward[:, REVERSED_COLUMNS]) / 2
    presence, seen = np.zeros(len(fused) + 1), np.zeros(len(fused) + 1)
    presence[:-1] += fused[:, 0] + fused[:, 1] + fused[:, 4]
    presence[1:] += fused[:, 0] + fused[:, 1] + fused[:, 3]
    seen[:-1] += 1
    seen[1:] += 1
    return (presence / np.maximum(seen, 1)).astype(np.float32)
