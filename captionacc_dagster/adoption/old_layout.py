"""The predecessor's ``layout.db``: boxes with labels, and the crop region."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from captionacc_dagster.adoption.boxes import (
    Convention,
    RawBox,
    TextLine,
    characters_of,
    convention_of,
    text_lines,
)
from captionacc_dagster.adoption.errors import RefusedVideoError
from captionacc_dagster.adoption.old_files import Values, flag, frame, number, old_database, rows_of, text
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import Label, LayoutBox, LayoutFile
from modal_gpu.errors import DatabaseFileError, InvalidCropRegionError
from modal_gpu.layout.lines import AnchorType, BoxLabel

#: The region of a layout that nobody has analysed.
WHOLE_FRAME = CropRegion(0, 0, 1, 1)
_SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True)
class OldLayout:
    """A layout, as this platform has it; ``file.boxes`` are text lines.

    ``crop_region`` is ``None`` if the stored one is none, such as one that was computed from pixels as if
    they were fractions; ``file`` then has the whole frame.
    """

    file: LayoutFile
    crop_region: CropRegion | None
    convention: Convention
    #: People's labels, by frame and index of the stored box.
    labelled: Mapping[tuple[int, int], Label]
    notes: tuple[str, ...] = ()

    @property
    def is_approved(self) -> bool:
        """True if a person approved the layout, as the file says."""
        return self.file.layout_approved

    @property
    def is_analysed(self) -> bool:
        """True if the file has boxes, or a region that somebody chose."""
        return bool(self.file.boxes) or (self.crop_region not in (None, WHOLE_FRAME))


def read_old_layout(
    data: bytes, width: int | None = None, height: int | None = None, convention: Convention | None = None
) -> OldLayout:
    """Read a ``layout.db``. ``width`` and ``height`` are the row's, used where the file has none.

    ``convention`` is that of the boxes if it is known; fractions count as measured from the bottom left
    otherwise, unless labels and an approved region show that they are from the top left. Raises
    :class:`DatabaseFileError`, and :class:`RefusedVideoError` for labels in pixels of an unknown frame.
    """
    with old_database(data, "layout.db") as connection:
        boxes = rows_of(connection, "boxes", order="box_index") or []
        labels = rows_of(connection, "full_frame_box_labels") or []
        config = (rows_of(connection, "layout_config", "video_layout_config") or [{}])[0]
        preferences = (rows_of(connection, "preferences", "video_preferences") or [{}])[0]
        if not config and not boxes and rows_of(connection, "layout_config", "boxes") is None:
            raise DatabaseFileError(
                "database layout.db is damaged or not ours: no table boxes or layout_config"
            )
    size = _size(config, width, height)
    raw = _raw_boxes(boxes, labels)
    region = _crop_region(config, size)
    approved = flag(preferences, "layout_approved", default=False)
    version = int(number(config, "crop_region_version") or 0)
    known = convention or _convention(raw, region if approved or version > 0 else None)
    if known == "pixels" and size is None:
        if any(box.label for box in raw):
            raise RefusedVideoError(
                "layout.db has labelled boxes in pixels, and neither it nor the row says how large the frame "
                "is: set width and height in the row"
            )
        raw, known = [], "bottom-left"
    lines = text_lines(characters_of(raw, known, *(size or (1, 1))), _aspect(size))
    file = _file(config, size or (0, 0), region, lines, approved=approved, version=version)
    labelled = {(box.frame_index, box.box_index): box.label for box in raw if box.label}
    return OldLayout(file, region, known, labelled, _notes(config, region, known, raw))


def _raw_boxes(rows: Sequence[Values], labels: Sequence[Values]) -> list[RawBox]:
    """Return the stored boxes; people's labels may be in a table of their own."""
    own = {
        (frame(row, "frame_index"), frame(row, "box_index")): row
        for row in labels
        if (text(row, "label_source") or "user") == "user"
    }
    boxes = []
    for row in rows:
        key = frame(row, "frame_index"), frame(row, "box_index")
        edges = [number(row, f"bbox_{side}") for side in _SIDES]
        if None in key or None in edges:
            continue
        left, top, right, bottom = edges
        beside = own.get(key, {})
        boxes.append(
            RawBox(
                frame_index=key[0] or 0,
                box_index=key[1] or 0,
                x=(left or 0.0, right or 0.0),
                y=(top or 0.0, bottom or 0.0),
                text=text(row, "text") or "",
                label=_label(text(row, "label") or text(beside, "label")),
                label_updated_at=text(row, "label_updated_at")
                or text(beside, "label_updated_at", "created_at"),
                predicted_label=_predicted(text(row, "predicted_label")),
                predicted_confidence=number(row, "predicted_confidence"),
            )
        )
    return boxes


