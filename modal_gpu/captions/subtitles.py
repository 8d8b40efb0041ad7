"""Captions as subtitle files: SRT, WebVTT and rows for JSON."""

from collections.abc import Iterable
from html import escape
from typing import Any

import pysubs2

from modal_gpu.databases.captions import Caption


def shown(captions: Iterable[Caption]) -> list[tuple[int, int, Caption]]:
    """Captions that viewers see, by start, with start and end in milliseconds.

    Ends are cut where the next caption starts; a caption that is left without time is dropped.
    """
    visible = sorted((c for c in captions if c.is_shown), key=lambda c: (c.start_seconds, c.end_seconds))
    cues = []
    for place, caption in enumerate(visible):
        start, end = round(caption.start_seconds * 1000), round(caption.end_seconds * 1000)
        if place + 1 < len(visible):
            end = min(end, round(visible[place + 1].start_seconds * 1000))
        if start < end:
            cues.append((start, end, caption))
    return cues


def to_srt(captions: Iterable[Caption]) -> str:
    """SubRip text with line feeds; encode it as UTF-8."""
    return _file(captions, markup=False).to_string("srt", keep_ssa_tags=True)


def to_vtt(captions: Iterable[Caption]) -> str:
    """WebVTT text with line feeds; ``&``, ``<`` and ``>`` are escaped, as its cue text demands."""
    return _file(captions, markup=True).to_string("vtt", keep_ssa_tags=True)


def _file(captions: Iterable[Caption], markup: bool) -> pysubs2.SSAFile:
    # Written with keep_ssa_tags: without it text in braces would be taken for styling and vanish.
    file = pysubs2.SSAFile()
    for start, end, caption in shown(captions):
        text = "\n".join(line.strip() for line in caption.best_text.splitlines() if line.strip())
        file.append(pysubs2.SSAEvent(start, end, escape(text, quote=False) if markup else text))
    return file


def to_rows(captions: Iterable[Caption]) -> list[dict[str, Any]]:
    """JSON-able rows of what viewers see; frames half-open, seconds to the millisecond."""
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
        for start, end, caption in shown(captions)
    ]
