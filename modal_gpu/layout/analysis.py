"""Analysis of the text in a video's full frames, which finds the place of its captions.

Captions are lines whose text changes over time at a stable height, size and anchor. Other text violates one
of these: a logo or a clock keeps its text (except digits), a ticker reaches from edge to edge or moves
sideways, credits are tall stacks of lines, scene text has no stable place.

The analysis is a pure, deterministic function of the OCR lines and of people's labels. Lengths are fractions
of the frame: heights and vertical positions of its height, all others of its width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.layout.band import (
    MIN_EVIDENCE,
    Row,
    anchor_value,
    at_usual_place,
    band_edges,
    band_share,
    choose_row,
    grow,
)
from modal_gpu.layout.further_bands import Band, apart, further_bands
from modal_gpu.layout.lines import (
    STRIP_ASPECT,
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
from modal_gpu.layout.unreadable import as_read, find_unread
from modal_gpu.layout.zones import LayoutZone
from modal_gpu.ocr.engine import Box, FrameOcr

#: The crop region without a caption band: the lower 30 %, or everything in a picture that is a strip.
FALLBACK_CROP, WHOLE_PICTURE = CropRegion(0.0, 0.7, 1.0, 1.0), CropRegion(0.0, 0.0, 1.0, 1.0)

# Confidence of a layout whose captions cannot be read, too low to be approved without a person.
_UNREAD_CONFIDENCE = 0.1
# Smallest share of the samples with moving text that have it in the band.
_MIN_BAND_SHARE = 0.2
# Another band is mentioned from this share of the chosen one's evidence.
_RIVAL_SHARE = 0.3
# Texts outside of all bands from which on the finding mentions them.
_SIGNS_TO_MENTION = 3
# Padding above and below the lines, in line heights (outlines, shadows, accents, descenders).
_PAD_LINES = 0.25
# Largest distance of a centred caption's ends from the anchor, for captions that were not sampled; and the
# margin at the frame's sides.
_CENTER_REACH, _SIDE_MARGIN = 0.46, 0.04
# With fewer texts than this, seeing only single lines does not prove that no caption has two: if one caption
# in five has two lines, twelve texts miss that once in 15 videos. Such videos are short, and the room for a
# second line costs little.
TEXTS_TO_TRUST_LINE_COUNT = 12
_ZONES = {"bottom": "at the bottom", "top": "at the top", "middle": "in the middle"}
_ANCHORS = {"center": "centred", "left": "left-aligned", "right": "right-aligned"}


@dataclass(frozen=True)
class BoxPrediction:
    """The prediction that a line is a caption (``in``) or not (``out``), with a confidence in [0.5, 1]."""

    frame_index: int
    box_index: int
    label: BoxLabel
    confidence: float


@dataclass(frozen=True)
class Layout:
    """The place of a video's captions.

    If there is no caption band, ``found`` is False, ``crop_region`` is :data:`FALLBACK_CROP` or
    :data:`WHOLE_PICTURE`, the anchor is ``None``, and ``confidence`` is the confidence that there are no
    captions. ``vertical_center`` is the centre of the most frequent line and ``box_height`` its height, as
    fractions of the frame height; ``anchor_position`` is a fraction of the frame width. ``ignore_boxes``
    contain static text (a logo) inside the crop region. ``reason`` is one sentence for people.
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
    #: Largest number of lines of one caption; 0 without captions.
    line_count: int = 0
    predictions: tuple[BoxPrediction, ...] = ()
    ignore_boxes: tuple[Box, ...] = ()
    #: Zones beside this one, in the order of their indices.
    zones: tuple[LayoutZone, ...] = ()


@dataclass(frozen=True)
class _Sampled:
    """The text of a video's sampled frames (their indices are ``frames``), with what was rejected."""

    width: int
    height: int
    frames: Sequence[int]
    lines: Sequence[Line]
    static: Sequence[Place]
    tickers: Sequence[Row]


def analyze_layout(
    frames: Sequence[FrameOcr],
    width: int,
    height: int,
    labels: Mapping[BoxKey, str] | None = None,
    *,
    with_language: bool = False,
) -> Layout:
    """Find the caption band in the readings of full frames of ``width`` × ``height`` pixels, in order.

    ``labels`` are people's: a box labelled ``in`` is a caption and one labelled ``out`` is not; other values
    are ignored. Failed frames are ignored. If captions appear in several bands (top and bottom), the one with
    most texts is the layout's own, and the others are its ``zones``. ``with_language``: the frames were read
    with a model for the captions' languages. If captions are there that the model could not read, ``reason``
    says so, and the confidence is low.
    """
    labels = labels or {}
    seen = [frame for frame in frames if frame.status != "failed"]
    unread = find_unread(seen, width / height, with_language)
    lines = [
        Line(frame.frame_index, index, line.text, line.box, _person(labels.get((frame.frame_index, index))))
        for frame in seen
        for index, line in as_read(frame, unread, labels)
    ]
    layout = _analyzed(lines, [frame.frame_index for frame in seen], width, height)
    if not unread.finding:
        return layout
    # A person decides: the finding says what to set.
    return replace(layout, confidence=min(layout.confidence, _UNREAD_CONFIDENCE), reason=unread.finding)


