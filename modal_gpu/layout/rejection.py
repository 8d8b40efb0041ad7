"""Rejection of lines that are not captions: static text, pages of text, and lines labelled as such."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from rapidfuzz import fuzz

from modal_gpu.frame_index import INDEX_RATE
from modal_gpu.layout.lines import BOTTOM_ZONE, STRIP_ASPECT, Line, lines_by_frame, similar, size_ratio
from modal_gpu.ocr.engine import Box

# Smaller text cannot be read, in pixels. There is no largest height: a picture may consist of a caption.
_SMALLEST_LINE = 6.0
# A single character above this share of the frame's height is a shape in the picture.
_LARGEST_CHARACTER = 0.15
# Static text stays at its place for at least this time (captions rarely stay 10 s), in at least this share
# of the samples in between; in a clip too short for that, in this share of all samples.
_STATIC_SECONDS, _STATIC_DENSITY, _STATIC_SHARE = 15.0, 0.5, 0.6
_STATIC_MIN_SAMPLES, _SHORT_CLIP_MIN_SAMPLES = 3, 4
# OCR often misreads logos on moving pictures, so the similarity (0 to 100) required of two readings is lower
# at one place (boxes with at least this overlap, IoU).
_SAME_TEXT_AT_A_PLACE, _SAME_PLACE = 65.0, 0.6
# A stack of at least this many lines is credits or a page of text.
_STACK_LINES = 5


@dataclass
class Place:
    """The same text at the same place in several samples."""

    lines: list[Line]
    box: Box
    keys: list[str] = field(default_factory=list)


def reject_labelled_out(lines: Sequence[Line]) -> None:
    """Reject lines labelled ``out``, and the same text at the same place in other frames."""
    out = [line for line in lines if line.person == "out"]
    for line in out:
        line.verdict, line.certainty = "labelled out", 1.0
    for line in lines:
        if any(line.box.overlap(other.box) > 0.5 and similar(line, other) for other in out):
            line.reject("labelled out elsewhere", 0.95)


def reject_shapes(lines: Sequence[Line], width: int, height: int) -> None:
    """Reject boxes without letters or digits, or without a text line's shape, in a frame of this size."""
    for line in lines:
        wide = line.box.width * width / (line.box.height * height)
        # A single CJK character is about square; a longer line is wider than high.
        upright = wide < (0.6 if len(line.text) == 1 else 1.0)
        tiny = line.box.height * height < _SMALLEST_LINE
        shape = len(line.text) == 1 and line.box.height > _LARGEST_CHARACTER and width < STRIP_ASPECT * height
        if tiny or shape or upright or not re.search(r"\w", line.text):
            line.reject("not a line of text", 0.95)


def reject_static(lines: Sequence[Line], sampled: Sequence[int]) -> list[Place]:
    """Reject text that keeps its place (logos, clocks); return the places."""
    duration = (sampled[-1] - sampled[0]) / INDEX_RATE if sampled else 0.0
    order = {frame: place for place, frame in enumerate(sampled)}
    places = []
    for place in _places(lines, order):
        first, last = place.lines[0].frame, place.lines[-1].frame
        count = len({line.frame for line in place.lines})
        seconds = (last - first) / INDEX_RATE
        density = count / (order[last] - order[first] + 1)
        lasting = count >= _STATIC_MIN_SAMPLES and seconds >= _STATIC_SECONDS and density >= _STATIC_DENSITY
        # One caption may last for a short clip; only its place distinguishes it from a logo.
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
    # Misreadings of a logo form other places; a line on top of a permanent place belongs to it.
    for place in places:
        if len(place.lines) < _STATIC_SHARE * len(sampled):
            continue
        for line in lines:
            if not line.verdict and line.box.intersection(place.box) > 0.8 * line.box.area:
                line.reject("static text", 0.85)
    return places


def _places(lines: Iterable[Line], order: Mapping[int, int]) -> list[Place]:
    """Group lines by place and text, in one pass; ``order`` maps frames to their position in the samples."""
    places: list[Place] = []
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
            # Captions come and go; dropping places that do not recur keeps this linear in long videos.
            stale = [p for p in places if len(p.lines) < 3 and now - order[p.lines[-1].frame] > 10]
            if stale:
                places = [p for p in places if p not in stale]
            places.append(Place([line], line.box, [line.key]))
    return places


def _where_captions_stand(box: Box) -> bool:
    return box.center_y > BOTTOM_ZONE and abs(box.center_x - 0.5) < 0.1


def reject_stacks(lines: Sequence[Line]) -> None:
    """Reject credits and pages of text: tall stacks of lines of similar size."""
    for frame_lines in lines_by_frame(line for line in lines if not line.verdict).values():
        stacks: list[list[Line]] = []
        for line in sorted(frame_lines, key=lambda line: line.box.center_y):
            if stacks and _stacked(stacks[-1][-1].box, line.box):
                stacks[-1].append(line)
            else:
                stacks.append([line])
        for stack in stacks:
            if len(stack) >= _STACK_LINES:
                for member in stack:
                    member.reject("credits", 0.85)


def _stacked(upper: Box, lower: Box) -> bool:
    gap = lower.top - upper.bottom
    return gap < 2.0 * min(upper.height, lower.height) and size_ratio(upper.height, lower.height) < 1.8
