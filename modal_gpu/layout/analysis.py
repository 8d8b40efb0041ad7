"""From the text in a video's full frames to the place of its captions.

Captions are lines whose text changes over time at a stable height, size and anchor. Everything else on
screen breaks one of these: a logo or a clock keeps its text (digits aside), a ticker reaches from edge to
edge or moves sideways, credits stand in tall stacks, scene text has no stable place.

The analysis is a pure, deterministic function of the OCR lines and of the labels that people set. All
lengths are fractions of the frame: heights and vertical places of its height, the rest of its width.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import cached_property
from itertools import pairwise
from statistics import median
from typing import Literal

from rapidfuzz import fuzz

from modal_gpu.contracts import CropRegion
from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.ocr.engine import Box, FrameOcr

AnchorType = Literal["left", "center", "right"]
BoxLabel = Literal["in", "out"]
#: ``(frame_index, box_index)``; box_index is the line's place in its frame, from 0.
BoxKey = tuple[int, int]

#: Where captions are looked for when none were found: the lower 30 %.
FALLBACK_CROP = CropRegion(0.0, 0.7, 1.0, 1.0)

# A line of text lower or higher than this is no caption line: dust, or a title as high as the frame.
_LINE_HEIGHTS = (0.012, 0.15)
# Static text: seen again at its place for at least this long (captions rarely stay 10 s), in at least this
# share of the samples in between; or in this share of all samples of a clip too short for the first rule.
_STATIC_SECONDS, _STATIC_DENSITY, _STATIC_SHARE = 15.0, 0.5, 0.6
_STATIC_MIN_SAMPLES, _SHORT_CLIP_MIN_SAMPLES = 3, 4
# Two readings are of the same text from this similarity (0 to 100) on. Logos on moving pictures are misread
# often, so at one place (boxes overlapping this much, IoU) less similarity is asked for.
_SAME_TEXT, _SAME_TEXT_AT_A_PLACE, _SAME_PLACE = 75.0, 65.0, 0.6
# A stack of so many lines is credits or a page, not a caption.
_STACK_LINES = 5
# Lines of one row: middles within this share of the line height, heights within this ratio.
_ROW_TOLERANCE, _ROW_HEIGHT_RATIO = 0.4, 1.45
# A caption's anchored edge (or its middle) lies this close to the common one.
_ANCHOR_TOLERANCE = 0.035
# Evidence is the number of different texts, weighted by how often captions stand there.
_ZONE_WEIGHTS = {"bottom": 1.0, "top": 0.8, "middle": 0.6}
_BOTTOM_ZONE, _TOP_ZONE = 0.6, 0.3
# From so many samples on, one text alone is a title or a sign; needed: two at the bottom, three elsewhere.
_ENOUGH_SAMPLES, _MIN_EVIDENCE = 10, 1.8
# Text lines whose anchored edge is nowhere stable need more different texts.
_MIN_TEXTS_UNANCHORED = 5
# Share of the samples with moving text that must have it in the band.
_MIN_BAND_SHARE = 0.2
# Another band is worth a word from this share of the chosen one's evidence on.
_RIVAL_SHARE = 0.3
# Ticker: edges this close to the frame's, in this share of its samples, and present in this share of all.
_EDGE, _TICKER_EDGE_SHARE, _TICKER_PRESENCE = 0.03, 0.6, 0.6
# Room above and below the lines, in line heights (outlines, shadows, accents, descenders).
_PAD_LINES = 0.25
# Centred captions that were not sampled may be as wide as this, from the anchor to each side.
_CENTER_REACH, _SIDE_MARGIN = 0.46, 0.04
# With fewer texts than this, single lines only do not mean that no caption has two: where one caption in
# five has two lines, twelve texts miss that once in 15 videos. Such videos are short, and room costs little.
_TEXTS_TO_TRUST_LINE_COUNT = 12


@dataclass(frozen=True)
class BoxPrediction:
    """Whether a line is a caption (``in``) or not (``out``), and how sure that is, in [0.5, 1]."""

    frame_index: int
    box_index: int
    label: BoxLabel
    confidence: float


@dataclass(frozen=True)
class Layout:
    """Where captions stand.

    ``found`` is False when there is no caption band; ``crop_region`` is then :data:`FALLBACK_CROP`, the
    anchor is None, and ``confidence`` is that of there being no captions. ``vertical_center`` is the
    middle of the most frequent line and ``box_height`` its height, fractions of the frame height;
    ``anchor_position`` is a fraction of the frame width. ``ignore_boxes`` are places inside the crop
    region where static text (a logo) stands. ``reason`` is one sentence for people.
    """

    frame_width: int
    frame_height: int
    found: bool
    crop_region: CropRegion
    confidence: float
    reason: str
    anchor_type: AnchorType | None = None
    anchor_position: float | None = None
    vertical_center: float | None = None
    box_height: float | None = None
    #: Most lines that one caption was seen to have; 0 when none was found.
    line_count: int = 0
    #: Different caption texts seen.
    text_count: int = 0
    predictions: tuple[BoxPrediction, ...] = ()
    ignore_boxes: tuple[Box, ...] = ()


@dataclass
class _Line:
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


@dataclass
class _Place:
    """The same text at the same place in several samples."""

    lines: list[_Line]
    box: Box
    keys: list[str] = field(default_factory=list)


@dataclass
class _Row:
    """Lines at one height, of one size."""

    center: float
    height: float
    lines: list[_Line]
    anchor_type: AnchorType
    anchor_position: float
    #: Different texts, and those among them whose anchor is the common one.
    texts: int
    anchored: int
    evidence: float

    @property
    def stable(self) -> bool:
        return self.anchored >= 0.5 * self.texts

    @property
    def tolerance(self) -> float:
        return _ANCHOR_TOLERANCE if self.stable else 1.0


def analyze_layout(
    frames: Sequence[FrameOcr],
    width: int,
    height: int,
    labels: Mapping[BoxKey, str] | None = None,
) -> Layout:
    """Find the caption band in what was read in full frames of ``width`` × ``height`` pixels, in order.

    ``labels`` are people's: a box labelled ``in`` is a caption and one labelled ``out`` is not, whatever
    it looks like; other values say nothing. Frames that failed count as not seen. When captions stand in
    two bands (top and bottom) the one with more texts is taken and ``reason`` says so.
    """
    labels = labels or {}
    seen = [frame for frame in frames if frame.status != "failed"]
    lines = [
        _Line(frame.frame_index, index, line.text, line.box, _person(labels.get((frame.frame_index, index))))
        for frame in seen
        for index, line in enumerate(frame.lines)
    ]
    sampled = [frame.frame_index for frame in seen]
    _reject_labelled_out(lines)
    _reject_shapes(lines, width / height)
    static = _reject_static(lines, sampled)
    _reject_stacks(lines)

    row, rivals, tickers = _choose_row(lines, sampled)
    if row is None:
        return _nothing_found(lines, sampled, width, height, static, tickers)
    members = _grow(row, [line for line in lines if not line.verdict])
    share = _band_share(members, lines)
    if share < _MIN_BAND_SHARE and not _has_person_in(members):
        for line in lines:
            line.reject(line.verdict or "text without a stable place", line.certainty or 0.7)
        return _nothing_found(lines, sampled, width, height, static, tickers)
    return _found(row, members, rivals, share, lines, static, width, height, len(sampled))


def _person(label: str | None) -> BoxLabel | None:
    return label if label in ("in", "out") else None  # 'clear' takes a label back


# --- what is no caption -----------------------------------------------------------------------------


def _reject_labelled_out(lines: Sequence[_Line]) -> None:
    """What a person labelled out, and the same text at the same place in other frames."""
    out = [line for line in lines if line.person == "out"]
    for line in out:
        line.verdict, line.certainty = "labelled out", 1.0
    for line in lines:
        if any(line.box.overlap(other.box) > 0.5 and _similar(line, other) for other in out):
            line.reject("labelled out elsewhere", 0.95)


def _reject_shapes(lines: Sequence[_Line], aspect: float) -> None:
    low, high = _LINE_HEIGHTS
    for line in lines:
        wide = line.box.width * aspect / line.box.height
        # One CJK character is about square; a line of several is wider than high.
        upright = wide < (0.6 if len(line.text) == 1 else 1.0)
        if not low <= line.box.height <= high or upright or not re.search(r"\w", line.text):
            line.reject("not a line of text", 0.95)


def _reject_static(lines: Sequence[_Line], sampled: Sequence[int]) -> list[_Place]:
    """Text that keeps its place: logos, clocks. Gives the places."""
    duration = (sampled[-1] - sampled[0]) / INDEX_RATE if sampled else 0.0
    order = {frame: place for place, frame in enumerate(sampled)}
    places = []
    for place in _places(lines, order):
        first, last = place.lines[0].frame, place.lines[-1].frame
        count = len({line.frame for line in place.lines})
        seconds = (last - first) / INDEX_RATE
        density = count / (order[last] - order[first] + 1)
        lasting = count >= _STATIC_MIN_SAMPLES and seconds >= _STATIC_SECONDS and density >= _STATIC_DENSITY
        # A short clip may be filled by one caption: not told from a logo by time, but by its place.
        filling = (
            duration < _STATIC_SECONDS
            and len(sampled) >= _SHORT_CLIP_MIN_SAMPLES
            and count >= _STATIC_SHARE * len(sampled)
            and not _where_captions_stand(place.box)
        )
        if (lasting or filling) and not any(line.person == "in" for line in place.lines):
            places.append(place)
            for line in place.lines:
                line.reject("static text", 0.97)
    # Misread, the same logo starts places of its own; what lies on a permanent one belongs to it.
    for place in places:
        if len(place.lines) < _STATIC_SHARE * len(sampled):
            continue
        for line in lines:
            if not line.verdict and line.box.intersection(place.box) > 0.8 * line.box.area:
                line.reject("static text", 0.85)
    return places


def _places(lines: Iterable[_Line], order: Mapping[int, int]) -> list[_Place]:
    """Lines grouped by place and text, in one pass; ``order`` gives each frame's place in the samples."""
    places: list[_Place] = []
    for line in lines:
        if line.verdict:
            continue
        now = order[line.frame]
        for place in places:
            if place.box.overlap(line.box) >= _SAME_PLACE and any(
                fuzz.ratio(key, line.key) >= _SAME_TEXT_AT_A_PLACE for key in place.keys
            ):
                place.lines.append(line)
                if line.key not in place.keys and len(place.keys) < 3:
                    place.keys.append(line.key)
                break
        else:
            # Captions come and go: forgetting places not seen again keeps this linear in long videos.
            stale = [p for p in places if len(p.lines) < 3 and now - order[p.lines[-1].frame] > 10]
            if stale:
                places = [p for p in places if p not in stale]
            places.append(_Place([line], line.box, [line.key]))
    return places


