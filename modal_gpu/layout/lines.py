"""Text lines as layout analysis sees them, and comparisons of them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from rapidfuzz import fuzz

from modal_gpu.ocr.engine import Box

AnchorType = Literal["left", "center", "right"]
BoxLabel = Literal["in", "out"]
#: ``(frame_index, box_index)``; ``box_index`` is the line's position in its frame, from 0.
BoxKey = tuple[int, int]

#: Smallest similarity (0 to 100) of two readings of the same text.
SAME_TEXT = 75.0
#: Vertical centres from the first on are at the bottom, up to the second at the top.
BOTTOM_ZONE, TOP_ZONE = 0.6, 0.3
#: A picture of at least this width in heights is a strip: one text line may fill it.
STRIP_ASPECT = 4.0


@dataclass
class Line:
    """An OCR line, and the verdict on it."""

    frame: int
    index: int
    text: str
    box: Box
    person: BoxLabel | None
    #: The reason why it cannot be a caption, and the confidence; empty while it may be one.
    verdict: str = ""
    certainty: float = 0.0

    @cached_property
    def key(self) -> str:
        """The text for comparison: numbers are equal (clocks, scores), case and spacing are ignored."""
        return re.sub(r"\d+", "#", re.sub(r"[\s\W_]+", "", self.text.casefold()))

    def reject(self, verdict: str, certainty: float) -> None:
        """Set the verdict, unless a person labelled the line."""
        if self.person is None:
            self.verdict, self.certainty = verdict, certainty


def similar(a: Line, b: Line) -> bool:
    """Return whether two lines are readings of the same text."""
    return fuzz.ratio(a.key, b.key) >= SAME_TEXT


def size_ratio(a: float, b: float) -> float:
    """Return the larger of two sizes divided by the smaller."""
    return max(a, b) / min(a, b)


def zone_of(center: float) -> str:
    """Return the zone of a vertical centre: bottom, middle or top."""
    return "bottom" if center >= BOTTOM_ZONE else "top" if center <= TOP_ZONE else "middle"


def lines_by_frame(lines: Iterable[Line]) -> dict[int, list[Line]]:
    """Group lines by frame, in order of appearance."""
    frames: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        frames[line.frame].append(line)
    return frames


def span_of(lines: Sequence[Line]) -> Box:
    """Return the smallest box around the lines."""
    span = lines[0].box
    for line in lines[1:]:
        span = span.union(line.box)
    return span


def text_levels(lines: Sequence[Line]) -> list[list[Line]]:
    """Group the lines of one frame by vertical position, top to bottom."""
    levels: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.box.center_y):
        if levels and line.box.center_y - levels[-1][0].box.center_y < 0.5 * line.box.height:
            levels[-1].append(line)
        else:
            levels.append([line])
    return levels


def has_person_in(lines: Iterable[Line]) -> bool:
    """Return whether a person labelled one of the lines as a caption."""
    return any(line.person == "in" for line in lines)


def different_texts(lines: Sequence[Line]) -> list[Line]:
    """Return one line per different text, in order of appearance."""
    different: dict[str, Line] = {}
    previous: Line | None = None
    for line in lines:
        if previous is None or not similar(previous, line):
            different.setdefault(line.key, line)
        previous = line
    return list(different.values())