def _analyzed(lines: list[Line], sampled: Sequence[int], width: int, height: int) -> Layout:
    reject_labelled_out(lines)
    reject_shapes(lines, width, height)
    static = reject_static(lines, sampled)
    reject_stacks(lines)

    row, rivals, tickers = choose_row(lines, sampled, width / height)
    text = _Sampled(width, height, sampled, lines, static, tickers)
    if row is None:
        return _nothing_found(text)
    members = grow(row, [line for line in lines if not line.verdict])
    share = band_share(members, lines)
    if share < _MIN_BAND_SHARE and not has_person_in(members):
        for line in lines:
            line.reject(line.verdict or "text without a stable place", line.certainty or 0.7)
        return _nothing_found(text)
    return _found(text, row, members, rivals, share)


def _person(label: str | None) -> BoxLabel | None:
    if label == "in":
        return "in"
    return "out" if label == "out" else None  # 'clear' removes a label


def _found(text: _Sampled, row: Row, members: list[Line], rivals: Sequence[Row], share: float) -> Layout:
    inside = {id(line) for line in members}
    line_count = max(len(text_levels(in_frame)) for in_frame in lines_by_frame(members).values())
    texts = len(different_texts([line for line in row.lines if id(line) in inside]))
    crop = _crop(row, members, line_count, texts)
    further: list[Band] = []
    zones: list[LayoutZone] = []
    for band in further_bands(rivals, text.lines, members, row.height):
        zone = _zone(len(zones) + 1, band, [crop, *(zone.zone.crop_region for zone in zones)])
        if zone is not None:
            further.append(band)
            zones.append(zone)
    captions = [*members, *(line for band in further for line in band.members)]
    edges = [band_edges(members), *(band.edges for band in further)]
    rivals = [
        rival
        for rival in rivals
        if rival.evidence >= max(_RIVAL_SHARE * row.evidence, MIN_EVIDENCE)
        and not any(top <= rival.center <= bottom for top, bottom in edges)
    ]
    confidence = 1.0 if has_person_in(members) else _band_confidence(row, rivals, share, texts)
    seen_in = f"in {len({line.frame for line in members})} of {len(text.frames)} frames"
    return Layout(
        text.width,
        text.height,
        True,
        crop,
        confidence,
        _description(row, rivals, texts, line_count, seen_in) + _elsewhere(text, zones, captions),
        row.anchor_type,
        row.anchor_position,
        row.center,
        row.height,
        line_count,
        _predictions(text.lines, row, members, further),
        _ignore_boxes(text, [crop, *(zone.zone.crop_region for zone in zones)], captions),
        tuple(zones),
    )


def _zone(index: int, band: Band, others: Sequence[CropRegion]) -> LayoutZone | None:
    """Return a further band as a zone; ``None`` if it has no room beside the other zones' crop regions."""
    row = band.row
    line_count = max(len(text_levels(lines)) for lines in lines_by_frame(band.members).values())
    crop = apart(_crop(row, band.members, line_count, band.texts), band.edges, others)
    if crop is None:
        return None
    seen_in = f"in {len({line.frame for line in band.members})} frames"
    return LayoutZone(
        CaptionZone(index, crop),
        row.anchor_type,
        row.anchor_position,
        row.center,
        row.height,
        1.0 if has_person_in(band.members) else _band_confidence(row, [], 1.0, band.texts),
        _description(row, [], band.texts, line_count, seen_in),
    )


def _elsewhere(text: _Sampled, zones: Sequence[LayoutZone], captions: Sequence[Line]) -> str:
    """Return what the finding says of captions in further zones, and of text that is in none."""
    said = "".join(f" Zone {zone.zone.zone_index}: {zone.reason}" for zone in zones)
    inside = {id(line) for line in captions}
    left = different_texts([line for line in text.lines if not line.verdict and id(line) not in inside])
    if len(left) < _SIGNS_TO_MENTION:
        return said
    return f"{said} Other text, such as {left[0].text[:40]!r}, is in no zone and not read."


def _predictions(
    lines: Sequence[Line], row: Row, members: Sequence[Line], further: Sequence[Band]
) -> tuple[BoxPrediction, ...]:
    inside = {id(line) for line in members}
    rows = {id(line): band.row for band in further for line in band.members}
    top, bottom = band_edges(members)

    def predicted(line: Line) -> tuple[BoxLabel, float]:
        if line.person is not None:
            return line.person, 1.0
        if id(line) in inside:
            return "in", _fit(row, line)
        if (own := rows.get(id(line))) is not None:
            return "in", _fit(own, line)
        return "out", line.certainty or (0.7 if top <= line.box.center_y <= bottom else 0.9)

    return tuple(BoxPrediction(line.frame, line.index, *predicted(line)) for line in lines)


