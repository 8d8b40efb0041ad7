"""``layout.db``: the boxes of the full frames with their labels, and the crop region, for the web app.

The pipeline writes predictions; people write labels, the crop region and the approval. A new version of the
file keeps people's work: :func:`modal_gpu.databases.layout_merging.merge_people`.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from modal_gpu.contracts import MAX_ZONES, CaptionZone, CropRegion, Zones, from_wire
from modal_gpu.databases.checked import MAX_FRAMES, FileKind
from modal_gpu.databases.sqlite_file import new_database, pack, utc_now
from modal_gpu.errors import DatabaseFileError
from modal_gpu.layout.analysis import Layout
from modal_gpu.layout.lines import AnchorType, BoxKey, BoxLabel
from modal_gpu.layout.zones import LayoutZone
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

#: Zones beside the one of layout_config. The table is only in the files of videos that have some.
ZONES_SCHEMA = f"""
CREATE TABLE caption_zones (
    zone_index INTEGER PRIMARY KEY NOT NULL CHECK (zone_index BETWEEN 1 AND {MAX_ZONES - 1}),
    crop_left REAL NOT NULL DEFAULT 0,
    crop_top REAL NOT NULL DEFAULT 0,
    crop_right REAL NOT NULL DEFAULT 1,
    crop_bottom REAL NOT NULL DEFAULT 1,
    vertical_center REAL CHECK (vertical_center BETWEEN 0 AND 1),
    box_height REAL CHECK (box_height BETWEEN 0 AND 1),
    anchor_type TEXT CHECK (anchor_type IN ('left', 'center', 'right')),
    anchor_position REAL CHECK (anchor_position BETWEEN 0 AND 1),
    language TEXT,
    confidence REAL NOT NULL DEFAULT 0 CHECK (confidence BETWEEN 0 AND 1),
    reason TEXT NOT NULL DEFAULT ''
);
"""

KIND = FileKind("layout.db", SCHEMA_VERSION, SCHEMA + ZONES_SCHEMA, optional=frozenset({"caption_zones"}))

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
    #: Boxes of static text inside the crop regions.
    ignore_boxes: tuple[Box, ...] = ()
    #: Zones beside this one, in the order of their indices.
    zones: tuple[LayoutZone, ...] = ()

    @property
    def caption_zones(self) -> Zones:
        """The further zones, as requests and the catalogue have them."""
        return tuple(zone.zone for zone in self.zones)

    def at(self, crop: CropRegion, zone: int) -> "LayoutFile":
        """Return the layout with the band inside a zone's crop region in place of its own.

        Without one, a further zone has no anchor, centre and line height; zone 0 keeps the layout's own.
        """
        bands: list[LayoutFile | LayoutZone] = [self, *self.zones]
        for band in bands:
            center = band.vertical_center
            if center is not None and crop.crop_top < center < crop.crop_bottom:
                return self._with(band)
        return self if zone == 0 else self._with(LayoutZone(CaptionZone(zone, crop)))

    def with_zones(self, crop: CropRegion, zones: Zones) -> "LayoutFile":
        """Return the layout with approved zones in place of its own, each with the band that lies in it."""
        further = []
        for zone in zones:
            band = self.at(zone.crop_region, zone.zone_index)
            further.append(
                LayoutZone(
                    zone,
                    band.anchor_type,
                    band.anchor_position,
                    band.vertical_center,
                    band.box_height,
                )
            )
        return replace(self.at(crop, 0), crop_region=crop, zones=tuple(further))

    def _with(self, band: "LayoutFile | LayoutZone") -> "LayoutFile":
        return replace(
            self,
            vertical_center=band.vertical_center,
            box_height=band.box_height,
            anchor_type=band.anchor_type,
            anchor_position=band.anchor_position,
        )

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
        zones=layout.zones,
    )


def write_layout(layout: LayoutFile, created_at: str | None = None) -> bytes:
    """Return ``layout.db`` as gzip bytes. ``created_at`` is ISO 8601 and defaults to now."""
    schema = SCHEMA + ZONES_SCHEMA if layout.zones else SCHEMA
    with new_database(schema, SCHEMA_VERSION, created_at) as connection:
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
        for zone in layout.zones:
            row = _zone_row(zone)
            marks = ", ".join(f":{name}" for name in row)
            connection.execute(f"INSERT INTO caption_zones ({', '.join(row)}) VALUES ({marks})", row)
        return pack(connection)


def _zone_row(found: LayoutZone) -> dict[str, object]:
    return {
        "zone_index": found.zone.zone_index,
        **_crop_columns(found.zone.crop_region),
        "vertical_center": found.vertical_center,
        "box_height": found.box_height,
        "anchor_type": found.anchor_type,
        "anchor_position": found.anchor_position,
        "language": found.zone.language,
        "confidence": found.confidence,
        "reason": found.reason,
    }


def _zone(row: sqlite3.Row) -> LayoutZone:
    fields = {"zone_index": row["zone_index"], "crop_region": _crop(row), "language": row["language"]}
    return LayoutZone(
        from_wire(CaptionZone, fields),
        row["anchor_type"],
        row["anchor_position"],
        row["vertical_center"],
        row["box_height"],
        row["confidence"],
        row["reason"],
    )


def _crop(row: sqlite3.Row) -> CropRegion:
    return CropRegion(row["crop_left"], row["crop_top"], row["crop_right"], row["crop_bottom"])


def _crop_columns(crop: CropRegion) -> dict[str, object]:
    return {
        "crop_left": crop.crop_left,
        "crop_top": crop.crop_top,
        "crop_right": crop.crop_right,
        "crop_bottom": crop.crop_bottom,
    }


def _config_row(layout: LayoutFile) -> dict[str, object]:
    return {
        "id": 1,
        "frame_width": layout.frame_width,
        "frame_height": layout.frame_height,
        **_crop_columns(layout.crop_region),
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
            _crop(config),
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
            tuple(map(_zone, connection.execute("SELECT * FROM caption_zones ORDER BY zone_index"))),
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
