"""The predecessor's ``caption_frame_extents.db``: labels of frame pairs, in one file without a version."""

import contextlib
import uuid
from dataclasses import dataclass, replace

import numpy as np

from captionacc_dagster.adoption.old_files import Values, frame, number, old_database, rows_of, text
from captionacc_dagster.resources.catalog.rows.record import utc
from modal_gpu.databases.extents import ExtentsRun, write_extents
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.errors import DatabaseFileError
from modal_gpu.extents.predictor import LABELS, PairPredictions

#: Models whose labels were invented because their checkpoint was missing.
_MOCK = "placeholder"


@dataclass(frozen=True)
class OldExtents:
    """A run's labels of all pairs. ``cropped_frames_version`` is ``None`` where the file has none."""

    run: ExtentsRun
    pairs: PairPredictions
    cropped_frames_version: int | None
    notes: tuple[str, ...] = ()

    @property
    def frame_count(self) -> int:
        """Number of 10 Hz frames that were judged."""
        return len(self.pairs.forward) + 1

    @property
    def is_mock(self) -> bool:
        """True if the labels are not those of a model."""
        return self.run.model_version.startswith(_MOCK)

    def packed(self, version: int) -> bytes:
        """Return the file in this platform's schema, as that of a cropped-frames version."""
        return write_extents(replace(self.run, cropped_frames_version=version), self.pairs)


def read_old_extents(data: bytes) -> OldExtents:
    """Read a file, gzipped or not.

    Raises :class:`DatabaseFileError` if it is damaged, or lacks a pair: its writer skipped frames that it
    could not decode and stored their neighbours as a pair.
    """
    with old_database(data, "caption_frame_extents.db") as connection:
        runs = rows_of(connection, "run_metadata", order="completed_at") or []
        rows = rows_of(connection, "pair_results", order="frame1_index")
    if rows is None or not runs:
        raise DatabaseFileError("database caption_frame_extents.db is damaged or not ours: it has no run")
    for expected, row in enumerate(rows):
        if (frame(row, "frame1_index"), frame(row, "frame2_index")) != (expected, expected + 1):
            raise DatabaseFileError(
                f"database caption_frame_extents.db has no pair ({expected}, {expected + 1})"
            )
    forward, backward = (_probabilities(rows, side) for side in ("forward", "backward"))
    run, notes = runs[-1], []
    stated = number(run, "total_pairs")
    if stated is not None and int(stated) != len(rows):
        notes.append(f"it has {len(rows)} pairs and says {int(stated)}")
    version = number(run, "cropped_frames_version")
    return OldExtents(
        ExtentsRun(
            run_id=text(run, "run_id") or str(uuid.uuid4()),
            cropped_frames_version=1,
            model_version=text(run, "model_version") or "unknown",
            model_sha256="",
            started_at=_moment(run, "started_at", "completed_at"),
            completed_at=_moment(run, "completed_at", "started_at"),
            total_pairs=len(rows),
            processing_time_seconds=max(0.0, number(run, "processing_time_seconds") or 0.0),
        ),
        PairPredictions(np.zeros(len(rows) + 1, np.float32), forward, backward),
        int(version) if version is not None and version >= 1 else None,
        tuple(notes),
    )


def _moment(run: Values, *columns: str) -> str:
    """Return the first of the columns that is a time, in UTC; now without one."""
    for column in columns:
        with contextlib.suppress(ValueError):
            return utc(text(run, column) or "").isoformat()
    return utc_now()


def _probabilities(rows: list[Values], side: str) -> np.ndarray:
    """Return the probabilities of a direction, float32 (n, 5). Raises :class:`DatabaseFileError`."""
    names = [f"{side}_prob_{label}" for label in LABELS]
    table = np.empty((len(rows), len(names)), np.float32)
    for place, row in enumerate(rows):
        values = [number(row, name) for name in names]
        if any(value is None or not 0 <= value <= 1 for value in values):
            raise DatabaseFileError(
                f"database caption_frame_extents.db has no probabilities for the pair ({place}, {place + 1})"
            )
        table[place] = values
    return table
