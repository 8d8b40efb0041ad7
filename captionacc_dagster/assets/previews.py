"""Pictures for the Dagster UI, small enough to be stored in an event's metadata.

Each function takes plain arrays, JPEG bytes or numbers and returns a JPEG/PNG, or Markdown with the
picture as a data URI, which the UI shows. The event's row stores it, so it stays under about 100 KB.
"""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from modal_gpu.contracts import CropRegion
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.ocr.engine import Box

T = TypeVar("T")

#: Largest size of a picture, in bytes.
MAX_BYTES = 110_000

_IN = (64, 200, 120)
_OUT = (230, 90, 80)
_NEUTRAL = (90, 160, 250)
_CROP = (255, 200, 40)
_BACKGROUND = (24, 26, 32)
_TEXT = (225, 228, 235)


@dataclass(frozen=True)
class PreviewBox:
    """A box in fractions of the frame; ``label`` is ``in``, ``out``, or None before it is judged."""

    left: float
    top: float
    right: float
    bottom: float
    label: str | None = None

    @classmethod
    def of(cls, box: Box, label: str | None = None) -> "PreviewBox":
        """Make one from an OCR box."""
        return cls(box.left, box.top, box.right, box.bottom, label)


@dataclass(frozen=True)
class PreviewFrame:
    """A frame as JPEG bytes with its OCR boxes."""

    index: int
    jpeg: bytes
    boxes: Sequence[PreviewBox] = ()


def clock(seconds: float) -> str:
    """Return a time as ``m:ss.t``, with hours if there are any."""
    minutes, tenths = divmod(round(max(0.0, seconds) * 10), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def contact_sheet(frames: Sequence[PreviewFrame], columns: int = 5, tile_width: int = 192) -> bytes:
    """Return a JPEG of at most 30 frames, evenly chosen, with their times and OCR boxes."""
    if not frames:
        raise ValueError("a contact sheet needs at least one frame")
    shown = evenly(frames, 30)
    tiles = [_tile(frame, tile_width) for frame in shown]
    columns = min(columns, len(tiles))
    tile_height = max(tile.height for tile in tiles)
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * (tile_width + 4) + 4, rows * (tile_height + 4) + 4), _BACKGROUND)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet.paste(tile, (4 + column * (tile_width + 4), 4 + row * (tile_height + 4)))
    return _jpeg(sheet)


def layout_preview(frame: PreviewFrame, crops: Sequence[CropRegion], width: int = 720) -> bytes:
    """Return a JPEG of one frame: the crop regions bright, the rest dimmed, boxes green (in) or red (out)."""
    image = _fitted(frame.jpeg, width)
    dimmed = Image.blend(image, Image.new("RGB", image.size), 0.55)
    draw = ImageDraw.Draw(dimmed)
    for crop in crops:
        left, right = _span(crop.crop_left, crop.crop_right, image.width)
        top, bottom = _span(crop.crop_top, crop.crop_bottom, image.height)
        dimmed.paste(image.crop((left, top, right, bottom)), (left, top))
        draw.rectangle((left, top, right - 1, bottom - 1), outline=_CROP, width=2)
    _draw_boxes(draw, frame.boxes, image.width, image.height)
    _label(draw, (6, 6), clock(frame.index / INDEX_RATE))
    return _jpeg(dimmed)


def timeline(
    extents: Sequence[tuple[float, float, float]], duration: float, width: int = 640, row_seconds: float = 60
) -> bytes:
    """Return a PNG: a row for each minute (or longer), a bar for each caption, brighter with confidence.

    ``extents`` are ``(start_seconds, end_seconds, confidence)``, ``confidence`` in [0, 1].
    """
    duration = max(duration, 0.1)
    row_seconds = min(max(row_seconds, duration / 20), duration)
    rows = max(1, -int(-duration // row_seconds))
    row_height, bar_height, left = 30, 16, 64
    image = Image.new("RGB", (width, rows * row_height + 8), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(12)
    scale = (width - left - 8) / row_seconds
    for row in range(rows):
        top = row * row_height + 8
        begin = row * row_seconds
        end = min(duration, begin + row_seconds)
        draw.text((6, top), clock(begin), fill=_TEXT, font=font)
        draw.rectangle((left, top, left + (end - begin) * scale, top + bar_height), fill=(48, 52, 62))
        for number, (start, stop, confidence) in enumerate(extents):
            low, high = max(start, begin), min(stop, end)
            if low >= high:
                continue
            x0, x1 = left + (low - begin) * scale, left + (high - begin) * scale
            # Alternate hues keep neighbours without a gap apart.
            base = _NEUTRAL if number % 2 else _IN
            shade = tuple(round(part * (0.45 + 0.55 * max(0.0, min(1.0, confidence)))) for part in base)
            draw.rectangle((x0, top, max(x0 + 1, x1 - 1), top + bar_height), fill=shade)
    buffer = io.BytesIO()
    image.quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def strip_jpeg(image: npt.NDArray[np.uint8], max_width: int = 480) -> bytes:
    """Return a caption strip (RGB, H × W × 3) as a small JPEG."""
    picture = Image.fromarray(image)
    if picture.width > max_width:
        picture = picture.resize((max_width, max(1, round(picture.height * max_width / picture.width))))
    return _jpeg(picture, quality=70)


class Markdown(str):
    """Markdown made here, which a table does not escape."""


def markdown_image(data: bytes, alt: str) -> Markdown:
    """Return Markdown that shows a JPEG or PNG as a data URI."""
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return Markdown(f"![{alt}](data:image/{kind};base64,{base64.b64encode(data).decode()})")


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a Markdown table; cells other than :class:`Markdown` are escaped and put on one line."""
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, Markdown):
        return value
    text = " / ".join(str(value).strip().splitlines())
    for special in "\\`*_|<>[]":
        text = text.replace(special, "\\" + special)
    return text


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """Return at most ``limit`` items, evenly spread, the first one included."""
    if len(items) <= limit:
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


def _tile(frame: PreviewFrame, width: int) -> Image.Image:
    image = _fitted(frame.jpeg, width)
    draw = ImageDraw.Draw(image)
    _draw_boxes(draw, frame.boxes, image.width, image.height)
    _label(draw, (3, 3), clock(frame.index / INDEX_RATE), size=11)
    return image


def _fitted(jpeg: bytes, side: int) -> Image.Image:
    """Return the picture with its longer side at ``side`` pixels."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _span(start: float, end: float, size: int) -> tuple[int, int]:
    """Return fractions as a half-open range of pixels, at least one."""
    low = min(round(start * size), size - 1)
    return low, max(low + 1, round(end * size))


def _draw_boxes(draw: ImageDraw.ImageDraw, boxes: Sequence[PreviewBox], width: int, height: int) -> None:
    for box in boxes:
        colour = {"in": _IN, "out": _OUT}.get(box.label or "", _NEUTRAL)
        left, right = _span(box.left, box.right, width)
        top, bottom = _span(box.top, box.bottom, height)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=2)


def _label(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int = 14) -> None:
    font = ImageFont.load_default(size)
    draw.rectangle(draw.textbbox(place, text, font=font), fill=_BACKGROUND)
    draw.text(place, text, fill=_TEXT, font=font)


def _jpeg(image: Image.Image, quality: int = 72) -> bytes:
    """Return the picture at that quality, or at a lower one where it would be too large for an event."""
    while True:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES or quality <= 20:
            return buffer.getvalue()
        quality -= 10
