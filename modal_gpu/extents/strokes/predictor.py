"""Classical pair predictor: compares the thin bright or dark strokes of neighbouring strips.

Captions are made of strokes of one width that stand out from what is beside them. A top-hat
filter (image minus its morphological opening) keeps just these, so the moving picture behind
them mostly vanishes. Two frames are compared in small windows by the cosine between their stroke
responses: it does not change while a caption fades, and a window of one character's size drops
when that character changes.
"""

import hashlib
import itertools
import json
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import FractionBox, Observation, PairBatch, StripFrame, StripHints

Image = NDArray[np.uint8]
Grid = NDArray[np.float32]

#: Frames looked at before and after a pair.
_CONTEXT = 8
#: Frame distances compared.
_LAGS = (1, 2, 3, 8)


@dataclass(frozen=True)
class StrokeSettings:
    """Knobs of :class:`StrokePredictor`. Sizes are in caption line heights, energies relative to text."""

    #: Line height in pixels that strips are scaled down to; smaller ones stay as they are.
    working_line_height: int = 36
    #: Widest stroke kept, in line heights.
    stroke_width: float = 0.28
    #: Frames held at once.
    block_frames: int = 600
    #: Response (of 255) that compression noise makes.
    noise_floor: float = 6.0
    #: Mean squared response of a window that holds text, relative to full strength.
    text_energy: float = 0.05
    #: A pixel that is a stroke in this share of a block's frames is a logo, in blocks long enough.
    persistent_share: float = 0.85
    persistent_frames: int = 300
    #: Windows below this cosine have changed, above the other one they stand.
    changed_cosine: float = 0.6
    standing_cosine: float = 0.8
    #: Windows that the smallest change to be noticed covers, on a picture that stands still.
    glyph_windows: float = 5.0
    #: Smallest steady difference noticed, relative to the strongest text windows, and how many windows.
    least_change: float = 0.04
    steady_windows: float = 4.0


@dataclass(frozen=True)
class Calibration:
    """What is particular to one video's captions. ``strength`` is their top-hat response (of 255)."""

    bright: bool
    strength: float
    #: Energy of the strongest windows at which a caption is as likely as not.
    presence_energy: float
    #: Frames with a caption that this was learned from.
    observed: int = 0