def _where_captions_stand(box: Box) -> bool:
    return box.center_y > _BOTTOM_ZONE and abs(box.center_x - 0.5) < 0.1


def _reject_stacks(lines: Sequence[_Line]) -> None:
    """Credits, pages of text: tall stacks of lines of a size."""
    for frame_lines in _by_frame(line for line in lines if not line.verdict).values():
        stack: list[_Line] = []
        for line in [*sorted(frame_lines, key=lambda line: line.box.center_y), None]:
            if line is not None and stack and _stacked(stack[-1].box, line.box):
                stack.append(line)
                continue
            if len(stack) >= _STACK_LINES:
                for member in stack:
                    member.reject("credits", 0.85)
            stack = [line] if line is not None else []


def _stacked(upper: Box, lower: Box) -> bool:
    gap = lower.top - upper.bottom
    return gap < 2.0 * min(upper.height, lower.height) and _ratio(upper.height, lower.height) < 1.8


# --- the band ---------------------------------------------------------------------------------------


def _choose_row(lines: Sequence[_Line], sampled: Sequence[int]) -> tuple[_Row | None, list[_Row], list[_Row]]:
    """The row with the most evidence, the other rows that could be captions, and tickers."""
    tickers: list[_Row] = []
    while True:
        rows = _rows([line for line in lines if not line.verdict])
        ticker = next((row for row in rows[:3] if _is_ticker(row, len(sampled))), None)
        if ticker is None:
            break
        tickers.append(ticker)
        for line in ticker.lines:
            line.reject("ticker", 0.9)
    rows = [row for row in rows if _plausible(row, len(sampled))]
    return (rows[0] if rows else None), rows[1:], tickers


