"""Music notes beside a line of text, which recognition models read as "S", "J" or nothing.

The glyph at a line's end is cut out of the strip and compared with pictures of ♪ and ♫. Other characters are
further from them than :data:`_SIMILAR`, and Cyrillic Л is the nearest: ``tests/modal_gpu/ocr`` compares them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from modal_gpu.ocr.engine import Box

Picture = npt.NDArray[np.uint8]
_Plane = npt.NDArray[np.float32]
_Mask = npt.NDArray[np.bool_]

#: Height of a line here, pixels.
_HEIGHT = 48
#: Lines that are lower (pixels), or narrower (in line heights), such as vertical text, have no notes.
_LEAST_LINE, _NARROWEST = 4, 0.25
#: Looked at beyond a line's ends, above it and below it, in line heights.
_BESIDE, _ABOVE = 1.5, 0.15
#: Columns without ink between a note and the text.
_GAP = 6
#: Widest stroke (a note's head is wider than a letter's stroke), pixels.
_STROKE = 19
#: Smallest contrast of ink, as a share of the text's own, and largest distance from its colour (CIE L*a*b*).
_CONTRAST, _COLOUR = 0.5, 60.0
#: Parts with fewer pixels are specks.
_SPECK = 10
#: Smallest and largest height of a note, in line heights.
_LEAST_HEIGHT, _MOST_HEIGHT = 0.4, 1.2
#: Least similarity (correlation) with a note's picture, and largest ratio of their proportions.
_SIMILAR, _PROPORTION = 0.68, 1.5
#: Shapes that are tried at each end, from the outside: specks of the picture may stand beyond a note.
_TRIED = 3


@dataclass(frozen=True)
class Notes:
    """The notes at the ends of a line, empty without one, and the place of its text, if there is any."""

    before: str
    after: str
    text: Box | None


def find_notes(image: Picture, box: Box) -> Notes | None:
    """Return the notes beside or in a line at ``box`` of an image (uint8 RGB, H × W × 3), if it has some."""
    height, width = image.shape[:2]
    line = box.height * height
    if line < _LEAST_LINE or box.width * width < _NARROWEST * line:
        return None
    left, right = (
        round(at) for at in (box.left * width - _BESIDE * line, box.right * width + _BESIDE * line)
    )
    top, bottom = (
        round(at) for at in (box.top * height - _ABOVE * line, box.bottom * height + _ABOVE * line)
    )
    left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    scale = _HEIGHT / line
    picture = cv2.resize(
        image[top:bottom, left:right], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA
    )
    first, last = ((at * width - left) * scale for at in (box.left, box.right))
    for ink in _inks(np.asarray(picture, np.uint8), round(first), round(last)):
        before, after = _at_ends(ink, first, last)
        if before or after:
            start = before[1] + _GAP / 2 if before else first
            end = after[0] - _GAP / 2 if after else last
            text = None
            if any(start <= (a + b) / 2 < end for a, b in _shapes(ink)):
                ends = ((left + at / scale) / width for at in (start, end))
                text = Box(max(0.0, next(ends)), box.top, min(1.0, next(ends)), box.bottom)
            return Notes(before[2] if before else "", after[2] if after else "", text)
    return None


#: The columns ``[start, end)`` of a note, and which one it is.
_Found = tuple[int, int, str]


def _at_ends(ink: _Mask, first: float, last: float) -> tuple[_Found | None, _Found | None]:
    """Return the notes at the ends of a line between the columns ``first`` and ``last``."""
    shapes, reach = _shapes(ink), _BESIDE * _HEIGHT
    before = _note_among(ink, [shape for shape in shapes if shape[0] < first + reach][:_TRIED])
    rest = [shape for shape in shapes if before is None or shape[0] >= before[1]]
    after = _note_among(ink, [shape for shape in rest if shape[1] > last - reach][::-1][:_TRIED])
    return before, after


def _inks(picture: Picture, first: int, last: int) -> Iterator[_Mask]:
    """Yield the pixels that look like the strokes between two columns: bright ones, then dark ones."""
    lab = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB), np.float32)
    light = np.asarray(lab[..., 0], np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_STROKE, _STROKE))
    for side in (light, np.asarray(255 - light, np.uint8)):
        strength = np.asarray(cv2.morphologyEx(side, cv2.MORPH_TOPHAT, kernel), np.float32)
        inside = strength[:, first:last]
        core = inside >= max(1.0, float(np.percentile(inside, 95)))
        if not core.any():
            continue
        ink = strength > _CONTRAST * float(np.median(inside[core]))
        distance = np.linalg.norm(lab[ink] - np.median(lab[:, first:last][core], axis=0), axis=1)
        ink[ink] = distance < _COLOUR
        _, labels, stats, _ = cv2.connectedComponentsWithStats(ink.astype(np.uint8), connectivity=8)
        kept = stats[:, cv2.CC_STAT_AREA] >= _SPECK
        kept[0] = False
        yield np.asarray(kept[labels], bool)


def _shapes(ink: _Mask) -> list[tuple[int, int]]:
    """Return the columns ``[start, end)`` of what stands apart from its neighbours, from left to right."""
    columns = np.flatnonzero(ink.any(axis=0))
    if not len(columns):
        return []
    breaks = np.flatnonzero(np.diff(columns) > _GAP)
    starts = [columns[0], *columns[breaks + 1]]
    ends = [*(columns[breaks] + 1), columns[-1] + 1]
    return [(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _note_among(ink: _Mask, shapes: Sequence[tuple[int, int]]) -> _Found | None:
    """Return the first shape that is a note."""
    for start, end in shapes:
        if (note := _note(ink[:, start:end])) is not None:
            return start, end, note
    return None


def _note(ink: _Mask) -> str | None:
    rows = np.flatnonzero(ink.any(axis=1))
    shape = ink[rows[0] : rows[-1] + 1]
    height, width = shape.shape
    if not _LEAST_HEIGHT * _HEIGHT <= height <= _MOST_HEIGHT * _HEIGHT:
        return None
    best, name = _SIMILAR, None
    drawn: _Plane | None = None
    for note, aspect, wanted in _pictures():
        ratio = width / height / aspect
        if not 1 / _PROPORTION <= ratio <= _PROPORTION:
            continue
        if drawn is None:
            drawn = _centred(
                np.asarray(cv2.resize(shape.astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA))
            )
        if (similarity := float((drawn * wanted).sum())) > best:
            best, name = similarity, note
    return name


@lru_cache(maxsize=1)
def _pictures() -> list[tuple[str, float, _Plane]]:
    """Return the notes, each with its proportion (width by height) and its picture, of norm 1."""
    content = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return [
        (
            note,
            one["aspect"],
            _centred(np.array([[int(c, 16) for c in row] for row in one["ink"]], np.float32)),
        )
        for note in "♪♫"
        for one in content[note]
    ]


def _centred(picture: _Plane) -> _Plane:
    around = picture - picture.mean()
    return np.asarray(around / max(1e-6, float(np.linalg.norm(around))), np.float32)