class StrokePredictor:
    """:class:`~modal_gpu.extents.predictor.PairPredictor` without a learned model.

    Calibrated from the observations of the block of frames that has had most of them so far;
    without any, from the strongest strokes of the first block.
    """

    #: What it learns in one block it uses in the next.
    margin = None

    def __init__(self, settings: StrokeSettings | None = None) -> None:
        self.settings = settings or StrokeSettings()
        self.model_version = "strokes-1"
        parameters = json.dumps([self.model_version, asdict(self.settings)], sort_keys=True)
        self.model_sha256 = hashlib.sha256(parameters.encode()).hexdigest()

    def predict(
        self, frames: Iterable[StripFrame], hints: StripHints, first_index: int = 0
    ) -> Iterator[PairBatch]:
        """Predict strips of one size that come in index order from 0; holds about two blocks' worth.

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
            geometry = _Geometry.of(held[0], hints, strips.scale, self.settings)
            fitted = _calibrate(held, start - behind, hints, geometry, self.settings)
            if calibration is None or fitted.observed > calibration.observed:
                calibration = fitted
            presence, same = _predict_block(held, start - behind, hints, geometry, calibration, self.settings)
            yield PairBatch(start, presence[behind : behind + fresh], same[behind : behind + fresh])
            start += fresh
            if last:
                return
            held = held[behind + fresh - _CONTEXT :] if behind + fresh >= _CONTEXT else held


class _Scaled:
    """Strips' luma at working scale, checked for order and size."""

    def __init__(self, frames: Iterable[StripFrame], hints: StripHints, line_height: int) -> None:
        self._frames = iter(frames)
        self._hints = hints
        self._line_height = line_height
        self._shape: tuple[int, int] | None = None
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
        return cv2.resize(luma, size, interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class _Geometry:
    """Sizes at working scale, in pixels, and the grid of cells that windows are made of."""

    height: int
    width: int
    kernel: Image
    #: Columns and rows of the cell grid; a cell is a quarter of a line height.
    grid: tuple[int, int]
    #: 1 where strokes count, 0 in boxes to be left out.
    allowed: Image
    #: Weight of each window for presence: captions pass through their anchor, clutter may not.
    zone: Grid

    @classmethod
    def of(cls, strip: Image, hints: StripHints, scale: float, settings: StrokeSettings) -> "_Geometry":
        height, width = strip.shape
        line = max(6.0, hints.line_height * height)
        side = max(3, round(line * settings.stroke_width) | 1)
        cell = max(2, round(line / 4))
        allowed = np.ones((height, width), np.uint8)
        for box in hints.ignore_boxes:
            margin = line / 6
            rows, columns = _pixels(box, height, width, margin)
            allowed[rows, columns] = 0
        columns, rows = max(1, round(width / cell)), max(1, round(height / cell))
        zone = np.ones((rows, columns), np.float32)
        if hints.anchor_position is not None and hints.anchor_type is not None:
            reach = {"left": (1, 6), "right": (6, 1)}.get(hints.anchor_type, (4, 4))
            at = hints.anchor_position * columns
            column = np.arange(columns) + 0.5
            zone[:, (column < at - 4 * reach[0]) | (column > at + 4 * reach[1])] = 0.5
        return cls(height, width, np.ones((side, side), np.uint8), (columns, rows), allowed, zone)

    def windows(self, image: Grid) -> Grid:
        """Means over 3 × 3 cells around each cell, about one character; float32 (rows, columns)."""
        means = cv2.resize(image, self.grid, interpolation=cv2.INTER_AREA)
        return cv2.blur(means, (3, 3), borderType=cv2.BORDER_CONSTANT)

    def respond(self, strip: Image, bright: bool) -> Image:
        """Stroke response, uint8: how far thin structures stand out from what is beside them."""
        operation = cv2.MORPH_TOPHAT if bright else cv2.MORPH_BLACKHAT
        response = cv2.morphologyEx(strip, operation, self.kernel)
        return cv2.GaussianBlur(response, (3, 3), 0)


def _pixels(box: FractionBox, height: int, width: int, margin: float = 0.0) -> tuple[slice, slice]:
    left, top, right, bottom = box
    return (
        slice(max(0, int(top * height - margin)), min(height, int(np.ceil(bottom * height + margin)))),
        slice(max(0, int(left * width - margin)), min(width, int(np.ceil(right * width + margin)))),
    )


def _top_energy(energy: Grid) -> NDArray[np.float32]:
    """Mean of each frame's ten strongest windows: one character's worth. (k, rows, columns) to (k,)."""
    flat = energy.reshape(len(energy), -1)
    count = min(10, flat.shape[1])
    return np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:].mean(axis=1)


