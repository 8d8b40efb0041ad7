"""Pictures made of frames: poster, contact sheet, what OCR read, the layout, a film strip."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from captionacc_dagster.assets.pictures.drawing import (
    BACKGROUND,
    CROP,
    IN,
    NEUTRAL,
    OUT,
    WIDTH,
    Colour,
    by_confidence,
    clock,
    encode_jpeg,
    evenly,
    fitted,
    label,
    span,
)
from modal_gpu.contracts import CropRegion
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.ocr.engine import Box

_GAP = 4
#: Cells of a heat map on the longer side of the frame.
_CELLS = 96


@dataclass(frozen=True)
class PreviewBox:
    """A box in fractions of the frame; ``label`` is ``in``, ``out``, or None before it is judged.

    ``note`` stands above the box, in Latin letters or digits; ``confidence`` colours a box without a label.
    """

    left: float
    top: float
    right: float
    bottom: float
    label: str | None = None
    note: str = ""
    confidence: float | None = None

    @classmethod
    def of(
        cls, box: Box, label: str | None = None, note: str = "", confidence: float | None = None
    ) -> "PreviewBox":
        """Make one from an OCR box."""
        return cls(box.left, box.top, box.right, box.bottom, label, note, confidence)

    @property
    def colour(self) -> Colour:
        """Green for in, red for out; else by confidence, or neutral."""
        if self.label in ("in", "out"):
            return IN if self.label == "in" else OUT
        return NEUTRAL if self.confidence is None else by_confidence(self.confidence)


@dataclass(frozen=True)
class PreviewFrame:
    """A frame as JPEG bytes with its OCR boxes."""

    index: int
    jpeg: bytes
    boxes: Sequence[PreviewBox] = ()


def poster(frame: PreviewFrame) -> bytes:
    """Return a JPEG of one frame."""
    return encode_jpeg(fitted(frame.jpeg, WIDTH))


def contact_sheet(
    frames: Sequence[PreviewFrame], columns: int = 5, most: int = 30, width: int = WIDTH
) -> bytes:
    """Return a JPEG of at most ``most`` frames, evenly chosen, with their times and OCR boxes.

    It is ``width`` pixels wide, or narrower with fewer frames than columns. Upright frames stand in more
    columns.
    """
    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    shown = evenly(frames, most)
    first = Image.open(io.BytesIO(shown[0].jpeg))
    if first.height > first.width:
        columns *= 2
    tile_width = (width - _GAP) // columns - _GAP
    tiles = [_tile(frame, tile_width) for frame in shown]
    columns = min(columns, len(tiles))
    return encode_jpeg(_sheet(tiles, columns, tile_width, columns * (tile_width + _GAP) + _GAP))


def layout_preview(frame: PreviewFrame, crops: Sequence[CropRegion], width: int = WIDTH) -> bytes:
    """Return a JPEG of one frame: the crop regions bright, the rest dimmed, boxes green (in) or red (out)."""
    image = fitted(frame.jpeg, width)
    dimmed = Image.blend(image, Image.new("RGB", image.size), 0.55)
    draw = ImageDraw.Draw(dimmed)
    for crop in crops:
        left, right = span(crop.crop_left, crop.crop_right, image.width)
        top, bottom = span(crop.crop_top, crop.crop_bottom, image.height)
        dimmed.paste(image.crop((left, top, right, bottom)), (left, top))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=CROP, width=2)
    _draw_boxes(draw, frame.boxes, image.width, image.height)
    label(draw, (6, 6), clock(frame.index / INDEX_RATE))
    return encode_jpeg(dimmed)


def heat_map(
    frame: PreviewFrame, boxes: Sequence[PreviewBox], crops: Sequence[CropRegion], width: int = WIDTH
) -> bytes:
    """Return a JPEG of one frame, dimmed, with the density of all frames' boxes: green in, red out."""
    image = fitted(frame.jpeg, width)
    ground: npt.NDArray[np.floating] = np.asarray(
        Image.blend(image, Image.new("RGB", image.size), 0.7), np.float32
    )
    cells = round(_CELLS * image.width / max(image.size)), round(_CELLS * image.height / max(image.size))
    for name, colour in (("out", OUT), ("in", IN)):
        density = _density([box for box in boxes if box.label == name], max(1, cells[0]), max(1, cells[1]))
        smooth = Image.fromarray((density * 255).astype(np.uint8)).resize(
            image.size, Image.Resampling.BILINEAR
        )
        share = np.asarray(smooth, np.float32)[..., None] / 255 * 0.85
        ground = ground * (1 - share) + np.array(colour, np.float32) * share
    shown = Image.fromarray(ground.astype(np.uint8))
    draw = ImageDraw.Draw(shown)
    for crop in crops:
        left, right = span(crop.crop_left, crop.crop_right, image.width)
        top, bottom = span(crop.crop_top, crop.crop_bottom, image.height)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=CROP, width=2)
    return encode_jpeg(shown)