def _rows(lines: Sequence[_Line]) -> list[_Row]:
    """Rows by falling evidence; no line is in two rows."""
    rows: list[_Row] = []
    left = list(lines)
    while left:
        best = max(
            (_row_around(seed, left) for seed in _seeds(left)),
            # Ties go to the lower row: captions stand at the bottom more often.
            key=lambda row: (row.evidence, row.center),
        )
        rows.append(best)
        taken = {id(line) for line in best.lines}
        left = [line for line in left if id(line) not in taken]
        # Scene text makes many rows of one line each; they decide nothing.
        if best.texts == 1 and len(rows) > 20:
            break
    return sorted(rows, key=lambda row: (-row.evidence, -row.center))


def _seeds(lines: Sequence[_Line]) -> list[_Line]:
    """One line for each height and size, on a grid finer than a row."""
    cells = {(round(line.box.center_y / 0.008), round(line.box.height / 0.01)): line for line in lines}
    return list(cells.values())


def _row_around(seed: _Line, lines: Sequence[_Line]) -> _Row:
    members = [
        line
        for line in lines
        if abs(line.box.center_y - seed.box.center_y) <= _ROW_TOLERANCE * seed.box.height
        and _ratio(line.box.height, seed.box.height) <= _ROW_HEIGHT_RATIO
    ]
    texts = _different_texts(members)
    # A caption may be cut into pieces that stand far apart: its place is that of all pieces together.
    spans = {frame: _span(pieces) for frame, pieces in _by_frame(members).items()}
    representative = [spans[line.frame] for line in texts]
    anchor_type, position, anchored = _anchor(representative)
    center = median(line.box.center_y for line in members)
    labelled = sum(line.person == "in" for line in members)
    weight = _ZONE_WEIGHTS[_zone(center)]
    return _Row(
        center,
        median(line.box.height for line in members),
        members,
        anchor_type,
        position,
        len(texts),
        anchored,
        # What a person labelled in outweighs anything else.
        weight * anchored + 1000 * labelled,
    )