def _calibrate(
    strips: list[Image], first: int, hints: StripHints, geometry: _Geometry, settings: StrokeSettings
) -> Calibration:
    """Polarity, strength and presence threshold of a video's captions."""
    seen = [o for o in hints.observations if first <= o.index < first + len(strips)]
    visible = [o for o in seen if o.caption_boxes][:40]
    empty = [o for o in seen if not o.caption_boxes][:40]

    def strengths(bright: bool) -> list[float]:
        found = []
        for observation in visible:
            response = geometry.respond(strips[observation.index - first], bright)
            for box in observation.caption_boxes:
                inside = response[_pixels(box, geometry.height, geometry.width)]
                if inside.size:
                    # The middle of the strokes has the peak; two thirds of it is what they have on the whole.
                    found.append(0.65 * float(np.percentile(inside, 92)))
        return found

    if not visible:
        sampled = strips[:: max(1, len(strips) // 60)]
        strongest = [np.percentile(geometry.respond(strip, True) * geometry.allowed, 99) for strip in sampled]
        strength = max(24.0, 0.65 * float(np.percentile(strongest, 80)))
        return Calibration(True, strength, 3 * settings.text_energy)

    bright, dark = float(np.median(strengths(True))), float(np.median(strengths(False)))
    # Outlined bright text answers to both; its fill is what has the caption's colour.
    is_bright = bright >= 0.8 * dark
    calibration = Calibration(
        is_bright, max(24.0, bright if is_bright else dark), 3 * settings.text_energy, len(visible)
    )

    def tops(observations: list[Observation]) -> NDArray[np.float32]:
        responses = [
            geometry.respond(strips[o.index - first], is_bright) * geometry.allowed for o in observations
        ]
        values = [_relative(response, calibration, settings) for response in responses]
        return _top_energy(np.stack([geometry.windows(value * value) for value in values]))

    shown = tops(visible)
    # Some of the frames may have been sampled in the middle of a fade.
    present = float(max(np.percentile(shown, 10), 0.35 * np.median(shown)))
    absent = float(np.percentile(tops(empty), 75)) if empty else 0.0
    middle = np.sqrt(present * max(absent, 0.05 * present))
    return replace(calibration, presence_energy=float(np.clip(middle, 0.3 * present, 0.6 * present)))


def _relative(response: Image, calibration: Calibration, settings: StrokeSettings) -> Grid:
    """Response relative to text: 0 for noise, 1 for the caption's strokes, at most 1.5."""
    result = (response.astype(np.float32) - settings.noise_floor) * np.float32(1 / calibration.strength)
    return np.clip(result, 0, 1.5, out=result)


def _without_logos(
    responses: list[Image],
    first: int,
    hints: StripHints,
    geometry: _Geometry,
    strength: float,
    settings: StrokeSettings,
) -> Image:
    """1 where strokes count: outside ignored boxes and outside strokes that hardly ever go away."""
    if len(responses) < settings.persistent_frames:
        return geometry.allowed
    sampled = responses[::5]
    count = np.zeros((geometry.height, geometry.width), np.uint16)
    for response in sampled:
        count += response > 0.4 * strength
    persistent = (count >= settings.persistent_share * len(sampled)).astype(np.uint8)
    # A caption that stands through the whole block is not a logo.
    seen = [o for o in hints.observations if first <= o.index < first + len(responses)]
    if seen:
        covered = np.zeros((geometry.height, geometry.width), np.uint16)
        for observation in seen:
            frame = np.zeros((geometry.height, geometry.width), np.uint16)
            for box in observation.caption_boxes:
                frame[_pixels(box, geometry.height, geometry.width)] = 1
            covered += frame
        persistent[covered >= 0.7 * len(seen)] = 0
    return geometry.allowed * (1 - cv2.dilate(persistent, np.ones((3, 3), np.uint8)))


@dataclass
class _Comparisons:
    """Window grids (k, rows, columns) of consecutive frames.

    ``cosine[k][t]`` compares frame t with t − ``_LAGS[k]``; 1 for the frames that have none.
    ``luma`` is the mean brightness a cell.
    """

    energy: Grid
    cosine: list[Grid]
    luma: Grid


def _compare(
    strips: list[Image],
    first: int,
    hints: StripHints,
    geometry: _Geometry,
    calibration: Calibration,
    settings: StrokeSettings,
) -> _Comparisons:
    responses = [geometry.respond(strip, calibration.bright) for strip in strips]
    allowed = _without_logos(responses, first, hints, geometry, calibration.strength, settings)
    shape = (len(strips), geometry.grid[1], geometry.grid[0])
    energy = np.empty(shape, np.float32)
    luma = np.empty(shape, np.float32)
    cosine = [np.ones(shape, np.float32) for _ in _LAGS]
    earlier: deque[Grid] = deque(maxlen=max(_LAGS))
    faint = 0.04 * settings.text_energy  # keeps noise from looking like text of the same shape
    for t, (strip, response) in enumerate(zip(strips, responses, strict=True)):
        value = _relative(response * allowed, calibration, settings)
        energy[t] = geometry.windows(value * value)
        luma[t] = cv2.resize(strip, geometry.grid, interpolation=cv2.INTER_AREA)
        for place, lag in enumerate(_LAGS):
            if lag <= len(earlier):
                product = geometry.windows(value * earlier[-lag])
                scale = np.sqrt((energy[t] + faint) * (energy[t - lag] + faint))
                cosine[place][t] = (product + faint) / scale
        earlier.append(value)
    return _Comparisons(energy, cosine, luma)


def _shifted(grid: Grid, by: int, fill: float) -> Grid:
    """``result[t] = grid[t + by]``, ``fill`` beyond the ends."""
    result = np.full_like(grid, fill)
    if by > 0:
        result[:-by] = grid[by:]
    elif by < 0:
        result[-by:] = grid[:by]
    else:
        result[:] = grid
    return result


def _logistic(value: NDArray[np.float32]) -> NDArray[np.float32]:
    return (1 / (1 + np.exp(-np.clip(value, -12, 12)))).astype(np.float32)


def _predict_block(
    strips: list[Image],
    first: int,
    hints: StripHints,
    geometry: _Geometry,
    calibration: Calibration,
    settings: StrokeSettings,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Presence and same-as-before of each strip of a block, context included."""
    seen = _compare(strips, first, hints, geometry, calibration, settings)
    energy, (one, two, three, _) = seen.energy, seen.cosine
    earlier = _shifted(energy, -1, 0.0)
    strongest = np.maximum(energy, earlier)
    # Two faint frames (one caption fades out, the next one in) are judged by what strokes they have.
    level = np.clip(0.2 * _top_energy(strongest), 0.15 * settings.text_energy, settings.text_energy)
    level = level[:, None, None]
    text = strongest > level

    # Likeness of the whole text, by energy: a fading caption keeps it, clutter weighs little.
    weight = strongest * text
    total = weight.sum(axis=(1, 2))
    likeness = np.where(total > 0, (weight * one).sum(axis=(1, 2)) / np.maximum(total, 1e-6), 0).astype(
        np.float32
    )
    presence = _presence(seen, likeness, text.sum(axis=(1, 2)), hints, geometry, calibration, settings)

    # A window has changed if it differs from the frame before and no frame beside the pair
    # bridges the difference (a flash, a single damaged frame).
    bridged = np.maximum(_shifted(two, 1, 0.0), two)
    bridged[0] = 0
    changed = text & (one < settings.changed_cosine) & (bridged < 0.7)
    # In a cross-fade neighbours stay alike while frames further apart don't: put the change where
    # neighbours are least alike.
    across = _shifted(three, 1, 1.0)
    lowest = (
        (likeness <= _shifted(likeness, -1, 1.0))
        & (likeness <= _shifted(likeness, 1, 1.0))
        & (likeness < 0.92)
    )
    changed |= lowest[:, None, None] & text & (across < 0.45) & (one < 0.9)
    standing = text & (one > settings.standing_cosine)

    mass = np.minimum(1, strongest / (3 * level))
    # Text stands on its side of the pair; moving clutter doesn't.
    own_side = np.where(earlier >= energy, _shifted(one, -1, 0.0), _shifted(one, 1, 0.0))
    steady = np.clip((own_side - 0.5) / 0.4, 0, 1)
    # A change counts in the rows that hold the caption's lines, less in rows with hardly any strokes.
    row = ((changed | standing) * mass).sum(axis=2)
    row /= np.maximum(row.max(axis=1, keepdims=True), 1e-3)
    mass = mass * np.clip(row / 0.4, 0, 1)[:, :, None]
    lost = (changed * mass).sum(axis=(1, 2))
    lost_steady = (changed * mass * steady).sum(axis=(1, 2))
    kept = (standing * mass).sum(axis=(1, 2))
    share = lost / np.maximum(lost + kept, 1e-3)
    moved = np.abs(seen.luma - _shifted(seen.luma, -1, 0.0)) > 12
    moving = np.clip((moved.mean(axis=(1, 2)) - 0.2) / 0.4, 0, 1)

    by_share = 14 * (share - 0.4)
    by_glyph = 3 * np.log(np.maximum(lost_steady, 1e-3) / settings.glyph_windows)
    different = moving * by_share + (1 - moving) * np.maximum(by_share, by_glyph)
    different = np.maximum(different, _steady_change(seen, settings))
    different = np.maximum(different, _fade_between(seen, settings))
    same = _logistic(-different)
    same[0] = 1
    return presence, same


def _steady_change(seen: _Comparisons, settings: StrokeSettings) -> NDArray[np.float32]:
    """Log-odds that a part of the text as small as one digit changed for good between t − 1 and t.

    In each window the least difference across the pair (of the four pairs of frames t − 2 … t + 1
    that span it) is held against the differences on either side of it: text stands there, clutter
    and noise don't.
    """
    energy, (one, two, three, _) = seen.energy, seen.cosine

    def difference(cosine: Grid, lag: int) -> Grid:
        return (1 - cosine) * 2 * np.maximum(energy, _shifted(energy, -lag, 0.0))

    first, second, third = difference(one, 1), difference(two, 2), difference(three, 3)
    across = np.minimum(
        np.minimum(first, second), np.minimum(_shifted(second, 1, 0.0), _shifted(third, 1, 0.0))
    )
    # Footage of a lower frame rate repeats frames, so one pair on each side does not tell.
    within = np.zeros_like(first)
    for shift in (1, 2, 3):
        np.maximum(within, _shifted(first, shift, 0.0), out=within)
        np.maximum(within, _shifted(first, -shift, 0.0), out=within)
    strongest = np.maximum(energy, _shifted(energy, -1, 0.0))
    reference = np.maximum(_top_energy(strongest)[:, None, None], settings.text_energy)
    least = settings.least_change * reference
    excess = (across > least) & (across > 4 * (within + 0.2 * least)) & (strongest > 0.3 * reference)
    return 3 * np.log(np.maximum(excess.sum(axis=(1, 2)), 1e-3) / settings.steady_windows)


def _fade_between(seen: _Comparisons, settings: StrokeSettings) -> NDArray[np.float32]:
    """Log-odds that one text fades out and another one in, around t − 1 and t as the faintest pair.

    Neighbours are too alike, or too faint, to tell; the frames four before and four after are not.
    """
    strength = _top_energy(seen.energy)
    pair = np.minimum(strength, _shifted(strength, -1, 0.0))
    valley = np.ones(len(pair), bool)
    for shift in range(1, 5):
        valley &= (pair <= _shifted(pair, shift, np.inf)) & (pair < _shifted(pair, -shift, np.inf))
    before, after = _shifted(strength, -4, 0.0), _shifted(strength, 4, 0.0)
    valley &= (pair < 0.5 * np.minimum(before, after)) & (np.minimum(before, after) > settings.text_energy)

    weight = np.maximum(_shifted(seen.energy, 4, 0.0), _shifted(seen.energy, -4, 0.0))
    weight *= weight > 0.3 * np.maximum(before, after)[:, None, None]
    alike = (weight * _shifted(seen.cosine[3], 4, 1.0)).sum(axis=(1, 2)) / np.maximum(
        weight.sum(axis=(1, 2)), 1e-6
    )
    return np.where(valley, 14 * (0.7 - alike), -12).astype(np.float32)


def _presence(
    seen: _Comparisons,
    likeness,
    windows,
    hints: StripHints,
    geometry: _Geometry,
    calibration: Calibration,
    settings: StrokeSettings,
) -> NDArray[np.float32]:
    one = seen.cosine[0]
    before, after = one.copy(), _shifted(one, 1, 0.0)
    before[0] = 0
    steady = np.clip((np.maximum(before, after) - 0.5) / 0.4, 0, 1)
    top = _top_energy(seen.energy * (0.4 + 0.6 * steady) * geometry.zone)
    presence = _logistic(4 * np.log(np.maximum(top, 1e-4) / calibration.presence_energy))
    # Fades: a frame too faint to tell alone, but of its neighbour's very shape, shows the caption.
    alike = _logistic((likeness - 0.75) / 0.05) * (windows >= 12)
    # One frame that lacks the text of both its neighbours is a flash or damage, not a gap.
    around = np.maximum(seen.energy, _shifted(seen.energy, -2, 0.0))
    around *= around > settings.text_energy
    total = np.maximum(around.sum(axis=(1, 2)), 1e-6)
    bridge = _logistic(((around * seen.cosine[1]).sum(axis=(1, 2)) / total - 0.75) / 0.05)
    presence[1:-1] = np.maximum(presence[1:-1], np.minimum(presence[:-2], presence[2:]) * bridge[2:])
    for _ in range(3):
        from_before = np.zeros_like(presence)
        from_before[1:] = presence[:-1] * alike[1:]
        from_after = np.zeros_like(presence)
        from_after[:-1] = presence[1:] * alike[1:]
        presence = np.maximum(presence, np.maximum(from_before, from_after))
    return presence
