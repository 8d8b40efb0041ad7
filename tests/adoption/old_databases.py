"""The predecessor's SQLite files, written as its own code wrote them, from the facts about it."""

import gzip
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from functools import cache
from itertools import pairwise
from typing import Any

from modal_gpu.extents.predictor import LABELS

CAPTIONS = """
CREATE TABLE database_metadata (key TEXT PRIMARY KEY, value TEXT);
INSERT INTO database_metadata VALUES ('schema_version', '2');
CREATE TABLE captions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    start_frame_index INTEGER NOT NULL,
    end_frame_index INTEGER NOT NULL,
    caption_frame_extents_state TEXT NOT NULL DEFAULT 'predicted'
        CHECK (caption_frame_extents_state IN ('predicted', 'confirmed', 'gap')),
    caption_frame_extents_pending INTEGER DEFAULT 1,
    caption_frame_extents_updated_at TEXT,
    text TEXT,
    text_pending INTEGER DEFAULT 1,
    text_status TEXT,
    text_notes TEXT,
    caption_ocr TEXT,
    text_updated_at TEXT,
    image_needs_regen INTEGER DEFAULT 0,
    caption_ocr_status TEXT DEFAULT 'queued',
    caption_ocr_error TEXT,
    caption_ocr_processed_at TEXT,
    created_at TEXT
);
"""
#: Before the OCR columns were renamed, and with the state that docs and older files have.
OLDER_CAPTIONS = CAPTIONS.replace("caption_ocr_", "median_ocr_").replace("'gap')", "'gap', 'issue')")
LAYOUT = """
CREATE TABLE database_metadata (
    id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER NOT NULL, created_at TEXT NOT NULL
);
INSERT INTO database_metadata VALUES (1, 1, '2026-01-20T00:00:00');
CREATE TABLE boxes (
    frame_index INTEGER NOT NULL,
    box_index INTEGER NOT NULL,
    bbox_left REAL NOT NULL DEFAULT 0,
    bbox_top REAL NOT NULL DEFAULT 0,
    bbox_right REAL NOT NULL DEFAULT 0,
    bbox_bottom REAL NOT NULL DEFAULT 0,
    text TEXT,
    label TEXT,
    label_updated_at TEXT,
    predicted_label TEXT,
    predicted_confidence REAL,
    PRIMARY KEY (frame_index, box_index)
) WITHOUT ROWID;
CREATE TABLE layout_config (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    frame_width INTEGER NOT NULL DEFAULT 0,
    frame_height INTEGER NOT NULL DEFAULT 0,
    crop_left REAL NOT NULL DEFAULT 0,
    crop_top REAL NOT NULL DEFAULT 0,
    crop_right REAL NOT NULL DEFAULT 1,
    crop_bottom REAL NOT NULL DEFAULT 1,
    selection_left REAL, selection_top REAL, selection_right REAL, selection_bottom REAL,
    vertical_center REAL, vertical_std REAL,
    box_height INTEGER, box_height_std REAL,
    anchor_type TEXT, anchor_position REAL,
    top_edge_std REAL, bottom_edge_std REAL,
    horizontal_std_slope REAL, horizontal_std_intercept REAL,
    crop_region_version INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT NOT NULL DEFAULT '2026-01-20T00:00:00'
);
CREATE TABLE preferences (id INTEGER PRIMARY KEY CHECK (id = 1), layout_approved INTEGER NOT NULL DEFAULT 0);
"""
#: The names of its API's repositories.
OLDER_LAYOUT = (
    LAYOUT.replace("TABLE layout_config", "TABLE video_layout_config")
    .replace("TABLE preferences", "TABLE video_preferences")
    .replace("    label TEXT,\n    label_updated_at TEXT,\n", "")
    + """
CREATE TABLE full_frame_box_labels (
    frame_index INTEGER, box_index INTEGER, label TEXT, label_source TEXT, created_at TEXT,
    UNIQUE (frame_index, box_index, label_source)
);
"""
)
RAW_OCR = """
CREATE TABLE full_frame_ocr (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    frame_index INTEGER NOT NULL, box_index INTEGER NOT NULL,
    text TEXT NOT NULL, confidence REAL NOT NULL,
    x REAL NOT NULL, y REAL NOT NULL, width REAL NOT NULL, height REAL NOT NULL,
    created_at TEXT DEFAULT CURRENT_TIMESTAMP,
    UNIQUE (frame_index, box_index)
);
"""
LAYOUT_SERVER = """
CREATE TABLE database_metadata (
    id INTEGER PRIMARY KEY, schema_version INTEGER, created_at TEXT, migrated_at TEXT
);
CREATE TABLE box_classification_model (
    id INTEGER PRIMARY KEY, model_version TEXT, trained_at TEXT, n_training_samples INTEGER,
    prior_in REAL, prior_out REAL, feature_importance TEXT, covariance_matrix TEXT, covariance_inverse TEXT
);
INSERT INTO box_classification_model (id, model_version, trained_at, n_training_samples)
    VALUES (1, 'naive_bayes_v2', '2026-01-21T00:00:00', 24);
CREATE TABLE analysis_results (id INTEGER PRIMARY KEY, vertical_position INTEGER, computed_at TEXT);
"""
_DIRECTION = "".join(
    f"    {side}_predicted_label TEXT NOT NULL, {side}_confidence REAL NOT NULL, "
    + ", ".join(f"{side}_prob_{label} REAL NOT NULL" for label in LABELS)
    + ",\n"
    for side in ("forward", "backward")
)
EXTENTS = f"""
CREATE TABLE run_metadata (
    cropped_frames_version INTEGER, model_version TEXT NOT NULL, model_checkpoint_path TEXT,
    run_id TEXT PRIMARY KEY, started_at TEXT NOT NULL, completed_at TEXT NOT NULL,
    total_pairs INTEGER NOT NULL, processing_time_seconds REAL
);
CREATE TABLE pair_results (
    id INTEGER PRIMARY KEY AUTOINCREMENT, frame1_index INTEGER NOT NULL, frame2_index INTEGER NOT NULL,
{_DIRECTION}    processing_time_ms REAL, UNIQUE (frame1_index, frame2_index)
);
"""
_REVERSED = {"empty_valid": "valid_empty", "valid_empty": "empty_valid"}