def _different_texts(lines: Sequence[_Line]) -> list[_Line]:
    """One line for each different text, in order of appearance."""
    different: dict[str, _Line] = {}
    previous: _Line | None = None
    for line in lines:
        if previous is None or not _similar(previous, line):
            different.setdefault(line.key, line)
        previous = line
    return list(different.values())


def _anchor(spans: Sequence[Box]) -> tuple[AnchorType, float, int]:
    """The edge (or middle) that most spans share, where it is, and how many share it."""
    choices: list[tuple[int, float, AnchorType, float]] = []
    for kind in ("center", "left", "right"):
        values = [_anchor_value(span, kind) for span in spans]
        position = median(values)
        shared = sum(abs(value - position) <= _ANCHOR_TOLERANCE for value in values)
        spread = median(abs(value - position) for value in values)
        # One width only fits all three: then the middle is meant if it is the frame's, else the left edge.
        odds = 0.01 if kind == "center" and abs(position - 0.5) < 0.05 else 0.005 if kind == "left" else 0.0
        choices.append((shared, odds - spread, kind, position))
    shared, _, kind, position = max(choices, key=lambda choice: choice[:2])
    return kind, position, shared


def _anchor_value(box: Box, kind: AnchorType) -> float:
    return {"left": box.left, "center": box.center_x, "right": box.right}[kind]


