"""``layout.db``: the boxes of the full frames with their labels, and the crop region, for the web app.

The pipeline writes predictions; people write labels, the crop region and the approval. A new version of the
file keeps people's work: :func:`merge_people`.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modal_gpu.contracts import CropRegion
from modal_gpu.databases.checked import MAX_FRAMES, FileKind
from modal_gpu.databases.sqlite_file import new_database, pack, utc_now
from modal_gpu.errors import DatabaseFileError
from modal_gpu.layout.analysis import Layout
from modal_gpu.layout.lines import AnchorType, BoxKey, BoxLabel
from modal_gpu.ocr.engine import Box, FrameOcr

SCHEMA_VERSION = 1

# ignore_boxes, caption_band_found and reason are additions to the columns that existing clients know.
SCHEMA = f"""
CREATE TABLE boxes (
    frame_index INTEGER NOT NULL CHECK (frame_index >= 0 AND frame_index < {MAX_FRAMES}),
    box_index INTEGER NOT NULL CHECK (box_index >= 0 AND box_index < 100000),
    bbox_left REAL NOT NULL DEFAULT 0,
    bbox_top REAL NOT NULL DEFAULT 0,
    bbox_right REAL NOT NULL DEFAULT 0,
    bbox_bottom REAL NOT NULL DEFAULT 0,
    text TEXT,
    label TEXT CHECK (label IN ('in', 'out', 'clear')),
    label_updated_at TEXT,
    predicted_label TEXT CHECK (predicted_label IN ('in', 'out')),
    predicted_confidence REAL CHECK (predicted_confidence BETWEEN 0 AND 1),
    PRIMARY KEY (frame_index, box_index)
);
CREATE TABLE layout_config (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    frame_width INTEGER NOT NULL DEFAULT 0 CHECK (frame_width BETWEEN 0 AND 65536),
    frame_height INTEGER NOT NULL DEFAULT 0 CHECK (frame_height BETWEEN 0 AND 65536),
    crop_left REAL NOT NULL DEFAULT 0,
    crop_top REAL NOT NULL DEFAULT 0,
    crop_right REAL NOT NULL DEFAULT 1,
    crop_bottom REAL NOT NULL DEFAULT 1,
    vertical_center REAL CHECK (vertical_center BETWEEN 0 AND 1),
    box_height REAL CHECK (box_height BETWEEN 0 AND 1),
    anchor_type TEXT CHECK (anchor_type IN ('left', 'center', 'right')),
    anchor_position REAL CHECK (anchor_position BETWEEN 0 AND 1),
    confidence REAL NOT NULL DEFAULT 0 CHECK (confidence BETWEEN 0 AND 1),
    caption_band_found INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    crop_region_version INTEGER NOT NULL DEFAULT 0 CHECK (crop_region_version BETWEEN 0 AND 2147483647),
    updated_at TEXT NOT NULL DEFAULT ''
);
CREATE TABLE ignore_boxes (
    id INTEGER PRIMARY KEY NOT NULL,
    bbox_left REAL NOT NULL DEFAULT 0,
    bbox_top REAL NOT NULL DEFAULT 0,
    bbox_right REAL NOT NULL DEFAULT 0,
    bbox_bottom REAL NOT NULL DEFAULT 0
);
CREATE TABLE preferences (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    layout_approved INTEGER NOT NULL DEFAULT 0
);
"""

KIND = FileKind("layout.db", SCHEMA_VERSION, SCHEMA)

#: Smallest overlap (IoU) of a new box with a labelled box to take over its label.
MIN_OVERLAP = 0.5

Label = Literal["in", "out", "clear"]


@dataclass(frozen=True)
class LayoutBox:
    """A text line in a full frame, with the pipeline's prediction and a person's label, if any."""

    frame_index: int
    box_index: int
    box: Box
    text: str
    predicted_label: BoxLabel | None = None
    predicted_confidence: float | None = None
    label: Label | None = None
    #: ISO 8601.
    label_updated_at: str | None = None

    @property
    def is_caption(self) -> bool:
        """True if the line is a caption: by a person's label, else by the prediction."""
        label = self.label if self.label in ("in", "out") else self.predicted_label
        return label == "in"


