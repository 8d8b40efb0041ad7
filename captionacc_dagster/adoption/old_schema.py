"""The predecessor's schemas of the two databases that go back to it.

Its API upgrades them to synchronised tables when it first opens them.
"""

CAPTIONS = """
CREATE TABLE database_metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL DEFAULT '');
INSERT INTO database_metadata (key, value) VALUES ('schema_version', '2');
CREATE TABLE captions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    start_frame_index INTEGER NOT NULL,
    -- Inclusive.
    end_frame_index INTEGER NOT NULL,
    caption_frame_extents_state TEXT NOT NULL DEFAULT 'predicted'
        CHECK (caption_frame_extents_state IN ('predicted', 'confirmed', 'gap', 'issue')),
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
CREATE INDEX captions_range ON captions (start_frame_index, end_frame_index);
CREATE INDEX captions_work ON captions (caption_frame_extents_state, caption_frame_extents_pending);
"""

LAYOUT = """
CREATE TABLE database_metadata (
    id INTEGER PRIMARY KEY CHECK (id = 1), schema_version INTEGER NOT NULL, created_at TEXT NOT NULL
);
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
    selection_left REAL,
    selection_top REAL,
    selection_right REAL,
    selection_bottom REAL,
    vertical_center REAL,
    vertical_std REAL,
    box_height INTEGER,
    box_height_std REAL,
    anchor_type TEXT,
    anchor_position REAL,
    top_edge_std REAL,
    bottom_edge_std REAL,
    horizontal_std_slope REAL,
    horizontal_std_intercept REAL,
    crop_region_version INTEGER NOT NULL DEFAULT 0,
    updated_at TEXT NOT NULL DEFAULT ''
);
CREATE TABLE preferences (
    id INTEGER PRIMARY KEY CHECK (id = 1), layout_approved INTEGER NOT NULL DEFAULT 0
);
"""
