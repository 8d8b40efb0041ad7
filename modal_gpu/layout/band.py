"""The row of the captions: changing text of one height, size and anchor."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise
from statistics import median

import numpy as np
import numpy.typing as npt

from modal_gpu.layout.lines import (
    STRIP_ASPECT,
    AnchorType,
    Line,
    different_texts,
    has_person_in,
    lines_by_frame,
    size_ratio,
    span_of,
    text_levels,
    zone_of,
)
from modal_gpu.ocr.engine import Box
from modal_gpu.ocr.reading_order import is_cjk

_Values = npt.NDArray[np.float64]

# Lines of one row: centres within this share of the line height, heights within this ratio.
_ROW_TOLERANCE, _ROW_HEIGHT_RATIO = 0.4, 1.45
# Largest distance of a caption's anchored edge (or centre) from the common one.
_ANCHOR_TOLERANCE = 0.035
# Evidence is the number of different texts, weighted by how common captions are in the zone.
_ZONE_WEIGHTS = {"bottom": 1.0, "top": 0.8, "middle": 0.6}
# Text above this share of the height may be titles. Neither this nor the zone means anything in a strip.
_TALL, _TALL_WEIGHT = 0.15, 0.7
# With at least this many samples, a single text is a title or a sign unless it is a sentence at the usual
# place: other captions need two texts at the bottom or three elsewhere.
_ENOUGH_SAMPLES, MIN_EVIDENCE = 10, 1.8
# Rows without a stable anchor need more different texts.
_MIN_TEXTS_UNANCHORED = 5
# A ticker's edges are this close to the frame's in this share of its samples, and it is in this share of all.
_EDGE, _TICKER_EDGE_SHARE, _TICKER_PRESENCE = 0.03, 0.6, 0.6


@dataclass
class Row:
    """Lines of one vertical position and size."""

    center: float
    height: float
    lines: list[Line]
    anchor_type: AnchorType
    anchor_position: float
    #: Number of different texts, and of those at the common anchor.
    texts: int
    anchored: int
    evidence: float

    @property
    def stable(self) -> bool:
        """True if at least half of the texts share the anchor."""
        return self.anchored >= 0.5 * self.texts

    @property
    def tolerance(self) -> float:
        """Largest distance of a line from the anchor; 1 (anywhere) without a stable anchor."""
        return _ANCHOR_TOLERANCE if self.stable else 1.0


def choose_row(
    lines: Sequence[Line], sampled: Sequence[int], aspect: float
) -> tuple[Row | None, list[Row], list[Row]]:
    """Return the row with the most evidence, the other rows that may be captions, and tickers.

    ``aspect`` is the frame's width divided by its height.
    """
    tickers: list[Row] = []
    while True:
        rows = _rows([line for line in lines if not line.verdict], aspect)
        ticker = next((row for row in rows[:3] if _is_ticker(row, len(sampled))), None)
        if ticker is None:
            break
        tickers.append(ticker)
        for line in ticker.lines:
            line.reject("ticker", 0.9)
    rows = [row for row in rows if _plausible(row, len(sampled))]
    return (rows[0] if rows else None), rows[1:], tickers


def _rows(lines: Sequence[Line], aspect: float) -> list[Row]:
    """Group lines into rows without common lines, sorted by descending evidence."""
    rows: list[Row] = []
    left = list(lines)
    while left:
        # Arrays, since every seed is compared with every line: hours of signs have thousands of both.
        centers = np.array([line.box.center_y for line in left])
        heights = np.array([line.box.height for line in left])
        best = max(
            (_row(_around(seed, left, centers, heights), aspect) for seed in _seeds(left)),
            # The lower row wins a tie, since most captions are at the bottom.
            key=lambda row: (row.evidence, row.center),
        )
        rows.append(best)
        taken = {id(line) for line in best.lines}
        left = [line for line in left if id(line) not in taken]
        # Scene text forms many rows of one line each, which do not matter.
        if best.texts == 1 and len(rows) > 20:
            break
    return sorted(rows, key=lambda row: (-row.evidence, -row.center))


def _seeds(lines: Sequence[Line]) -> list[Line]:
    """Return one line per vertical position and size, on a grid finer than a row."""
    cells = {(round(line.box.center_y / 0.008), round(line.box.height / 0.01)): line for line in lines}
    return list(cells.values())


def _around(seed: Line, lines: Sequence[Line], centers: _Values, heights: _Values) -> list[Line]:
    """Return the lines at the height and of the size of ``seed``, whose centres and heights are given."""
    near = np.abs(centers - seed.box.center_y) <= _ROW_TOLERANCE * seed.box.height
    ratios = np.maximum(heights, seed.box.height) / np.minimum(heights, seed.box.height)
    return [lines[place] for place in np.flatnonzero(near & (ratios <= _ROW_HEIGHT_RATIO)).tolist()]


def _row(members: list[Line], aspect: float) -> Row:
    texts = different_texts(members)
    # OCR may split a caption into distant pieces; its place is that of all pieces together.
    spans = {frame: span_of(pieces) for frame, pieces in lines_by_frame(members).items()}
    representative = [spans[line.frame] for line in texts]
    anchor_type, position, anchored = _anchor(representative)
    center = median(line.box.center_y for line in members)
    labelled = sum(line.person == "in" for line in members)
    height = median(line.box.height for line in members)
    weight = 1.0
    if aspect < STRIP_ASPECT:
        weight = _ZONE_WEIGHTS[zone_of(center)] * (_TALL_WEIGHT if height > _TALL else 1.0)
    return Row(
        center,
        height,
        members,
        anchor_type,
        position,
        len(texts),
        anchored,
        # A person's label outweighs everything else.
        weight * anchored + 1000 * labelled,
    )


def _anchor(spans: Sequence[Box]) -> tuple[AnchorType, float, int]:
    """Return the edge (or centre) that most spans share, its position, and the number of those spans."""
    choices: list[tuple[int, float, AnchorType, float]] = []
    for kind in ("center", "left", "right"):
        values = [anchor_value(span, kind) for span in spans]
        position = median(values)
        shared = sum(abs(value - position) <= _ANCHOR_TOLERANCE for value in values)
        spread = median(abs(value - position) for value in values)
        # Spans of equal width share all three: prefer the centre if it is the frame's, else the left edge.
        odds = 0.01 if kind == "center" and abs(position - 0.5) < 0.05 else 0.005 if kind == "left" else 0.0
        choices.append((shared, odds - spread, kind, position))
    shared, _, kind, position = max(choices, key=lambda choice: choice[:2])
    return kind, position, shared


def anchor_value(box: Box, kind: AnchorType) -> float:
    """Return the horizontal position of a box's edge or centre."""
    return {"left": box.left, "center": box.center_x, "right": box.right}[kind]