def _plausible(row: _Row, samples: int) -> bool:
    if _has_person_in(row.lines):
        return True
    if samples < _ENOUGH_SAMPLES and row.texts == 1:
        return _zone(row.center) == "bottom" and abs(row.anchor_position - 0.5) < 0.1
    if not row.stable and row.texts < _MIN_TEXTS_UNANCHORED:
        return False
    enough = _MIN_EVIDENCE if samples >= _ENOUGH_SAMPLES else 1.0
    return row.evidence >= enough


def _is_ticker(row: _Row, samples: int) -> bool:
    if row.texts < 3 or _has_person_in(row.lines):
        return False
    by_frame = _by_frame(row.lines)
    spans = [_span(pieces) for pieces in by_frame.values()]
    at_edge = sum(span.left <= _EDGE or span.right >= 1 - _EDGE for span in spans)
    to_both_edges = at_edge >= _TICKER_EDGE_SHARE * len(spans) and median(s.width for s in spans) > 0.6
    if to_both_edges and len(spans) >= _TICKER_PRESENCE * samples:
        return True
    texts = [
        (" ".join(line.text for line in sorted(pieces, key=lambda line: line.box.left)), _span(pieces))
        for pieces in by_frame.values()
    ]
    moves = sum(_moves_sideways(a, b) for a, b in pairwise(texts))
    return moves >= max(2, 0.4 * (len(texts) - 1))


def _moves_sideways(before: tuple[str, Box], after: tuple[str, Box]) -> bool:
    """Whether a good part of one text stands in the other, at another place across the screen."""
    (a, box_a), (b, box_b) = before, after
    block = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    if block.size < 6 or block.size < 0.4 * min(len(a), len(b)):
        return False
    place_a = box_a.left + box_a.width * block.a / len(a)
    place_b = box_b.left + box_b.width * block.b / len(b)
    return abs(place_a - place_b) > 0.08


def _grow(row: _Row, lines: Sequence[_Line]) -> list[_Line]:
    """The row's anchored lines, and the other lines of the same captions above and below it."""
    members = _anchored(row, row.lines)
    for _ in range(3):  # a second, third and fourth line
        band = _edges(members)
        frames = {line.frame for line in members}
        inside = {id(line) for line in members}
        near = [
            line
            for line in lines
            if id(line) not in inside
            and _ratio(line.box.height, row.height) <= 2.0  # bilingual captions have two sizes
            and line.box.top - band[1] < 0.6 * row.height
            and band[0] - line.box.bottom < 0.6 * row.height
        ]
        near = _anchored(row, near)
        together = [line for line in near if line.frame in frames or line.person == "in"]
        alone = near if len(_different_texts(near)) >= 2 else []
        new = {id(line): line for line in (*together, *alone)}
        if not new:
            break
        members = members + list(new.values())
    return sorted(members, key=lambda line: (line.frame, line.index))


def _anchored(row: _Row, lines: Sequence[_Line]) -> list[_Line]:
    """Those of ``lines`` that stand at the row's anchor, pieces of one line judged together."""
    kept = []
    for pieces in _by_frame(lines).values():
        for level in _levels(pieces):
            off = abs(_anchor_value(_span(level), row.anchor_type) - row.anchor_position)
            kept += [
                line
                for line in level
                if off <= row.tolerance or line.person == "in" or _single_fits(row, line)
            ]
    return kept


def _single_fits(row: _Row, line: _Line) -> bool:
    return abs(_anchor_value(line.box, row.anchor_type) - row.anchor_position) <= row.tolerance


def _levels(lines: Sequence[_Line]) -> list[list[_Line]]:
    """Lines of one frame, grouped by height."""
    levels: list[list[_Line]] = []
    for line in sorted(lines, key=lambda line: line.box.center_y):
        if levels and line.box.center_y - levels[-1][0].box.center_y < 0.5 * line.box.height:
            levels[-1].append(line)
        else:
            levels.append([line])
    return levels


def _edges(lines: Sequence[_Line]) -> tuple[float, float]:
    return min(line.box.top for line in lines), max(line.box.bottom for line in lines)


def _band_share(members: Sequence[_Line], lines: Sequence[_Line]) -> float:
    moving = {line.frame for line in lines if not line.verdict or line.verdict == "credits"}
    return len({line.frame for line in members}) / len(moving)


