"""The image of a caption: the per-pixel median over its frames.

The text is static while the picture behind it moves, so the median keeps the text, smooths the picture and
removes compression noise.
"""

from collections.abc import Iterable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from modal_gpu.errors import ContractError

#: Largest number of frames of a median; more do not improve OCR.
MAX_SAMPLES = 31
#: Bytes of each image sorted at once; they fit in the processor's cache.
_BAND_BYTES = 16_384


def sample_indices(start: int, end: int, max_samples: int = MAX_SAMPLES) -> list[int]:
    """Return the frame indices of a caption ``[start, end)`` for its median, ascending and evenly spread.

    Frames at both ends are skipped if enough others remain (one each from 4 frames, two each from 10): they
    may be half faded, or belong to a neighbour because of an error of the decoder. Raises ``ValueError`` for
    an empty range.
    """
    if end <= start:
        raise ValueError(f"frames [{start}, {end}) are empty")
    margin = 2 if end - start >= 10 else 1 if end - start >= 4 else 0
    start, end = start + margin, end - margin
    count = min(max_samples, end - start)
    # The centres of `count` equal parts.
    return [start + (2 * k + 1) * (end - start) // (2 * count) for k in range(count)]


def median_image(frames: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the per-pixel median of uint8 images of one shape; for an even number, the middle two's mean.

    All images are held in memory: choose them with :func:`sample_indices`. Raises :class:`ContractError`
    without images or for different shapes.
    """
    images = list(frames)
    if not images:
        raise ContractError("a median needs at least one frame")
    shape = images[0].shape
    if odd := next((image.shape for image in images if image.shape != shape), None):
        raise ContractError(f"frames of one caption differ in shape: {shape} and {odd}")
    if len(images) == 1:
        return images[0].copy()
    flat = [np.ascontiguousarray(image).reshape(-1) for image in images]
    result = np.empty_like(flat[0])
    network = _median_network(len(images))
    middle = len(images) // 2
    for begin in range(0, len(result), _BAND_BYTES):
        band = [image[begin : begin + _BAND_BYTES].copy() for image in flat]
        spare = np.empty_like(band[0])
        for a, b, lower, higher in network:
            if lower and higher:
                np.minimum(band[a], band[b], out=spare)
                np.maximum(band[a], band[b], out=band[b])
                band[a], spare = spare, band[a]
            elif lower:
                np.minimum(band[a], band[b], out=band[a])
            else:
                np.maximum(band[a], band[b], out=band[b])
        if len(images) % 2:
            result[begin : begin + _BAND_BYTES] = band[middle]
        else:
            total = band[middle - 1].astype(np.uint16) + band[middle] + 1
            result[begin : begin + _BAND_BYTES] = total // 2
    return result.reshape(shape)


@lru_cache(maxsize=MAX_SAMPLES)
def _median_network(count: int) -> list[tuple[int, int, bool, bool]]:
    """Return the comparators that bring the median to the middle of ``count`` values (the middle two).

    Each orders two places; its last values are whether a later one, or the result, needs the lower and the
    higher value. They are those of Batcher's odd-even merge sort that matter for the middle. It sorts arrays
    element by element, many times faster than sorting each pixel's values separately (Knuth, The Art of
    Computer Programming 3, 5.2.2, algorithm M).
    """
    comparators = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            comparators += [(i, i + d) for i in range(count - d) if i & p == r]
            d, q, r = q - p, q >> 1, p
        p >>= 1
    needed = {(count - 1) // 2, count // 2}
    useful = []
    for a, b in reversed(comparators):
        if a in needed or b in needed:
            useful.append((a, b, a in needed, b in needed))
            needed |= {a, b}
    return useful[::-1]