def _description(row: Row, rivals: Sequence[Row], texts: int, line_count: int, seen_in: str) -> str:
    described = (
        f"{texts} different {'text' if texts == 1 else 'texts'} {_ZONES[zone_of(row.center)]}, "
        f"{_ANCHORS[row.anchor_type] if row.stable else 'at changing places'}, "
        f"{'one line' if line_count == 1 else f'up to {line_count} lines'}, {seen_in}"
    )
    if rivals:
        described += f"; other captions {_ZONES[zone_of(rivals[0].center)]} are not read"
    return f"{described}."


def _crop(row: Row, members: Sequence[Line], line_count: int, texts: int) -> CropRegion:
    """Return a crop region with little room above and below, and with room for longer captions.

    Costs grow with its height.
    """
    top, bottom = band_edges(members)
    pad = _PAD_LINES * row.height
    if line_count == 1 and texts < TEXTS_TO_TRUST_LINE_COUNT:
        # Room for a second line on the side towards which captions grow.
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
    """Return a confidence that grows with the number of texts from 0.5 to 1, minus evidence against it."""
    confidence = 1 - 0.5 * 0.6 ** (texts - 1)
    confidence *= 0.6 + 0.4 * min(1.0, row.anchored / row.texts / 0.8)
    confidence *= 0.6 + 0.4 * min(1.0, share / 0.5)
    if rivals:
        confidence *= 1 - 0.3 * min(1.0, rivals[0].evidence / row.evidence)
    return round(min(confidence, 0.99), 4)  # 1 is reserved for people's labels


def _fit(row: Row, line: Line) -> float:
    """Rate a caption line's fit to its row: 0.99 for the usual size and anchor, 0.7 at the limits."""
    size = (size_ratio(line.box.height, row.height) - 1) / (2.0 - 1)
    off = abs(anchor_value(line.box, row.anchor_type) - row.anchor_position) / row.tolerance
    return round(0.99 - 0.29 * min(1.0, max(size, off)), 4)


def _ignore_boxes(text: _Sampled, crops: Sequence[CropRegion], members: Sequence[Line]) -> tuple[Box, ...]:
    """Return the boxes of lasting static text inside a crop region that no caption overlaps."""
    regions = [Box(crop.crop_left, crop.crop_top, crop.crop_right, crop.crop_bottom) for crop in crops]
    boxes = []
    for place in text.static:
        box = place.box
        for line in place.lines:
            box = box.union(line.box)
        lasting = len({line.frame for line in place.lines}) >= 0.5 * len(text.frames)
        free = not any(box.intersection(line.box) for line in members)
        if lasting and free and any(map(box.intersection, regions)):
            boxes.append(box)
    return tuple(boxes)


def _nothing_found(text: _Sampled) -> Layout:
    unexplained = {line.frame for line in text.lines if not line.verdict}
    # Each frame without captions makes captions less likely; unexplained lines leave a doubt.
    confidence = 0.0 if not text.frames else min(0.97, 1 - 0.5 * 0.75 ** (len(text.frames) - 1))
    if unexplained:
        confidence *= 1 - 0.5 * len(unexplained) / len(text.frames)
    if _doubtful(text):
        confidence = min(confidence, 0.5)
    predictions = tuple(
        BoxPrediction(line.frame, line.index, "out", line.certainty or 0.6) for line in text.lines
    )
    crop = WHOLE_PICTURE if text.width >= STRIP_ASPECT * text.height else FALLBACK_CROP
    return Layout(
        text.width,
        text.height,
        False,
        crop,
        round(confidence, 4),
        _why_nothing(text),
        predictions=predictions,
        ignore_boxes=_ignore_boxes(text, [crop], []),
    )


def _doubtful(text: _Sampled) -> list[Line]:
    """Return text where captions usually are that nothing else explains: it may be the only caption."""
    return [line for line in text.lines if not line.verdict and at_usual_place([line])]


def _why_nothing(text: _Sampled) -> str:
    count = len(text.frames)
    verdicts = {line.verdict for line in text.lines}
    if not count:
        return "No frame could be read."
    if not text.lines:
        return f"No text in {count} {'frame' if count == 1 else 'frames'}."
    if text.static and verdicts <= {"static text", "not a line of text"}:
        return f"No caption band: the only text is static ({text.static[0].lines[0].text[:40]!r})."
    if text.tickers and verdicts <= {"static text", "ticker", "not a line of text"}:
        return "No caption band: the only moving text is a ticker."
    if "credits" in verdicts and "" not in verdicts:
        return "No caption band: the only changing text is credits or pages of text."
    if doubtful := _doubtful(text):
        return f"No caption band, but text that may be a caption: {doubtful[0].text[:40]!r}."
    if count == 1:
        return "No caption band: the only frame has no text where captions usually are."
    return "No caption band: no text changes at a stable height and place."
