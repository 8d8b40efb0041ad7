"""Charts over a video's time: its captions by confidence, and the probabilities that they come from."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from captionacc_dagster.assets.pictures.drawing import (
    BACKGROUND,
    CROP,
    IN,
    NEUTRAL,
    TEXT,
    TRACK,
    WIDTH,
    by_confidence,
    clock,
    encode_png,
    legend,
)
from modal_gpu.frame_index import INDEX_RATE

#: Seconds in a row of the chart, unless the video is shorter or needs more than MOST_ROWS.
ROW_SECONDS = 60.0
MOST_ROWS = 20
_ROW, _BAR, _LEFT, _TOP, _RIGHT = 30, 18, 60, 26, 8


class _Chart:
    """Rows of equal length in time, under a legend."""

    def __init__(self, duration: float, width: int) -> None:
        self.duration = max(duration, 0.1)
        self.row_seconds = min(max(ROW_SECONDS, self.duration / MOST_ROWS), self.duration)
        self.rows = max(1, -int(-self.duration // self.row_seconds))
        self.track = width - _LEFT - _RIGHT
        self.image = Image.new("RGB", (width, self.rows * _ROW + _TOP), BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)
        font = ImageFont.load_default(12)
        for row in range(self.rows):
            begin, end = self.range(row)
            self.draw.text((6, self.top(row) + 1), clock(begin), fill=TEXT, font=font)
            right = _LEFT + max(1, self.pixels(end - begin)) - 1
            self.draw.rectangle((_LEFT, self.top(row), right, self.top(row) + _BAR - 1), fill=TRACK)

    def top(self, row: int) -> int:
        return _TOP + row * _ROW

    def range(self, row: int) -> tuple[float, float]:
        """Return a row's seconds ``[begin, end)``."""
        begin = row * self.row_seconds
        return begin, min(self.duration, begin + self.row_seconds)

    def pixels(self, seconds: float) -> int:
        return round(seconds / self.row_seconds * self.track)


def captions_timeline(
    extents: Sequence[tuple[float, float, float]], duration: float, width: int = WIDTH
) -> bytes:
    """Return a PNG: a row for each minute (or longer), a bar for each caption, coloured by confidence.

    ``extents`` are ``(start_seconds, end_seconds, confidence)``, ``confidence`` in [0, 1].
    """
    chart = _Chart(duration, width)
    for row in range(chart.rows):
        begin, end = chart.range(row)
        top = chart.top(row)
        for start, stop, confidence in extents:
            low, high = max(start, begin), min(stop, end)
            if low >= high:
                continue
            left, right = _LEFT + chart.pixels(low - begin), _LEFT + chart.pixels(high - begin)
            # A gap of a pixel keeps neighbours apart.
            box = (left, top, max(left, right - 2), top + _BAR - 1)
            chart.draw.rectangle(box, fill=by_confidence(confidence))
    entries = [(by_confidence(value), text) for value, text in ((1.0, "sure"), (0.75, "0.75"), (0.5, "0.5"))]
    legend(chart.draw, (_LEFT, 6), [*entries, (TRACK, "no caption")])
    return encode_png(chart.image)


def extents_timeline(
    presence: npt.NDArray[np.float32], change: npt.NDArray[np.float32], width: int = WIDTH
) -> bytes:
    """Return a PNG of what the network sees: text present as a green curve, changes as yellow needles.

    ``presence`` (n,) is each frame's probability of a caption, ``change`` (n - 1,) each pair's of a
    difference between its frames; at :data:`INDEX_RATE` frames a second.
    """
    chart = _Chart(len(presence) / INDEX_RATE, width)
    pixels = np.asarray(chart.image).copy()
    heights = np.arange(_BAR, 0, -1)[:, None] / _BAR
    for row in range(chart.rows):
        begin, end = chart.range(row)
        columns = max(1, chart.pixels(end - begin))
        edges = np.linspace(begin, end, columns + 1) * INDEX_RATE
        shown = _columns(presence, edges, np.mean)
        needles = _columns(change, edges, np.max)
        track = pixels[chart.top(row) : chart.top(row) + _BAR, _LEFT : _LEFT + columns]
        track[heights <= shown] = IN
        track[(heights <= shown) & (shown > 0.2) & (shown < 0.8)] = NEUTRAL
        # Below this, no caption begins or ends there.
        track[(heights <= needles) & (needles >= 0.1)] = CROP
    image = Image.fromarray(pixels)
    entries = [(IN, "caption"), (NEUTRAL, "perhaps a caption"), (CROP, "change"), (TRACK, "no caption")]
    legend(ImageDraw.Draw(image), (_LEFT, 6), entries)
    return encode_png(image)


def _columns(
    values: npt.NDArray[np.float32],
    edges: npt.NDArray[np.float64],
    reduce: Callable[[npt.NDArray[np.float32]], np.floating],
) -> npt.NDArray[np.float64]:
    """Return one value for each pair of neighbouring edges, at least one frame wide; 0 beyond the end."""
    found = np.zeros(len(edges) - 1)
    for place, (low, high) in enumerate(zip(edges[:-1].astype(int), edges[1:].astype(int), strict=True)):
        part = values[low : max(low + 1, high)]
        if len(part):
            found[place] = reduce(part)
    return found