def _plausible(row: Row, samples: int) -> bool:
    if has_person_in(row.lines):
        return True
    if row.texts == 1 and at_usual_place(row.lines):
        # With few samples it may be a caption; in a long video it is one only if it is a sentence.
        return samples < _ENOUGH_SAMPLES or any(_is_sentence(line.text) for line in row.lines)
    if samples < _ENOUGH_SAMPLES and row.texts == 1:
        return False
    if not row.stable and row.texts < _MIN_TEXTS_UNANCHORED:
        return False
    enough = MIN_EVIDENCE if samples >= _ENOUGH_SAMPLES else 1.0
    return row.evidence >= enough


def at_usual_place(lines: Sequence[Line]) -> bool:
    """Return whether all lines stand still at the bottom, in the middle of its width."""
    middles = [line.box.center_x for line in lines]
    return (
        all(zone_of(line.box.center_y) == "bottom" for line in lines)
        and max(abs(middle - 0.5) for middle in middles) < 0.1
        and max(middles) - min(middles) <= _ANCHOR_TOLERANCE
    )


def _is_sentence(text: str) -> bool:
    """Return whether a text is longer than titles and signs mostly are: three words, or eight characters."""
    letters = len(re.findall(r"\w", text))
    return letters >= 8 and (len(text.split()) >= 3 or any(map(is_cjk, text)))


def _is_ticker(row: Row, samples: int) -> bool:
    if row.texts < 3 or has_person_in(row.lines):
        return False
    by_frame = lines_by_frame(row.lines)
    spans = [span_of(pieces) for pieces in by_frame.values()]
    at_edge = sum(span.left <= _EDGE or span.right >= 1 - _EDGE for span in spans)
    to_both_edges = at_edge >= _TICKER_EDGE_SHARE * len(spans) and median(s.width for s in spans) > 0.6
    if to_both_edges and len(spans) >= _TICKER_PRESENCE * samples:
        return True
    texts = [
        (" ".join(line.text for line in sorted(pieces, key=lambda line: line.box.left)), span_of(pieces))
        for pieces in by_frame.values()
    ]
    moves = sum(_moves_sideways(a, b) for a, b in pairwise(texts))
    return moves >= max(2, 0.4 * (len(texts) - 1))


def _moves_sideways(before: tuple[str, Box], after: tuple[str, Box]) -> bool:
    """Return whether two texts have a long part in common, at different horizontal positions."""
    (a, box_a), (b, box_b) = before, after
    block = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    if block.size < 6 or block.size < 0.4 * min(len(a), len(b)):
        return False
    place_a = box_a.left + box_a.width * block.a / len(a)
    place_b = box_b.left + box_b.width * block.b / len(b)
    return abs(place_a - place_b) > 0.08


def grow(row: Row, lines: Sequence[Line]) -> list[Line]:
    """Return the row's anchored lines and the other lines of the same captions above and below it."""
    members = _anchored(row, row.lines)
    for _ in range(3):  # a second, third and fourth line
        band = band_edges(members)
        frames = {line.frame for line in members}
        inside = {id(line) for line in members}
        near = [
            line
            for line in lines
            if id(line) not in inside
            and size_ratio(line.box.height, row.height) <= 2.0  # bilingual captions have two sizes
            and line.box.top - band[1] < 0.6 * row.height
            and band[0] - line.box.bottom < 0.6 * row.height
        ]
        near = _anchored(row, near)
        together = [line for line in near if line.frame in frames or line.person == "in"]
        alone = near if len(different_texts(near)) >= 2 else []
        new = {id(line): line for line in (*together, *alone)}
        if not new:
            break
        members = members + list(new.values())
    return sorted(members, key=lambda line: (line.frame, line.index))


def _anchored(row: Row, lines: Sequence[Line]) -> list[Line]:
    """Return the ``lines`` at the row's anchor; the pieces of one text line are considered together."""
    kept = []
    for pieces in lines_by_frame(lines).values():
        for level in text_levels(pieces):
            off = abs(anchor_value(span_of(level), row.anchor_type) - row.anchor_position)
            kept += [
                line
                for line in level
                if off <= row.tolerance or line.person == "in" or _single_fits(row, line)
            ]
    return kept


def _single_fits(row: Row, line: Line) -> bool:
    return abs(anchor_value(line.box, row.anchor_type) - row.anchor_position) <= row.tolerance


def band_edges(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the top and bottom of the lines."""
    return min(line.box.top for line in lines), max(line.box.bottom for line in lines)


def band_share(members: Sequence[Line], lines: Sequence[Line]) -> float:
    """Return the share of the frames with moving text that have some in the band."""
    moving = {line.frame for line in lines if not line.verdict or line.verdict == "credits"}
    return len({line.frame for line in members}) / len(moving)