# --- results ----------------------------------------------------------------------------------------


def _found(
    row: _Row,
    members: list[_Line],
    rivals: Sequence[_Row],
    share: float,
    lines: Sequence[_Line],
    static: Sequence[_Place],
    width: int,
    height: int,
    samples: int,
) -> Layout:
    inside = {id(line) for line in members}
    line_count = max(len(_levels(in_frame)) for in_frame in _by_frame(members).values())
    texts = len(_different_texts([line for line in row.lines if id(line) in inside]))
    crop = _crop(row, members, line_count, texts)
    band = _edges(members)
    rivals = [
        rival
        for rival in rivals
        if rival.evidence >= max(_RIVAL_SHARE * row.evidence, _MIN_EVIDENCE)
        and (rival.center < band[0] or rival.center > band[1])
    ]
    predictions = []
    for line in lines:
        if line.person is not None:
            predictions.append(BoxPrediction(line.frame, line.index, line.person, 1.0))
        elif id(line) in inside:
            predictions.append(BoxPrediction(line.frame, line.index, "in", _fit(row, line)))
        else:
            certainty = line.certainty or (0.7 if band[0] <= line.box.center_y <= band[1] else 0.9)
            predictions.append(BoxPrediction(line.frame, line.index, "out", certainty))
    confidence = 1.0 if _has_person_in(members) else _band_confidence(row, rivals, share, texts)
    zone = {"bottom": "at the bottom", "top": "at the top", "middle": "in the middle"}
    anchor = {"center": "centred", "left": "left-aligned", "right": "right-aligned"}
    reason = (
        f"{texts} different {'text' if texts == 1 else 'texts'} {zone[_zone(row.center)]}, "
        f"{anchor[row.anchor_type] if row.stable else 'at changing places'}, "
        f"{'one line' if line_count == 1 else f'up to {line_count} lines'}, "
        f"in {len({line.frame for line in members})} of {samples} frames"
    )
    if rivals:
        reason += f"; captions also stand {zone[_zone(rivals[0].center)]}, which are not read"
    return Layout(
        width,
        height,
        True,
        crop,
        confidence,
        reason + ".",
        row.anchor_type,
        row.anchor_position,
        row.center,
        row.height,
        line_count,
        texts,
        tuple(predictions),
        _ignore_boxes(static, crop, members, samples),
    )


def _crop(row: _Row, members: Sequence[_Line], line_count: int, texts: int) -> CropRegion:
    """Tight above and below, where cost grows with it; wide enough for longer captions than those seen."""
    top, bottom = _edges(members)
    pad = _PAD_LINES * row.height
    if line_count == 1 and texts < _TEXTS_TO_TRUST_LINE_COUNT:
        # Room for a second line on the side that captions grow to.
        if _zone(row.center) == "top":
            bottom += row.height
        else:
            top -= row.height
    left, right = min(line.box.left for line in members), max(line.box.right for line in members)
    margin = 0.03
    if row.anchor_type == "center" and row.stable:
        reach = max(_CENTER_REACH, row.anchor_position - left + margin, right - row.anchor_position + margin)
        left, right = row.anchor_position - reach, row.anchor_position + reach
    elif row.anchor_type == "left" and row.stable:
        left, right = left - margin, max(right + margin, 1 - _SIDE_MARGIN)
    elif row.anchor_type == "right" and row.stable:
        left, right = min(left - margin, _SIDE_MARGIN), right + margin
    else:
        left, right = min(left - margin, _SIDE_MARGIN), max(right + margin, 1 - _SIDE_MARGIN)
    return CropRegion(max(0.0, left), max(0.0, top - pad), min(1.0, right), min(1.0, bottom + pad))


def _band_confidence(row: _Row, rivals: Sequence[_Row], share: float, texts: int) -> float:
    """From 0.5 for one text towards 1 with each further one, less what speaks against the band."""
    confidence = 1 - 0.5 * 0.6 ** (texts - 1)
    confidence *= 0.6 + 0.4 * min(1.0, row.anchored / row.texts / 0.8)
    confidence *= 0.6 + 0.4 * min(1.0, share / 0.5)
    if rivals:
        confidence *= 1 - 0.3 * min(1.0, rivals[0].evidence / row.evidence)
    return round(min(confidence, 0.99), 4)  # 1 is for what people said


