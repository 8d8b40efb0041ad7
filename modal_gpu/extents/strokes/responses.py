"""Stroke responses of strips: where thin bright or dark structures stand out from their surroundings."""

from dataclasses import dataclass

import cv2
import numpy as np

from modal_gpu.extents.predictor import FractionBox, Observation, StripHints
from modal_gpu.extents.strokes.settings import Calibration, Grid, Image, StrokeSettings

#: Windows that one character covers.
_STRONGEST = 10


@dataclass(frozen=True)
class Geometry:
    """Sizes at working scale, in pixels, and the grid of cells that windows consist of."""

    height: int
    width: int
    kernel: Image
    #: Columns and rows of the cell grid; a cell is a quarter of a line height.
    grid: tuple[int, int]
    #: 1 where strokes count, 0 in ignored boxes.
    allowed: Image
    #: Weight of each window for presence: captions pass through their anchor, clutter may not.
    zone: Grid

    @classmethod
    def of(cls, strip: Image, hints: StripHints, scale: float, settings: StrokeSettings) -> "Geometry":
        """Return the geometry of strips of the size of ``strip``."""
        height, width = strip.shape
        line = max(6.0, hints.line_height * height)
        side = max(3, round(line * settings.stroke_width) | 1)
        cell = max(2, round(line / 4))
        allowed = np.ones((height, width), np.uint8)
        for box in hints.ignore_boxes:
            allowed[pixels(box, height, width, margin=line / 6)] = 0
        columns, rows = max(1, round(width / cell)), max(1, round(height / cell))
        zone = np.ones((rows, columns), np.float32)
        if hints.anchor_position is not None and hints.anchor_type is not None:
            reach = {"left": (1, 6), "right": (6, 1)}.get(hints.anchor_type, (4, 4))
            at = hints.anchor_position * columns
            column = np.arange(columns) + 0.5
            zone[:, (column < at - 4 * reach[0]) | (column > at + 4 * reach[1])] = 0.5
        return cls(height, width, np.ones((side, side), np.uint8), (columns, rows), allowed, zone)

    def windows(self, image: Grid) -> Grid:
        """Return means over 3 × 3 cells around each cell, about one character; float32 (rows, columns)."""
        means = cv2.resize(image, self.grid, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.blur(means, (3, 3), borderType=cv2.BORDER_CONSTANT), np.float32)

    def respond(self, strip: Image, bright: bool) -> Image:
        """Return the stroke response, uint8: how far thin structures stand out from their surroundings."""
        operation = cv2.MORPH_TOPHAT if bright else cv2.MORPH_BLACKHAT
        response = cv2.morphologyEx(strip, operation, self.kernel)
        return np.asarray(cv2.GaussianBlur(response, (3, 3), 0), np.uint8)

    def covered(self, observation: Observation) -> Image:
        """Return 1 inside the caption boxes of an observation, 0 elsewhere; uint8 (height, width)."""
        inside = np.zeros((self.height, self.width), np.uint8)
        for box in observation.caption_boxes:
            inside[pixels(box, self.height, self.width)] = 1
        return inside


@dataclass(frozen=True)
class Block:
    """Consecutive strips at working scale; the first one has the video's index ``first``."""

    strips: list[Image]
    first: int
    hints: StripHints
    geometry: Geometry
    settings: StrokeSettings

    def observations(self) -> list[Observation]:
        """Return the observations of the block's own frames."""
        end = self.first + len(self.strips)
        return [seen for seen in self.hints.observations if self.first <= seen.index < end]

    def strip(self, observation: Observation) -> Image:
        """Return the strip of one of :meth:`observations`."""
        return self.strips[observation.index - self.first]


def pixels(box: FractionBox, height: int, width: int, margin: float = 0.0) -> tuple[slice, slice]:
    """Return the rows and columns of a box; ``margin`` in pixels is added on each side."""
    left, top, right, bottom = box
    return (
        slice(max(0, int(top * height - margin)), min(height, int(np.ceil(bottom * height + margin)))),
        slice(max(0, int(left * width - margin)), min(width, int(np.ceil(right * width + margin)))),
    )


def relative(response: Image, calibration: Calibration, settings: StrokeSettings) -> Grid:
    """Return the response relative to text: 0 for noise, 1 for the caption's strokes, at most 1.5."""
    result = (response.astype(np.float32) - settings.noise_floor) * np.float32(1 / calibration.strength)
    return np.clip(result, 0, 1.5, out=result)


def top_energy(energy: Grid) -> Grid:
    """Return the mean of each frame's ten strongest windows; (k, rows, columns) to (k,)."""
    flat = energy.reshape(len(energy), -1)
    count = min(_STRONGEST, flat.shape[1])
    strongest = np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:]
    return np.asarray(strongest.mean(axis=1), np.float32)
