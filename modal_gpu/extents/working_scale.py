"""Strips at working scale, where one caption line has the same height in every video.

The predictor and the training data share it, so that both see the same pictures.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from modal_gpu.extents.predictor import FractionBox, StripHints

Image = NDArray[np.uint8]

#: Height of a caption line's OCR box (about 1.7 times the font size) in a working strip, pixels.
LINE_HEIGHT = 24
#: Working strips are padded to multiples of this, pixels.
MULTIPLE = 8
#: Pixels of a working strip for each cell of the network's maps, in each direction.
STRIDE = 4
#: Channels of :func:`hint_planes`.
HINT_PLANES = 4

_LARGEST_SCALE = 2.0
_LARGEST_SIDE = 1024
_SMALLEST_HEIGHT = 16


def working_size(height: int, width: int, line_height: float) -> tuple[int, int]:
    """Return the height and width of the working strip of a ``height`` × ``width`` one, without padding.

    ``line_height`` is a fraction of the strip. The scale is at most 2, a side at most 1,024.
    """
    line = max(line_height, 0.02) * height
    scale = min(LINE_HEIGHT / line, _LARGEST_SCALE, _LARGEST_SIDE / max(height, width))
    return max(_SMALLEST_HEIGHT, round(height * scale)), max(_SMALLEST_HEIGHT, round(width * scale))


def scaled(luma: Image, size: tuple[int, int]) -> Image:
    """Scale a strip to ``size`` (height, width), uint8."""
    height, width = size
    shrinks = luma.shape[0] > height
    result = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(result, np.uint8)


def padded(strip: Image) -> Image:
    """Repeat the last row and column of a strip up to multiples of :data:`MULTIPLE`."""
    bottom, right = (-strip.shape[0]) % MULTIPLE, (-strip.shape[1]) % MULTIPLE
    if not (bottom or right):
        return strip
    return np.asarray(cv2.copyMakeBorder(strip, 0, bottom, 0, right, cv2.BORDER_REPLICATE), np.uint8)


def reference_picture(strips: Sequence[Image]) -> Image:
    """Return each pixel's median over strips of different times, uint8, halves rounded down.

    Captions come and go, so they vanish from it; logos, bars and still backgrounds remain.
    """
    pictures = list(strips)
    count, middle = len(pictures), (len(pictures) - 1) // 2
    # A bubble sort of each pixel, down to the middle place: with whole pictures at a time it takes a tenth
    # of the time of numpy's median.
    for last in range(count - 1, middle - 1, -1):
        for place in range(last):
            lower = np.minimum(pictures[place], pictures[place + 1])
            pictures[place + 1] = np.maximum(pictures[place], pictures[place + 1])
            pictures[place] = lower
    low, high = pictures[middle], pictures[count // 2]
    return low + (high - low) // 2


def evenly_spread(strips: Sequence[Image], count: int) -> list[Image]:
    """Return ``count`` of the strips from the first to the last, all of them where there are fewer."""
    places = np.unique(np.linspace(0, len(strips) - 1, count).round().astype(int))
    return [strips[place] for place in places]


def hint_planes(size: tuple[int, int], hints: StripHints) -> NDArray[np.float32]:
    """Return the layout's hints for every cell of a padded strip whose unpadded size is ``size``.

    float32 (4, rows, columns): 1 inside ignored boxes; distance from the caption line's usual
    middle, in line heights; distance from the anchor, in ten line heights, 0 where it is unknown;
    the share of observed captions that cover the cell, from -1 (none) to 1 (all), 0 where none was observed.
    """
    height, width = size
    rows, columns = (-(-side // MULTIPLE) * MULTIPLE // STRIDE for side in size)
    y = (np.arange(rows, dtype=np.float32) + 0.5) * STRIDE
    x = (np.arange(columns, dtype=np.float32) + 0.5) * STRIDE
    planes = np.zeros((HINT_PLANES, rows, columns), np.float32)

    def inside(box: FractionBox) -> tuple[NDArray[np.intp], ...]:
        left, top, right, bottom = box
        within = (y >= top * height) & (y <= bottom * height), (x >= left * width) & (x <= right * width)
        return np.ix_(*(np.flatnonzero(side) for side in within))

    for box in hints.ignore_boxes:
        planes[0][inside(box)] = 1
    planes[1] = np.clip((y - hints.vertical_center * height) / LINE_HEIGHT, -3, 3)[:, None]
    if hints.anchor_position is not None:
        planes[2] = np.clip(np.abs(x - hints.anchor_position * width) / (10 * LINE_HEIGHT), 0, 2)
    captions = [seen.caption_boxes for seen in hints.observations if seen.caption_boxes]
    if captions:
        for boxes in captions:
            covered = np.zeros((rows, columns), bool)
            for box in boxes:
                covered[inside(box)] = True
            planes[3] += covered
        planes[3] = planes[3] * (2 / len(captions)) - 1
    return planes