def _fit(row: _Row, line: _Line) -> float:
    """How well a caption line fits its row: 0.99 for the usual size and anchor, 0.7 at the limits."""
    size = (_ratio(line.box.height, row.height) - 1) / (2.0 - 1)
    off = abs(_anchor_value(line.box, row.anchor_type) - row.anchor_position) / row.tolerance
    return round(0.99 - 0.29 * min(1.0, max(size, off)), 4)


def _ignore_boxes(
    static: Sequence[_Place], crop: CropRegion, members: Sequence[_Line], samples: int
) -> tuple[Box, ...]:
    """Static text inside the crop region that is there most of the time and where no caption stands."""
    region = Box(crop.crop_left, crop.crop_top, crop.crop_right, crop.crop_bottom)
    boxes = []
    for place in static:
        box = place.box
        for line in place.lines:
            box = box.union(line.box)
        lasting = len({line.frame for line in place.lines}) >= 0.5 * samples
        free = not any(box.intersection(line.box) for line in members)
        if lasting and free and box.intersection(region):
            boxes.append(box)
    return tuple(boxes)


def _nothing_found(
    lines: Sequence[_Line],
    sampled: Sequence[int],
    width: int,
    height: int,
    static: Sequence[_Place],
    tickers: Sequence[_Row],
) -> Layout:
    open_lines = [line for line in lines if not line.verdict]
    # Each frame without captions makes it less likely that there are any; lines nobody could explain
    # leave a doubt.
    confidence = 0.0 if not sampled else min(0.97, 1 - 0.5 * 0.75 ** (len(sampled) - 1))
    if open_lines:
        confidence *= 1 - 0.5 * len({line.frame for line in open_lines}) / len(sampled)
    kinds = {line.verdict for line in lines} | ({""} if open_lines else set())
    if not sampled:
        reason = "No frame could be read."
    elif not lines:
        reason = f"No text in {len(sampled)} {'frame' if len(sampled) == 1 else 'frames'}."
    elif static and kinds <= {"static text", "not a line of text"}:
        reason = f"No caption band: the only text is static ({static[0].lines[0].text[:40]!r})."
    elif tickers and kinds <= {"static text", "ticker", "not a line of text"}:
        reason = "No caption band: the only moving text is a ticker."
    elif "credits" in kinds and "" not in kinds:
        reason = "No caption band: the only changing text is credits or pages of text."
    elif len(sampled) == 1:
        reason = "No caption band: the one frame has no text where captions stand."
    else:
        reason = "No caption band: no text changes at a stable height and place."
    predictions = tuple(BoxPrediction(line.frame, line.index, "out", line.certainty or 0.6) for line in lines)
    return Layout(
        width,
        height,
        False,
        FALLBACK_CROP,
        round(confidence, 4),
        reason,
        predictions=predictions,
        ignore_boxes=_ignore_boxes(static, FALLBACK_CROP, [], len(sampled)),
    )


# --- small things -----------------------------------------------------------------------------------


def _similar(a: _Line, b: _Line) -> bool:
    return fuzz.ratio(a.key, b.key) >= _SAME_TEXT


def _ratio(a: float, b: float) -> float:
    return max(a, b) / min(a, b)


def _zone(center: float) -> str:
    return "bottom" if center >= _BOTTOM_ZONE else "top" if center <= _TOP_ZONE else "middle"


def _by_frame(lines: Iterable[_Line]) -> dict[int, list[_Line]]:
    frames: dict[int, list[_Line]] = defaultdict(list)
    for line in lines:
        frames[line.frame].append(line)
    return frames


def _span(lines: Sequence[_Line]) -> Box:
    span = lines[0].box
    for line in lines[1:]:
        span = span.union(line.box)
    return span


def _has_person_in(lines: Iterable[_Line]) -> bool:
    return any(line.person == "in" for line in lines)
