"""Colours, size, labels and encoding, which all pictures share."""

import io
from collections.abc import Sequence
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont

T = TypeVar("T")
Colour = tuple[int, int, int]

#: Width of a picture in pixels. The UI shows it in its own size: this fits beside the list of partitions and
#: the longest of our keys in a window of 1366 pixels.
WIDTH = 480
#: Largest size of a picture, in bytes.
MAX_BYTES = 110_000

IN: Colour = (64, 200, 120)
OUT: Colour = (230, 90, 80)
NEUTRAL: Colour = (90, 160, 250)
CROP: Colour = (255, 200, 40)
BACKGROUND: Colour = (24, 26, 32)
TRACK: Colour = (48, 52, 62)
TEXT: Colour = (225, 228, 235)


def clock(seconds: float) -> str:
    """Return a time as ``m:ss.t``, with hours if there are any."""
    minutes, tenths = divmod(round(max(0.0, seconds) * 10), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths / 10:04.1f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def evenly(items: Sequence[T], limit: int) -> list[T]:
    """Return at most ``limit`` items, evenly spread, the first one included."""
    if len(items) <= limit:
        return list(items)
    return [items[place * len(items) // limit] for place in range(limit)]


def by_confidence(confidence: float) -> Colour:
    """Return red for 0.5 and below, over yellow, to green for 1."""
    share = max(0.0, min(1.0, (confidence - 0.5) * 2))
    low, high, part = (OUT, CROP, share * 2) if share < 0.5 else (CROP, IN, share * 2 - 1)
    red, green, blue = (round(one + (other - one) * part) for one, other in zip(low, high, strict=True))
    return red, green, blue


def fitted(jpeg: bytes, side: int) -> Image.Image:
    """Return the picture with its longer side at ``side`` pixels."""
    image = Image.open(io.BytesIO(jpeg)).convert("RGB")
    scale = side / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def span(start: float, end: float, size: int) -> tuple[int, int]:
    """Return fractions as a half-open range of pixels, at least one."""
    low = min(round(start * size), size - 1)
    return low, max(low + 1, round(end * size))


def label(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int = 14) -> None:
    """Write a text on a dark ground. The font has Latin letters and digits only."""
    font = ImageFont.load_default(size)
    draw.rectangle(draw.textbbox(place, text, font=font), fill=BACKGROUND)
    draw.text(place, text, fill=TEXT, font=font)


def legend(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], entries: Sequence[tuple[Colour, str]], size: int = 12
) -> None:
    """Draw a coloured square and a text for each entry, from left to right."""
    x, y = place
    font = ImageFont.load_default(size)
    for colour, text in entries:
        draw.rectangle((x, y + 2, x + size - 2, y + size), fill=colour)
        draw.text((x + size + 4, y), text, fill=TEXT, font=font)
        x += size + 20 + round(draw.textlength(text, font=font))


def encode_jpeg(image: Image.Image, quality: int = 76) -> bytes:
    """Return the picture at that quality, or at a lower one where it would be larger than MAX_BYTES."""
    while True:
        buffer = io.BytesIO()
        image.convert("RGB").save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES or quality <= 20:
            return buffer.getvalue()
        quality -= 10


def encode_png(image: Image.Image) -> bytes:
    """Return a drawing with few colours as PNG."""
    buffer = io.BytesIO()
    image.quantize(64).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
