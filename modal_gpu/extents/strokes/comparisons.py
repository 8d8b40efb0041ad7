"""Windows of neighbouring strips, compared by the cosine between their stroke responses."""

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.strokes.responses import Block, relative
from modal_gpu.extents.strokes.settings import Calibration, Grid, Image

#: Frame distances compared.
LAGS = (1, 2, 3, 8)
#: Share of a block's observations from which a standing stroke is a caption and not a logo.
_STANDING_CAPTION = 0.7


@dataclass
class Comparisons:
    """Window grids (k, rows, columns) of consecutive frames.

    ``cosine[k][t]`` compares frame t with t − ``LAGS[k]``; it is 1 where there is no such frame.
    ``luma`` is the mean brightness of each cell.
    """

    energy: Grid
    cosine: list[Grid]
    luma: Grid


def compare(block: Block, calibration: Calibration) -> Comparisons:
    """Compare each strip of a block with the ones :data:`LAGS` before it."""
    geometry, settings = block.geometry, block.settings
    responses = [geometry.respond(strip, calibration.bright) for strip in block.strips]
    allowed = _without_logos(block, responses, calibration.strength)
    shape = (len(block.strips), geometry.grid[1], geometry.grid[0])
    energy = np.empty(shape, np.float32)
    luma = np.empty(shape, np.float32)
    cosine = [np.ones(shape, np.float32) for _ in LAGS]
    earlier: deque[Grid] = deque(maxlen=max(LAGS))
    faint = 0.04 * settings.text_energy  # keeps noise from looking like text of the same shape
    for t, (strip, response) in enumerate(zip(block.strips, responses, strict=True)):
        value = relative(response * allowed, calibration, settings)
        energy[t] = geometry.windows(value * value)
        luma[t] = cv2.resize(strip, geometry.grid, interpolation=cv2.INTER_AREA)
        for place, lag in enumerate(LAGS):
            if lag <= len(earlier):
                product = geometry.windows(value * earlier[-lag])
                scale = np.sqrt((energy[t] + faint) * (energy[t - lag] + faint))
                cosine[place][t] = (product + faint) / scale
        earlier.append(value)
    return Comparisons(energy, cosine, luma)


def _without_logos(block: Block, responses: list[Image], strength: float) -> Image:
    """Return 1 where strokes count: outside ignored boxes and outside strokes that hardly ever go away."""
    geometry, settings = block.geometry, block.settings
    if len(responses) < settings.persistent_frames:
        return geometry.allowed
    sampled = responses[::5]
    count = np.zeros((geometry.height, geometry.width), np.uint16)
    for response in sampled:
        count += response > 0.4 * strength
    persistent = (count >= settings.persistent_share * len(sampled)).astype(np.uint8)
    seen = block.observations()
    if seen:
        covered = np.zeros((geometry.height, geometry.width), np.uint16)
        for observation in seen:
            covered += geometry.covered(observation)
        persistent[covered >= _STANDING_CAPTION * len(seen)] = 0
    logos = np.asarray(cv2.dilate(persistent, np.ones((3, 3), np.uint8)), np.uint8)
    return geometry.allowed * (1 - logos)


def shifted(grid: Grid, by: int, fill: float) -> Grid:
    """Return ``result[t] = grid[t + by]``, ``fill`` beyond the ends."""
    result = np.full_like(grid, fill)
    if by > 0:
        result[:-by] = grid[by:]
    elif by < 0:
        result[-by:] = grid[:by]
    else:
        result[:] = grid
    return result


def logistic(value: NDArray[np.floating]) -> Grid:
    """Return probabilities of log-odds, float32."""
    return (1 / (1 + np.exp(-np.clip(value, -12, 12)))).astype(np.float32)
