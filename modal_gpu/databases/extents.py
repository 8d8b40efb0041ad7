"""``caption_frame_extents_v{N}.db``: what the pair predictor said about one cropped-frames version."""

import itertools
from dataclasses import astuple, dataclass

import numpy as np

from modal_gpu.databases.sqlite_file import new_database, pack, read_database
from modal_gpu.errors import DatabaseFileError
from modal_gpu.extents.predictor import LABELS, REVERSED_COLUMNS, PairPredictions

SCHEMA_VERSION = 1


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
    total_pairs INTEGER NOT NULL DEFAULT 0 CHECK (total_pairs >= 0),
    processing_time_seconds REAL NOT NULL DEFAULT 0
);
CREATE TABLE pair_results (
    frame1_index INTEGER PRIMARY KEY NOT NULL CHECK (frame1_index >= 0),
    frame2_index INTEGER NOT NULL DEFAULT 0,
{_direction("forward")}{_direction("backward")}    CHECK (frame2_index = frame1_index + 1)
);
"""

_COLUMNS = (
    "frame1_index",
    "frame2_index",
    *(
        f"{side}_{column}"
        for side in ("forward", "backward")
        for column in ("predicted_label", "confidence", *(f"prob_{label}" for label in LABELS))
    ),
)


@dataclass(frozen=True)
class ExtentsRun:
    """One run of the predictor. Times are ISO 8601 in UTC."""

    run_id: str
    cropped_frames_version: int
    model_version: str
    model_sha256: str
    started_at: str
    completed_at: str
    total_pairs: int
    processing_time_seconds: float


def write_extents(run: ExtentsRun, predictions: PairPredictions) -> bytes:
    """The whole database, packed. Raises ``ValueError`` when ``run.total_pairs`` is wrong."""
    pairs = len(predictions.forward)
    if run.total_pairs != pairs:
        raise ValueError(f"run {run.run_id} says {run.total_pairs} pairs, there are {pairs}")
    with new_database(SCHEMA, SCHEMA_VERSION, created_at=run.completed_at) as connection:
        marks = ", ".join("?" * 8)
        connection.execute(f"INSERT INTO run_metadata VALUES ({marks})", astuple(run))
        sides = [zip(*_columns(side), strict=True) for side in (predictions.forward, predictions.backward)]
        connection.executemany(
            f"INSERT INTO pair_results ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",
            ((i, i + 1, *forward, *backward) for i, forward, backward in zip(itertools.count(), *sides)),
        )
        return pack(connection)


def _columns(probabilities: np.ndarray) -> list[list]:
    """Label, confidence and the five probabilities of each row, column by column."""
    values = np.clip(probabilities.astype(np.float64), 0, 1)
    best = values.argmax(axis=1) if len(values) else np.zeros(0, int)
    return [[LABELS[k] for k in best], values.max(axis=1, initial=0).tolist(), *values.T.tolist()]


def read_extents(data: bytes) -> tuple[ExtentsRun, PairPredictions]:
    """The run and its predictions; presence is what the pairs say about each frame on average.

    A run without pairs is read as a video of one frame without a caption. Raises
    :class:`DatabaseFileError` when the file is damaged or pairs are missing.
    """
    with read_database(data, SCHEMA_VERSION, "caption_frame_extents.db") as connection:
        rows = connection.execute("SELECT * FROM run_metadata").fetchall()
        if len(rows) != 1:
            raise DatabaseFileError(f"caption_frame_extents.db describes {len(rows)} runs instead of one")
        run = ExtentsRun(**dict(rows[0]))
        names = ", ".join(f"{side}_prob_{label}" for side in ("forward", "backward") for label in LABELS)
        cursor = connection.execute(f"SELECT frame1_index, {names} FROM pair_results ORDER BY frame1_index")
        table = np.empty((run.total_pairs, 2 * len(LABELS)), np.float32)
        count = 0
        for row in cursor:
            if count >= run.total_pairs or row[0] != count:
                raise DatabaseFileError(f"caption_frame_extents.db: pair {row[0]} where {count} was expected")
            table[count] = row[1:]
            count += 1
    if count != run.total_pairs:
        raise DatabaseFileError(
            f"caption_frame_extents.db holds {count} pairs, its run made {run.total_pairs}"
        )
    forward, backward = table[:, :5].copy(), table[:, 5:].copy()
    return run, PairPredictions(_presence(forward, backward), forward, backward)


def _presence(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:
    fused = (forward + backward[:, REVERSED_COLUMNS]) / 2
    presence, seen = np.zeros(len(fused) + 1), np.zeros(len(fused) + 1)
    presence[:-1] += fused[:, 0] + fused[:, 1] + fused[:, 4]
    presence[1:] += fused[:, 0] + fused[:, 1] + fused[:, 3]
    seen[:-1] += 1
    seen[1:] += 1
    return (presence / np.maximum(seen, 1)).astype(np.float32)