def _label(value: str | None) -> Label | None:
    return next((label for label in get_args(Label) if label == value), None)


def _predicted(value: str | None) -> BoxLabel | None:
    return next((label for label in get_args(BoxLabel) if label == value), None)


def _size(config: Values, width: int | None, height: int | None) -> tuple[int, int] | None:
    own = int(number(config, "frame_width") or 0), int(number(config, "frame_height") or 0)
    for found in (own, (width or 0, height or 0)):
        if all(1 <= side <= 65536 for side in found):
            return found
    return None


def _aspect(size: tuple[int, int] | None) -> float | None:
    return size[0] / size[1] if size and all(size) else None


def _crop_region(config: Values, size: tuple[int, int] | None) -> CropRegion | None:
    """Return the stored region: fractions, or pixels if one is above 1; ``None`` if it is neither."""
    sides = [number(config, f"crop_{side}") for side in _SIDES]
    if any(side is None for side in sides):
        return WHOLE_FRAME if not config else None
    return crop_region_of(dict(zip(_SIDES, sides, strict=True)), size)


def crop_region_of(sides: Mapping[str, Any], size: tuple[int, int] | None) -> CropRegion | None:
    """Return the region of ``left``, ``top``, ``right`` and ``bottom``, or ``crop_left`` and so on.

    Values above 1 are pixels of a frame of ``size``. ``None`` if they are no region.
    """
    found = [number(dict(sides), f"crop_{side}", side) for side in _SIDES]
    values = [value for value in found if value is not None]
    if len(values) < len(_SIDES):
        return None
    if max(values) > 1:
        if size is None:
            return None
        values = [value / size[place % 2] for place, value in enumerate(values)]
    try:
        return CropRegion(*values)
    except InvalidCropRegionError:
        return None


def _convention(boxes: Sequence[RawBox], region: CropRegion | None) -> Convention:
    """Return the convention of the boxes.

    Fractions look alike from the top and from the bottom. Boxes that a person labelled as captions lie in
    the region that a person chose, which is from the top left in any case.
    """
    found = convention_of(boxes)
    captions = [box for box in boxes if box.label == "in"]
    if found == "pixels" or region is None or region == WHOLE_FRAME or not captions:
        return found
    centers = [sum(box.y) / 2 for box in captions]
    inside = [region.crop_top <= center <= region.crop_bottom for center in centers]
    inside_flipped = [region.crop_top <= 1 - center <= region.crop_bottom for center in centers]
    return "top-left" if sum(inside) > sum(inside_flipped) else "bottom-left"


def _file(
    config: Values,
    size: tuple[int, int],
    region: CropRegion | None,
    lines: Sequence[TextLine],
    *,
    approved: bool,
    version: int,
) -> LayoutFile:
    width, height = size
    indices: dict[int, int] = {}
    boxes = []
    for line in lines:
        index = indices[line.frame_index] = indices.get(line.frame_index, -1) + 1
        predicted, confidence = line.prediction or (None, None)
        boxes.append(
            LayoutBox(
                line.frame_index,
                index,
                line.box,
                line.text(_aspect(size)),
                predicted,
                confidence,
                line.label,
                line.label_updated_at,
            )
        )
    anchor = text(config, "anchor_type")
    return LayoutFile(
        width,
        height,
        region or WHOLE_FRAME,
        tuple(boxes),
        vertical_center=_fraction(config, height, "vertical_center", "vertical_position"),
        box_height=_fraction(config, height, "box_height"),
        anchor_type=next((known for known in get_args(AnchorType) if known == anchor), None),
        anchor_position=_fraction(config, width, "anchor_position"),
        caption_band_found=region not in (None, WHOLE_FRAME),
        reason="taken over from the predecessor",
        crop_region_version=min(2_147_483_647, max(0, version)) if region else 0,
        updated_at=text(config, "updated_at") or "",
        layout_approved=approved and region is not None,
    )


def _fraction(config: Values, pixels: int, *columns: str) -> float | None:
    """Return a fraction; larger values are pixels. ``None`` for values outside of the frame."""
    value = number(config, *columns)
    if value is not None and value > 1:
        value = value / pixels if pixels else None
    return value if value is not None and 0 <= value <= 1 else None


def _notes(
    config: Values, region: CropRegion | None, convention: Convention, boxes: Sequence[RawBox]
) -> tuple[str, ...]:
    notes = []
    if region is None:
        sides = ", ".join(f"{side} {config.get(f'crop_{side}')}" for side in _SIDES)
        notes.append(f"its crop region is not usable ({sides})")
    if convention != "bottom-left" and boxes:
        where = "in pixels from the top left" if convention == "pixels" else "measured from the top left"
        notes.append(f"its boxes are {where}")
    return tuple(notes)
