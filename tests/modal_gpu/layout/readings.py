"""Readings of full frames as an engine returns them, and what an analysis made of them."""

import random

from modal_gpu.layout.analysis import Layout, analyze_layout
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

WORDS = [
    *("where", "were", "you", "last", "night", "we", "waited", "two", "hours", "at"),
    *("the", "station", "nobody", "came", "it", "is", "only", "wind"),
]


def text(seed: int, words: int = 4) -> str:
    """Words that differ from seed to seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=words)) + f" {chr(97 + seed % 26) * 3}"


def line(
    content: str,
    center_y: float,
    *,
    center: float | None = None,
    left: float | None = None,
    right: float | None = None,
    height: float = 0.065,
    char: float = 0.016,
) -> OcrLine:
    """A line as wide as its text, placed by its middle (default 0.5) or by one edge."""
    width = min(char * len(content), 0.98)
    if left is None:
        left = right - width if right is not None else (0.5 if center is None else center) - width / 2
    left = min(max(left, 0.0), 1 - width)
    return OcrLine(content, 0.98, Box(left, center_y - height / 2, left + width, center_y + height / 2))


LOGO = line("CH7 LIVE", 0.05, right=0.98, height=0.06)


def video(*frames: list[OcrLine], step: int = 30) -> list[FrameOcr]:
    return [FrameOcr.of(index * step, lines) for index, lines in enumerate(frames)]


def analyze(frames: list[FrameOcr], **options) -> Layout:
    return analyze_layout(frames, 1280, 720, **options)


def captions_in(layout: Layout, frames: list[FrameOcr]) -> set[str]:
    """Texts of the lines predicted as captions."""
    by_key = {(frame.frame_index, i): line.text for frame in frames for i, line in enumerate(frame.lines)}
    assert {(p.frame_index, p.box_index) for p in layout.predictions} == set(by_key)
    assert all(0.5 <= p.confidence <= 1 for p in layout.predictions)
    return {by_key[p.frame_index, p.box_index] for p in layout.predictions if p.label == "in"}


def assert_holds(layout: Layout, frames: list[FrameOcr], texts: set[str]) -> None:
    crop = layout.crop_region
    for frame in frames:
        for one in frame.lines:
            if one.text in texts:
                assert crop.crop_left <= one.box.left and one.box.right <= crop.crop_right
                assert crop.crop_top < one.box.top and one.box.bottom < crop.crop_bottom