@dataclass(frozen=True)
class LayoutFile:
    """The content of ``layout.db``.

    ``vertical_center`` and ``box_height`` are fractions of the frame height, ``anchor_position`` of its
    width; they and ``anchor_type`` are ``None`` without a caption band. ``crop_region_version`` counts
    people's changes to the crop region; it is 0 if the analysis chose it.
    """

    frame_width: int
    frame_height: int
    crop_region: CropRegion
    boxes: tuple[LayoutBox, ...] = ()
    vertical_center: float | None = None
    box_height: float | None = None
    anchor_type: AnchorType | None = None
    anchor_position: float | None = None
    confidence: float = 0.0
    caption_band_found: bool = False
    reason: str = ""
    crop_region_version: int = 0
    updated_at: str = ""
    layout_approved: bool = False
    #: Boxes of static text inside the crop region.
    ignore_boxes: tuple[Box, ...] = ()

    @property
    def labels(self) -> dict[BoxKey, str]:
        """People's labels, in the form of :func:`modal_gpu.layout.analysis.analyze_layout`."""
        return {(box.frame_index, box.box_index): box.label for box in self.boxes if box.label}


def layout_file(layout: Layout, frames: Sequence[FrameOcr], updated_at: str | None = None) -> LayoutFile:
    """Build the file's content from an analysis of ``frames``, without people's work."""
    predictions = {(p.frame_index, p.box_index): p for p in layout.predictions}
    boxes = []
    for frame in frames:
        for index, line in enumerate(frame.lines):
            prediction = predictions.get((frame.frame_index, index))
            boxes.append(
                LayoutBox(
                    frame.frame_index,
                    index,
                    line.box,
                    line.text,
                    prediction.label if prediction else None,
                    prediction.confidence if prediction else None,
                )
            )
    return LayoutFile(
        layout.frame_width,
        layout.frame_height,
        layout.crop_region,
        tuple(boxes),
        layout.vertical_center,
        layout.box_height,
        layout.anchor_type,
        layout.anchor_position,
        layout.confidence,
        layout.found,
        layout.reason,
        updated_at=updated_at or utc_now(),
        ignore_boxes=layout.ignore_boxes,
    )


def merge_people(previous: LayoutFile | None, new: LayoutFile) -> LayoutFile:
    """Return ``new`` with people's work from ``previous``: labels, crop region, approval.

    A label moves to the box of the same frame that overlaps the labelled one most (IoU of at least
    :data:`MIN_OVERLAP`); each box gets at most one label. A labelled box that OCR no longer finds is kept,
    without a prediction, after the frame's other boxes. A crop region that a person set (version above 0) or
    approved is kept with its version.

    To use the labels in an analysis, merge first (``merge_people(previous, layout_file(…)).labels``), since
    box indices may differ between two OCR runs.
    """
    if previous is None:
        return new
    merged = replace(new, boxes=_merge_labels(previous.boxes, new.boxes))
    if previous.crop_region_version > 0 or previous.layout_approved:
        merged = replace(
            merged,
            crop_region=previous.crop_region,
            crop_region_version=previous.crop_region_version,
            layout_approved=previous.layout_approved,
        )
    return merged


def _merge_labels(previous: Sequence[LayoutBox], new: Sequence[LayoutBox]) -> tuple[LayoutBox, ...]:
    by_frame: dict[int, list[LayoutBox]] = defaultdict(list)
    for box in new:
        by_frame[box.frame_index].append(box)
    labelled: dict[int, list[LayoutBox]] = defaultdict(list)
    for box in previous:
        if box.label is not None:
            labelled[box.frame_index].append(box)
    for frame_index, old_boxes in labelled.items():
        boxes = by_frame[frame_index]
        # Best pairs first, so that of two boxes over one labelled box the better one gets the label.
        pairs = sorted(
            (
                (old.box.overlap(box.box), -old_place, -place)
                for old_place, old in enumerate(old_boxes)
                for place, box in enumerate(boxes)
            ),
            reverse=True,
        )
        waiting, free = set(range(len(old_boxes))), set(range(len(boxes)))
        for overlap, old_place, place in pairs:
            if overlap >= MIN_OVERLAP and -old_place in waiting and -place in free:
                waiting.discard(-old_place)
                free.discard(-place)
                old = old_boxes[-old_place]
                boxes[-place] = replace(boxes[-place], label=old.label, label_updated_at=old.label_updated_at)
        for old_place in sorted(waiting):
            box_index = max((box.box_index for box in boxes), default=-1) + 1
            boxes.append(
                replace(
                    old_boxes[old_place], box_index=box_index, predicted_label=None, predicted_confidence=None
                )
            )
    return tuple(box for frame_index in sorted(by_frame) for box in by_frame[frame_index])


