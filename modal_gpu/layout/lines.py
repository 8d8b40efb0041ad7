"""The parts that layout analysis judges: text lines, and what they share."""

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
#: ``(frame_index, box_index)``; box_index is the line's place in its frame, from 0.
BoxKey = tuple[int, int]

#: Two readings are of the same text from this similarity (0 to 100) on.
_SAME_TEXT = 75.0
#: Middles below the first are at the bottom, above the second at the top.
BOTTOM_ZONE, TOP_ZONE = 0.6, 0.3


@dataclass
class Line:
    """One OCR line under judgement."""

    frame: int
    index: int
    text: str
    box: Box
    person: BoxLabel | None
    #: Why it cannot be a caption, with the confidence of that; empty while it may be one.
    verdict: str = ""
    certainty: float = 0.0

    @cached_property
    def key(self) -> str:
        """Text for comparison: digits count as one sign (clocks, scores), case and spacing don't count."""
        return re.sub(r"\d+", "#", re.sub(r"[\s\W_]+", "", self.text.casefold()))

    def reject(self, verdict: str, certainty: float) -> None:
        if self.person is None:
            self.verdict, self.certainty = verdict, certainty


def similar(a: Line, b: Line) -> bool:
    return fuzz.ratio(a.key, b.key) >= _SAME_TEXT


def size_ratio(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def zone_of(center: float) -> str:
    return "bottom" if center >= BOTTOM_ZONE else "top" if center <= TOP_ZONE else "middle"


def lines_by_frame(lines: Iterable[Line]) -> dict[int, list[Line]]:
    frames: dict[int, list[Line]] = defaultdict(list)
    for line in lines:
        frames[line.frame].append(line)
    return frames


def span_of(lines: Sequence[Line]) -> Box:
    span = lines[0].box
    for line in lines[1:]:
        span = span.union(line.box)
    return span


def text_levels(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines of one frame, grouped by height."""
    levels: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: line.box.center_y):
        if levels and line.box.center_y - levels[-1][0].box.center_y < 0.5 * line.box.height:
            levels[-1].append(line)
        else:
            levels.append([line])
    return levels


def has_person_in(lines: Iterable[Line]) -> bool:
    return any(line.person == "in" for line in lines)


def different_texts(lines: Sequence[Line]) -> list[Line]:
    """One line for each different text, in order of appearance."""
    different: dict[str, Line] = {}
    previous: Line | None = None
    for line in lines:
        if previous is None or not similar(previous, line):
            different.setdefault(line.key, line)
        previous = line
    return list(different.values())
