"""The predecessor's boxes, one a character, as text lines in this platform's coordinates.

Its producers and consumers disagreed on coordinates: fractions from the bottom left (as its docs say, and as
the local engine wrote them), pixels from the top left (Google Vision), fractions from the top left (an old
extractor). All are read as edges; which edge is the upper one follows from the convention.
"""

import statistics
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from modal_gpu.databases.layout import Label
from modal_gpu.layout.lines import BoxLabel
from modal_gpu.ocr.engine import Box

Convention = Literal["bottom-left", "top-left", "pixels"]
#: Above this a coordinate is no fraction: fractions slightly above 1 come from rounding.
LARGEST_FRACTION = 2.0
#: Gaps in line heights: a wider one is a space, or ends the line.
_SPACE, _BREAK = 0.25, 2.5
#: Characters of a line overlap vertically by at least this part of the smaller one.
_SAME_LINE = 0.5
#: Smallest side of a box, in fractions.
_LEAST = 1e-4
#: Width of a frame in its heights, if its size is not known.
_ASPECT = 16 / 9


@dataclass(frozen=True)
class RawBox:
    """A box as it is stored: ``x`` and ``y`` are its two vertical and two horizontal edges, in any order."""

    frame_index: int
    box_index: int
    x: tuple[float, float]
    y: tuple[float, float]
    text: str
    label: Label | None = None
    label_updated_at: str | None = None
    predicted_label: BoxLabel | None = None
    predicted_confidence: float | None = None


@dataclass(frozen=True)
class Character:
    """A stored box in this platform's coordinates."""

    raw: RawBox
    box: Box


@dataclass(frozen=True)
class TextLine:
    """A line of characters with one label at most."""

    characters: tuple[Character, ...]

    @property
    def frame_index(self) -> int:
        return self.characters[0].raw.frame_index

    @property
    def box(self) -> Box:
        """The smallest box around the characters."""
        box = self.characters[0].box
        for character in self.characters[1:]:
            box = box.union(character.box)
        return box

    @property
    def label(self) -> Label | None:
        return next((c.raw.label for c in self.characters if c.raw.label), None)

    @property
    def label_updated_at(self) -> str | None:
        """The latest time of its characters' labels."""
        return max((c.raw.label_updated_at or "" for c in self.characters if c.raw.label), default="") or None

    @property
    def prediction(self) -> tuple[BoxLabel, float] | None:
        """The prediction of most characters, with the mean of their confidences."""
        predicted = [(c.raw.predicted_label, c.raw.predicted_confidence) for c in self.characters]
        labels = Counter(label for label, _ in predicted if label is not None)
        if not labels:
            return None
        most = labels.most_common(1)[0][0]
        known = [confidence for label, confidence in predicted if label == most and confidence is not None]
        return most, min(1.0, max(0.0, statistics.fmean(known))) if known else 0.0

    def text(self, aspect: float | None = None) -> str:
        """Return the characters in the order in which they were read, with spaces at gaps.

        ``aspect`` is the frame's width in its heights.
        """
        height = statistics.median(c.box.height for c in self.characters)
        pieces: list[str] = []
        for before, character in zip((None, *self.characters), self.characters, strict=False):
            if before is not None and _is_space(before, character, height / (aspect or _ASPECT)):
                pieces.append(" ")
            pieces.append(character.raw.text)
        return " ".join("".join(pieces).split())


def convention_of(boxes: Sequence[RawBox]) -> Literal["bottom-left", "pixels"]:
    """Return the convention that the values show. Fractions are from the bottom left by its docs."""
    largest = max((abs(edge) for box in boxes for edge in (*box.x, *box.y)), default=0.0)
    return "pixels" if largest > LARGEST_FRACTION else "bottom-left"


