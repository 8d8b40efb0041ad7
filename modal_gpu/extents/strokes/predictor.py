"""The stroke predictor: blocks of strips, calibrated and compared.

Captions consist of strokes of one width that stand out from their surroundings. A top-hat filter
(image minus its morphological opening) keeps just these, so the moving picture behind them mostly
vanishes. Two frames are compared in small windows by the cosine between their stroke responses: it
does not change while a caption fades, and a window of one character's size drops when that
character changes.
"""

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

import cv2
import numpy as np

from modal_gpu.extents.predictor import PairBatch, StripFrame, StripHints
from modal_gpu.extents.strokes.calibration import calibrate
from modal_gpu.extents.strokes.changes import same_text, text_of
from modal_gpu.extents.strokes.comparisons import compare
from modal_gpu.extents.strokes.presence import presence_of
from modal_gpu.extents.strokes.responses import Block, Geometry
from modal_gpu.extents.strokes.settings import Calibration, Grid, Image, StrokeSettings

#: Frames before and after a pair that its probabilities depend on.
_CONTEXT = 8


class StrokePredictor:
    """A :class:`~modal_gpu.extents.predictor.PairPredictor` without a learned model.

    It is calibrated from the observations of the block of frames that has had most of them so far;
    without any, from the strongest strokes of the first block.
    """

    #: What it learns in one block it uses in the next.
    margin: int | None = None

    def __init__(self, settings: StrokeSettings | None = None) -> None:
        self.settings = settings or StrokeSettings()
        self.model_version = "strokes-1"
        parameters = json.dumps([self.model_version, asdict(self.settings)], sort_keys=True)
        self.model_sha256 = hashlib.sha256(parameters.encode()).hexdigest()

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]:
        """Predict strips of one size that come in index order from 0; holds about two blocks of them.

        Raises ``ValueError`` when an index is missing or a strip differs in size.
        """
        if first_index:
            raise ValueError("the stroke predictor judges whole videos only")
        strips = _Scaled(frames, hints, self.settings.working_line_height)
        held: list[Image] = []
        start = 0  # index of the first frame without a prediction
        calibration: Calibration | None = None
        while True:
            behind = min(start, _CONTEXT)
            wanted = behind + self.settings.block_frames + _CONTEXT - len(held)
            held.extend(itertools.islice(strips, max(0, wanted)))
            last = len(held) < behind + self.settings.block_frames + _CONTEXT
            fresh = len(held) - behind - (0 if last else _CONTEXT)
            if fresh <= 0:
                return
            geometry = Geometry.of(held[0], hints, strips.scale, self.settings)
            block = Block(held, start - behind, hints, geometry, self.settings)
            fitted = calibrate(block)
            if calibration is None or fitted.observed > calibration.observed:
                calibration = fitted
            presence, same = _judged(block, calibration)
            yield PairBatch(start, presence[behind : behind + fresh], same[behind : behind + fresh])
            start += fresh
            if last:
                return
            held = held[behind + fresh - _CONTEXT :] if behind + fresh >= _CONTEXT else held


def _judged(block: Block, calibration: Calibration) -> tuple[Grid, Grid]:
    """Return presence and same-as-before probabilities of each strip of a block, context included."""
    seen = compare(block, calibration)
    text = text_of(seen, block.settings)
    return presence_of(seen, text, block, calibration), same_text(seen, text, block.settings)


class _Scaled:
    """Strips' luma at working scale, checked for order and size."""

    def __init__(self, frames: Iterable[StripFrame], hints: StripHints, line_height: int) -> None:
        self._frames = iter(frames)
        self._hints = hints
        self._line_height = line_height
        self._shape: tuple[int, ...] | None = None
        self._next = 0
        self.scale = 1.0

    def __iter__(self) -> Iterator[Image]:
        return self

    def __next__(self) -> Image:
        frame = next(self._frames)
        luma = frame.luma
        if frame.index != self._next:
            raise ValueError(f"strip {frame.index} came where {self._next} was expected")
        if self._shape is None:
            self._shape = luma.shape
            self.scale = min(1.0, self._line_height / max(1.0, self._hints.line_height * luma.shape[0]))
        if luma.shape != self._shape:
            raise ValueError(f"strip {frame.index} is {luma.shape}, the ones before are {self._shape}")
        self._next += 1
        if self.scale == 1.0:
            return np.array(luma)
        height, width = luma.shape
        size = (max(1, round(width * self.scale)), max(1, round(height * self.scale)))
        return np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