def film_strip(strips: Sequence[tuple[float, npt.NDArray[np.uint8]]], width: int = WIDTH) -> bytes:
    """Return a JPEG of cropped frames with their times: wide ones one below the other, others in columns.

    ``strips`` are ``(seconds, RGB of H × W × 3)``.
    """
    if not strips:
        raise ValueError("a film strip needs at least one frame")
    shape = strips[0][1].shape
    columns = max(1, min(8, round(4.5 * shape[0] / shape[1] * len(strips) ** 0.5), len(strips)))
    tile_width = (width - _GAP) // columns - _GAP
    tiles = []
    for seconds, pixels in strips:
        tile = fitted_strip(pixels, tile_width)
        label(ImageDraw.Draw(tile), (3, 3), clock(seconds), size=11)
        tiles.append(tile)
    return encode_jpeg(_sheet(tiles, columns, tile_width, width))


def strip_jpeg(image: npt.NDArray[np.uint8], max_width: int = 240) -> bytes:
    """Return a caption strip (RGB, H × W × 3) as a small JPEG."""
    return encode_jpeg(fitted_strip(image, max_width))


def fitted_strip(image: npt.NDArray[np.uint8], max_width: int) -> Image.Image:
    """Return a strip (RGB, H × W × 3), scaled down to ``max_width`` pixels where it is wider."""
    picture = Image.fromarray(image)
    if picture.width > max_width:
        picture = picture.resize((max_width, max(1, round(picture.height * max_width / picture.width))))
    return picture


def _density(boxes: Sequence[PreviewBox], columns: int, rows: int) -> npt.NDArray[np.float64]:
    """Return in how many boxes each cell lies, as a share of the most, with a square root for the few."""
    count = np.zeros((rows, columns))
    for box in boxes:
        left, right = span(box.left, box.right, columns)
        top, bottom = span(box.top, box.bottom, rows)
        count[top:bottom, left:right] += 1
    return np.sqrt(count / max(1.0, count.max()))


def _sheet(tiles: Sequence[Image.Image], columns: int, tile_width: int, width: int) -> Image.Image:
    """Return tiles of at most ``tile_width`` in rows, in a picture of ``width``; all sizes in pixels."""
    height = max(tile.height for tile in tiles)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (width, rows * (height + _GAP) + _GAP), BACKGROUND)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (_GAP + column * (tile_width + _GAP), _GAP + row * (height + _GAP)))
    return sheet


def _tile(frame: PreviewFrame, width: int) -> Image.Image:
    image = Image.open(io.BytesIO(frame.jpeg)).convert("RGB")
    image = image.resize((width, min(4 * width, max(1, round(image.height * width / image.width)))))
    draw = ImageDraw.Draw(image)
    _draw_boxes(draw, frame.boxes, image.width, image.height)
    label(draw, (3, 3), clock(frame.index / INDEX_RATE), size=11)
    return image


def _draw_boxes(draw: ImageDraw.ImageDraw, boxes: Sequence[PreviewBox], width: int, height: int) -> None:
    line = 2 if width > 200 else 1
    for box in boxes:
        left, right = span(box.left, box.right, width)
        top, bottom = span(box.top, box.bottom, height)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=box.colour, width=line)
        if box.note:
            label(draw, (left, max(0, top - 13)), box.note, size=11)