Row = dict[str, Any]


def database(schema: str, *, gzipped: bool = True, **tables: Iterable[Row]) -> bytes:
    """A file of the schema with rows, gzipped as most were."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        for table, rows in tables.items():
            for row in rows:
                marks = ", ".join("?" * len(row))
                names = ", ".join(row)
                connection.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(row.values()))
        connection.commit()
        data = connection.serialize()
    return gzip.compress(data, mtime=0) if gzipped else data


@cache
def extents(
    frame_count: int,
    captions: tuple[tuple[int, int], ...],
    *,
    model: str = "mrn0fkfd_a4b1a61c",
    without: tuple[int, ...] = (),
    gzipped: bool = False,
) -> bytes:
    """The pairs of a video with captions at the half-open ranges; plain, as its newest code stored them."""

    def at(index: int) -> int | None:
        return next((place for place, (start, end) in enumerate(captions) if start <= index < end), None)

    def label(first: int, second: int) -> str:
        before, after = at(first), at(second)
        if before is None:
            return "empty_empty" if after is None else "empty_valid"
        if after is None:
            return "valid_empty"
        return "same" if before == after else "different"

    def columns(side: str, name: str) -> Row:
        chances = {f"{side}_prob_{each}": 0.96 if each == name else 0.01 for each in LABELS}
        return {f"{side}_predicted_label": name, f"{side}_confidence": 0.96, **chances}

    kept = [index for index in range(frame_count) if index not in without]
    pairs = [
        {
            "frame1_index": first,
            "frame2_index": second,
            **columns("forward", label(first, second)),
            **columns("backward", _REVERSED.get(label(first, second), label(first, second))),
        }
        for first, second in pairwise(kept)
    ]
    run = {
        "cropped_frames_version": None,
        "model_version": model,
        "run_id": "8c0e5a52-8f43-4b36-9a43-3c1d7a9f0f10",
        "started_at": "2026-01-21T10:00:00+00:00",
        "completed_at": "2026-01-21T10:01:00+00:00",
        "total_pairs": len(pairs),
        "processing_time_seconds": 60.0,
    }
    return database(EXTENTS, gzipped=gzipped, run_metadata=[run], pair_results=pairs)


def characters(
    text: str, left: float, top: float, *, width: float = 0.02, height: float = 0.06
) -> list[tuple[str, float, float, float, float]]:
    """The characters of a line as (text, left, top, right, bottom), in fractions from the top left."""
    return [
        (character, left + place * width, top, left + (place + 0.9) * width, top + height)
        for place, character in enumerate(text)
        if character != " "
    ]
