"""From the text in a video's full frames to the place of its captions.

Captions are lines whose text changes over time at a stable height, size and anchor. Everything else on
screen breaks one of these: a logo or a clock keeps its text (digits aside), a ticker reaches from edge to
edge or moves sideways, credits stand in tall stacks, scene text has no stable place.

The analysis is a pure, deterministic function of the OCR lines and of the labels that people set. All
lengths are fractions of the frame: heights and vertical places of its height, the rest of its width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modal_gpu.contracts import CropRegion
from modal_gpu.layout.band import MIN_EVIDENCE, Row, anchor_value, band_edges, band_share, choose_row, grow
from modal_gpu.layout.lines import (
    AnchorType,
    BoxKey,
    BoxLabel,
    Line,
    different_texts,
    has_person_in,
    lines_by_frame,
    size_ratio,
    text_levels,
    zone_of,
)
from modal_gpu.layout.rejection import (
    Place,
    reject_labelled_out,
    reject_shapes,
    reject_stacks,
    reject_static,
)
from modal_gpu.ocr.engine import Box, FrameOcr

#: Where captions are looked for when none were found: the lower 30 %.
FALLBACK_CROP = CropRegion(0.0, 0.7, 1.0, 1.0)

# Share of the samples with moving text that must have it in the band.
_MIN_BAND_SHARE = 0.2
# Another band is worth a word from this share of the chosen one's evidence on.
_RIVAL_SHARE = 0.3
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
        Line(frame.frame_index, index, line.text, line.box, _person(labels.get((frame.frame_index, index))))
        for frame in seen
        for index, line in enumerate(frame.lines)
    ]
    sampled = [frame.frame_index for frame in seen]
    reject_labelled_out(lines)
    reject_shapes(lines, width / height)
    static = reject_static(lines, sampled)
    reject_stacks(lines)

    row, rivals, tickers = choose_row(lines, sampled)
    if row is None:
        return _nothing_found(lines, sampled, width, height, static, tickers)
    members = grow(row, [line for line in lines if not line.verdict])
    share = band_share(members, lines)
    if share < _MIN_BAND_SHARE and not has_person_in(members):
        for line in lines:
            line.reject(line.verdict or "text without a stable place", line.certainty or 0.7)
        return _nothing_found(lines, sampled, width, height, static, tickers)
    return _found(row, members, rivals, share, lines, static, width, height, len(sampled))


def _person(label: str | None) -> BoxLabel | None:
    return label if label in ("in", "out") else None  # 'clear' takes a label back


def _found(
    row: Row,
    members: list[Line],
    rivals: Sequence[Row],
    share: float,
    lines: Sequence[Line],
    static: Sequence[Place],
    width: int,
    height: int,
    samples: int,
) -> Layout:
    inside = {id(line) for line in members}
    line_count = max(len(text_levels(in_frame)) for in_frame in lines_by_frame(members).values())
    texts = len(different_texts([line for line in row.lines if id(line) in inside]))
    crop = _crop(row, members, line_count, texts)
    band = band_edges(members)
    rivals = [
        rival
        for rival in rivals
        if rival.evidence >= max(_RIVAL_SHARE * row.evidence, MIN_EVIDENCE)
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
    confidence = 1.0 if has_person_in(members) else _band_confidence(row, rivals, share, texts)
    zone = {"bottom": "at the bottom", "top": "at the top", "middle": "in the middle"}
    anchor = {"center": "centred", "left": "left-aligned", "right": "right-aligned"}
    reason = (
        f"{texts} different {'text' if texts == 1 else 'texts'} {zone[zone_of(row.center)]}, "
        f"{anchor[row.anchor_type] if row.stable else 'at changing places'}, "
        f"{'one line' if line_count == 1 else f'up to {line_count} lines'}, "
        f"in {len({line.frame for line in members})} of {samples} frames"
    )
    if rivals:
        reason += f"; captions also stand {zone[zone_of(rivals[0].center)]}, which are not read"
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


def _crop(row: Row, members: Sequence[Line], line_count: int, texts: int) -> CropRegion:
    """Tight above and below, where cost grows with it; wide enough for longer captions than those seen."""
    top, bottom = band_edges(members)
    pad = _PAD_LINES * row.height
    if line_count == 1 and texts < _TEXTS_TO_TRUST_LINE_COUNT:
        # Room for a second line on the side that captions grow to.
        if zone_of(row.center) == "top":
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
    return CropRegion.around(left, top - pad, right, bottom + pad)


def _band_confidence(row: Row, rivals: Sequence[Row], share: float, texts: int) -> float:
    """From 0.5 for one text towards 1 with each further one, less what speaks against the band."""
    confidence = 1 - 0.5 * 0.6 ** (texts - 1)
    confidence *= 0.6 + 0.4 * min(1.0, row.anchored / row.texts / 0.8)
    confidence *= 0.6 + 0.4 * min(1.0, share / 0.5)
    if rivals:
        confidence *= 1 - 0.3 * min(1.0, rivals[0].evidence / row.evidence)
    return round(min(confidence, 0.99), 4)  # 1 is for what people said


def _fit(row: Row, line: Line) -> float:
    """How well a caption line fits its row: 0.99 for the usual size and anchor, 0.7 at the limits."""
    size = (size_ratio(line.box.height, row.height) - 1) / (2.0 - 1)
    off = abs(anchor_value(line.box, row.anchor_type) - row.anchor_position) / row.tolerance
    return round(0.99 - 0.29 * min(1.0, max(size, off)), 4)


def _ignore_boxes(
    static: Sequence[Place], crop: CropRegion, members: Sequence[Line], samples: int
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
    lines: Sequence[Line],
    sampled: Sequence[int],
    width: int,
    height: int,
    static: Sequence[Place],
    tickers: Sequence[Row],
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
