"""Subtitle files: SRT, WebVTT and rows for JSON. Times are a player's."""

import json
from collections.abc import Iterable
from enum import StrEnum
from html import escape
from typing import Any

import pysubs2

from modal_gpu.databases.captions import Caption
from modal_gpu.timeline import Timeline

#: The timeline of a video whose index axis equals a player's times.
UNCHANGED = Timeline()


def shown(captions: Iterable[Caption], timeline: Timeline = UNCHANGED) -> list[tuple[int, int, Caption]]:
    """Return ``(start, end, caption)`` of the captions that viewers see, sorted, in a player's milliseconds.

    A caption ends at the latest where the next one starts; a caption left without time is dropped.
    """
    visible = sorted(
        (
            (
                round(timeline.start(caption.start_seconds, caption.start_index) * 1000),
                round(timeline.end(caption.end_seconds, caption.end_index) * 1000),
                caption,
            )
            for caption in captions
            if caption.is_shown
        ),
        key=lambda cue: cue[:2],
    )
    cues = []
    for place, (start, end, caption) in enumerate(visible):
        if place + 1 < len(visible):
            end = min(end, visible[place + 1][0])
        if start < end:
            cues.append((start, end, caption))
    return cues


class SubtitleFormat(StrEnum):
    """The formats of subtitle files; the name is the file's extension."""

    srt = "srt"
    vtt = "vtt"
    json = "json"


def encoded(captions: Iterable[Caption], timeline: Timeline, format: SubtitleFormat) -> bytes:
    """Return a subtitle file in UTF-8."""
    if format is SubtitleFormat.json:
        text = json.dumps(to_rows(captions, timeline), ensure_ascii=False, indent=2) + "\n"
    else:
        text = {"srt": to_srt, "vtt": to_vtt}[format](captions, timeline)
    return text.encode("utf-8")


def to_srt(captions: Iterable[Caption], timeline: Timeline = UNCHANGED) -> str:
    """Return SubRip text with line feeds; encode it as UTF-8."""
    return _file(captions, timeline, markup=False).to_string("srt", keep_ssa_tags=True)


def to_vtt(captions: Iterable[Caption], timeline: Timeline = UNCHANGED) -> str:
    """Return WebVTT text with line feeds, with ``&``, ``<`` and ``>`` escaped as its format requires."""
    return _file(captions, timeline, markup=True).to_string("vtt", keep_ssa_tags=True)


def _file(captions: Iterable[Caption], timeline: Timeline, markup: bool) -> pysubs2.SSAFile:
    # Written with keep_ssa_tags: without it, text in braces is dropped as styling.
    file = pysubs2.SSAFile()
    for start, end, caption in shown(captions, timeline):
        text = "\n".join(line.strip() for line in caption.best_text.splitlines() if line.strip())
        file.append(pysubs2.SSAEvent(start, end, escape(text, quote=False) if markup else text))
    return file


def to_rows(captions: Iterable[Caption], timeline: Timeline = UNCHANGED) -> list[dict[str, Any]]:
    """Return JSON-able rows of the captions that viewers see; frames half-open, seconds in milliseconds."""
    return [
        {
            "id": caption.id,
            "start_index": caption.start_index,
            "end_index": caption.end_index,
            "start_seconds": start / 1000,
            "end_seconds": end / 1000,
            "text": caption.best_text,
            "source": "ocr" if caption.text is None else "person",
            "ocr_confidence": caption.ocr_confidence,
            "extents_confidence": caption.confidence,
            "state": caption.state,
        }
        for start, end, caption in shown(captions, timeline)
    ]