def place(raw: RawBox, convention: Convention, width: int, height: int) -> Box | None:
    """Return a box in fractions from the top left, clipped to the frame; ``None`` if it lies outside.

    ``width`` and ``height`` are the frame's in pixels, used for pixels only. A box without an area is
    widened a little. A person's label keeps a box that lies outside.
    """
    scale = (width, height) if convention == "pixels" else (1, 1)
    left, right = sorted(edge / scale[0] for edge in raw.x)
    upper, lower = sorted(edge / scale[1] for edge in raw.y)
    if convention == "bottom-left":
        upper, lower = 1 - lower, 1 - upper
    is_outside = left >= 1 or right <= 0 or upper >= 1 or lower <= 0
    if is_outside and raw.label is None:
        return None
    (left, right), (upper, lower) = _clipped(left, right), _clipped(upper, lower)
    return Box(left, upper, right, lower)


def _clipped(start: float, end: float) -> tuple[float, float]:
    start, end = min(1.0, max(0.0, start)), min(1.0, max(0.0, end))
    if end - start >= _LEAST:
        return start, end
    start = min(max(0.0, (start + end - _LEAST) / 2), 1 - _LEAST)
    return start, start + _LEAST


def text_lines(characters: Iterable[Character], aspect: float | None = None) -> list[TextLine]:
    """Group characters of any frames into lines, by frame and from top to bottom.

    A line never holds two different labels: it is divided where a person's labels differ, so that each
    labelled character is in a line with its label. ``aspect`` is the frame's width in its heights.
    """
    frames: dict[int, list[Character]] = {}
    for character in characters:
        frames.setdefault(character.raw.frame_index, []).append(character)
    lines = []
    for index in sorted(frames):
        found = [
            TextLine(tuple(part))
            for row in _rows(frames[index])
            for piece in _pieces(row, aspect or _ASPECT)
            for part in _by_label(piece)
        ]
        lines += sorted(found, key=lambda line: (line.box.top, line.box.left))
    return lines


def _rows(characters: Sequence[Character]) -> list[list[Character]]:
    """Group a frame's characters by their heights; tall ones first, since marks are small and off-centre."""
    rows: list[tuple[Box, list[Character]]] = []
    for character in sorted(characters, key=lambda c: (-c.box.height, c.raw.box_index)):
        box = character.box
        for core, members in rows:
            shared = min(box.bottom, core.bottom) - max(box.top, core.top)
            if shared >= _SAME_LINE * min(box.height, core.height):
                members.append(character)
                break
        else:
            rows.append((box, [character]))
    return [members for _, members in rows]


def _pieces(row: Sequence[Character], aspect: float) -> Iterator[list[Character]]:
    """Divide a row where there is a wide gap."""
    height = statistics.median(c.box.height for c in row)
    piece: list[Character] = []
    right = 0.0
    for character in sorted(row, key=lambda c: c.box.left):
        if piece and character.box.left - right > _BREAK * height / aspect:
            yield piece
            piece = []
        piece.append(character)
        right = max(right, character.box.right) if len(piece) > 1 else character.box.right
    yield piece


def _by_label(piece: Sequence[Character]) -> Iterator[list[Character]]:
    """Yield a line's characters as they were read, divided where labels differ."""
    ordered = sorted(piece, key=lambda c: c.raw.box_index)
    part: list[Character] = []
    label: Label | None = None
    for character in ordered:
        own = character.raw.label
        if own is not None and label is not None and own != label:
            yield part
            part, label = [], None
        part.append(character)
        label = label or own
    yield part


def _is_space(before: Character, after: Character, line_height: float) -> bool:
    if _is_wide(before.raw.text[-1:]) or _is_wide(after.raw.text[:1]):
        return False
    gap = max(before.box.left, after.box.left) - min(before.box.right, after.box.right)
    return gap > _SPACE * line_height


def _is_wide(character: str) -> bool:
    return bool(character) and unicodedata.east_asian_width(character) in "WF"


def characters_of(
    boxes: Iterable[RawBox], convention: Convention, width: int, height: int
) -> list[Character]:
    """Return the boxes that lie in the frame, in this platform's coordinates."""
    placed = ((raw, place(raw, convention, width, height)) for raw in boxes)
    return [Character(raw, box) for raw, box in placed if box is not None]