def write_layout(layout: LayoutFile, created_at: str | None = None) -> bytes:
    """Return ``layout.db`` as gzip bytes. ``created_at`` is ISO 8601 and defaults to now."""
    with new_database(SCHEMA, SCHEMA_VERSION, created_at) as connection:
        connection.executemany(
            "INSERT INTO boxes (frame_index, box_index, bbox_left, bbox_top, bbox_right, bbox_bottom, text,"
            " label, label_updated_at, predicted_label, predicted_confidence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    box.frame_index,
                    box.box_index,
                    *_sides(box.box),
                    box.text,
                    box.label,
                    box.label_updated_at,
                    box.predicted_label,
                    box.predicted_confidence,
                )
                for box in layout.boxes
            ),
        )
        config = _config_row(layout)
        names = ", ".join(config)
        places = ", ".join(f":{name}" for name in config)
        connection.execute(f"INSERT INTO layout_config ({names}) VALUES ({places})", config)
        connection.executemany(
            "INSERT INTO ignore_boxes (bbox_left, bbox_top, bbox_right, bbox_bottom) VALUES (?, ?, ?, ?)",
            map(_sides, layout.ignore_boxes),
        )
        connection.execute(
            "INSERT INTO preferences (id, layout_approved) VALUES (1, ?)", (layout.layout_approved,)
        )
        return pack(connection)


def _config_row(layout: LayoutFile) -> dict[str, object]:
    crop = layout.crop_region
    return {
        "id": 1,
        "frame_width": layout.frame_width,
        "frame_height": layout.frame_height,
        "crop_left": crop.crop_left,
        "crop_top": crop.crop_top,
        "crop_right": crop.crop_right,
        "crop_bottom": crop.crop_bottom,
        "vertical_center": layout.vertical_center,
        "box_height": layout.box_height,
        "anchor_type": layout.anchor_type,
        "anchor_position": layout.anchor_position,
        "confidence": layout.confidence,
        "caption_band_found": layout.caption_band_found,
        "reason": layout.reason,
        "crop_region_version": layout.crop_region_version,
        "updated_at": layout.updated_at,
    }


def read_layout(data: bytes) -> LayoutFile:
    """Read a ``layout.db`` (gzip or plain); boxes ascend by frame and box index.

    Raises :class:`DatabaseFileError` if the file is damaged or has another version, and
    :class:`ContractError` or :class:`InvalidCropRegionError` if a value is out of range.
    """
    with KIND.read(data) as connection:
        boxes = tuple(
            map(_layout_box, connection.execute("SELECT * FROM boxes ORDER BY frame_index, box_index"))
        )
        config = connection.execute("SELECT * FROM layout_config").fetchone()
        preferences = connection.execute("SELECT * FROM preferences").fetchone()
        if config is None:
            raise DatabaseFileError("database layout.db has no layout_config row: create the file again")
        return LayoutFile(
            config["frame_width"],
            config["frame_height"],
            CropRegion(config["crop_left"], config["crop_top"], config["crop_right"], config["crop_bottom"]),
            boxes,
            config["vertical_center"],
            config["box_height"],
            config["anchor_type"],
            config["anchor_position"],
            config["confidence"],
            bool(config["caption_band_found"]),
            config["reason"],
            config["crop_region_version"],
            config["updated_at"],
            bool(preferences and preferences["layout_approved"]),
            tuple(_box(row) for row in connection.execute("SELECT * FROM ignore_boxes ORDER BY id")),
        )


def _layout_box(row: sqlite3.Row) -> LayoutBox:
    return LayoutBox(
        row["frame_index"],
        row["box_index"],
        _box(row),
        row["text"] or "",
        row["predicted_label"],
        row["predicted_confidence"],
        row["label"],
        row["label_updated_at"],
    )


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.left, box.top, box.right, box.bottom


def _box(row: sqlite3.Row) -> Box:
    return Box(row["bbox_left"], row["bbox_top"], row["bbox_right"], row["bbox_bottom"])
