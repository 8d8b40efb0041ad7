"""Subtitle files: SRT, WebVTT, ASS and rows for JSON. Times are a player's."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from html import escape
from types import MappingProxyType
from typing import Any

import pysubs2

from modal_gpu.captions.growth import Cue, Growing, cues, text_lines
from modal_gpu.captions.placement import subrip_tag, webvtt_setting
from modal_gpu.captions.substation import AssLine, to_ass
from modal_gpu.contracts import CropRegion, crop_regions
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.timeline import Timeline

#: The timeline of a video whose index axis equals a player's times.
UNCHANGED = Timeline()
#: The crop region of each zone; empty if it does not matter where captions are shown.
Regions = Mapping[int, CropRegion]


@dataclass(frozen=True)
class TimedCue:
    """A cue with a player's times, in milliseconds; half-open ``[start, end)``."""

    start: int
    end: int
    cue: Cue

    @property
    def caption(self) -> Caption:
        """The cue's text and range."""
        return self.cue.caption


def timed_cues(
    captions: Iterable[Caption], timeline: Timeline = UNCHANGED, growing: Growing = "fold"
) -> list[TimedCue]:
    """Return the cues that viewers see, sorted by time; growing captions are folded, or kept apart.

    A cue ends at the latest where the next one of its zone starts, unless both are lines of one roll, or one
    of them is a person's; a cue left without time is dropped.
    """
    visible = sorted(
        (_timed(cue, timeline) for cue in cues(captions, growing)), key=lambda cue: (cue.start, cue.end)
    )
    found = []
    for place, cue in enumerate(visible):
        end = cue.end
        for following in visible[place + 1 :]:
            if following.start >= end:
                break
            if not _may_overlap(cue.cue, following.cue):
                end = following.start
        if cue.start < end:
            found.append(TimedCue(cue.start, end, cue.cue))
    return found


def shown(
    captions: Iterable[Caption], timeline: Timeline = UNCHANGED, growing: Growing = "fold"
) -> list[tuple[int, int, Caption]]:
    """Return ``(start, end, caption)`` of :func:`timed_cues`."""
    return [(cue.start, cue.end, cue.caption) for cue in timed_cues(captions, timeline, growing)]


def _timed(cue: Cue, timeline: Timeline) -> TimedCue:
    caption = cue.caption
    return TimedCue(
        round(timeline.start(caption.start_seconds, caption.start_index) * 1000),
        round(timeline.end(caption.end_seconds, caption.end_index) * 1000),
        cue,
    )


def _may_overlap(first: Cue, second: Cue) -> bool:
    if first.roll and first.roll == second.roll:
        return True
    one, other = first.caption, second.caption
    if one.zone != other.zone:
        return True
    confirmed = "confirmed" in (one.state, other.state)
    # Times alone overlap where both were rounded or refined.
    return confirmed and one.start_index < other.end_index and other.start_index < one.end_index


class SubtitleFormat(StrEnum):
    """The formats of subtitle files; the name is the file's extension."""

    srt = "srt"
    vtt = "vtt"
    ass = "ass"
    json = "json"


def are_placed(captions: Iterable[Caption], format: SubtitleFormat = SubtitleFormat.srt) -> bool:
    """Return whether a file says where captions are: ASS always, others if some are in a further zone."""
    return format is SubtitleFormat.ass or any(caption.zone for caption in captions)


def encoded(
    captions: Iterable[Caption],
    timeline: Timeline,
    format: SubtitleFormat,
    growing: Growing = "fold",
    layout: LayoutFile | None = None,
) -> bytes:
    """Return a subtitle file in UTF-8. ``layout`` says where the zones of placed captions are."""
    captions = list(captions)
    regions: Regions = {}
    if layout is not None and are_placed(captions):
        regions = crop_regions(layout.crop_region, layout.caption_zones)
    match format:
        case SubtitleFormat.srt:
            text = to_srt(captions, timeline, growing, regions)
        case SubtitleFormat.vtt:
            text = to_vtt(captions, timeline, growing, regions)
        case SubtitleFormat.ass:
            text = to_ass(_ass_lines(timed_cues(captions, timeline, growing)), layout)
        case SubtitleFormat.json:
            text = json.dumps(to_rows(captions, timeline, growing), ensure_ascii=False, indent=2) + "\n"
    return text.encode("utf-8")


def _ass_lines(timed: Iterable[TimedCue]) -> Iterator[AssLine]:
    for cue in timed:
        yield AssLine(cue.start, cue.end, cue.caption.best_text, cue.caption.zone)


def to_srt(
    captions: Iterable[Caption],
    timeline: Timeline = UNCHANGED,
    growing: Growing = "fold",
    regions: Regions = MappingProxyType({}),
) -> str:
    """Return SubRip text with line feeds; encode it as UTF-8.

    With several zones in ``regions``, captions of those in the upper half begin with the tag that most
    players place them by.
    """
    tags = {zone: subrip_tag(region) for zone, region in regions.items()} if len(regions) > 1 else {}
    return _file(timed_cues(captions, timeline, growing), lambda text, zone: tags.get(zone, "") + text)


def to_vtt(
    captions: Iterable[Caption],
    timeline: Timeline = UNCHANGED,
    growing: Growing = "fold",
    regions: Regions = MappingProxyType({}),
) -> str:
    """Return WebVTT text with line feeds, with ``&``, ``<`` and ``>`` escaped as its format requires.

    With several zones in ``regions``, captions of those above the lower third have a ``line`` setting.
    """
    timed = timed_cues(captions, timeline, growing)
    lines = _file(timed, lambda text, _: escape(text, quote=False), "vtt").split("\n")
    # In the escaped texts there is no arrow, so these are the lines of the cues' times.
    places = [place for place, line in enumerate(lines) if " --> " in line]
    settings = {zone: webvtt_setting(region) for zone, region in regions.items()} if len(regions) > 1 else {}
    for place, cue in zip(places, timed, strict=True):
        lines[place] += settings.get(cue.caption.zone, "")
    return "\n".join(lines)


def _file(timed: Iterable[TimedCue], written: Callable[[str, int], str], format: str = "srt") -> str:
    file = pysubs2.SSAFile()
    for cue in timed:
        text = "\n".join(text_lines(cue.caption.best_text))
        file.append(pysubs2.SSAEvent(cue.start, cue.end, written(text, cue.caption.zone)))
    # Without keep_ssa_tags, text in braces is dropped as styling.
    return file.to_string(format, keep_ssa_tags=True)


def to_rows(
    captions: Iterable[Caption], timeline: Timeline = UNCHANGED, growing: Growing = "fold"
) -> list[dict[str, Any]]:
    """Return JSON-able rows of the captions that viewers see; frames half-open, seconds in milliseconds.

    ``state_ids`` are the rows of captions.db that the caption was folded from.
    """
    return [
        {
            "id": timed.caption.id,
            "start_index": timed.caption.start_index,
            "end_index": timed.caption.end_index,
            "start_seconds": timed.start / 1000,
            "end_seconds": timed.end / 1000,
            "text": timed.caption.best_text,
            "source": "ocr" if timed.caption.text is None else "person",
            "ocr_confidence": timed.caption.ocr_confidence,
            "extents_confidence": timed.caption.confidence,
            "state": timed.caption.state,
            "zone": timed.caption.zone,
            "state_ids": [state.id for state in timed.cue.states],
        }
        for timed in timed_cues(captions, timeline, growing)
    ]
