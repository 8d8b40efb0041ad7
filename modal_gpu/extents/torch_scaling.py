"""Strips at working scale on a GPU: the resizing of :mod:`~modal_gpu.extents.working_scale` as two products.

Both of OpenCV's methods are separable, so each is a matrix of weights for the rows and one for the
columns. The results are those of ``cv2.resize``, except for values halfway between two levels, which may be
one level off.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from modal_gpu.extents.working_scale import MULTIPLE, Image, padded, scaled

Weights = NDArray[np.float64]


def area_weights(source: int, target: int) -> Weights:
    """Return the weights (target, source) of ``INTER_AREA`` along one axis, for ``target <= source``.

    Each target pixel is the mean of the source under it, with fractions of pixels at its ends.
    """
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.maximum(overlap, 0.0)
    return weights / weights.sum(axis=1, keepdims=True)


def linear_weights(source: int, target: int) -> Weights:
    """Return the weights (target, source) of ``INTER_LINEAR`` along one axis; ends are repeated."""
    centres = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    before = np.floor(centres).astype(np.intp)
    share = centres - before
    weights = np.zeros((target, source))
    rows = np.arange(target)
    weights[rows, before] = 1 - share
    weights[rows, np.minimum(before + 1, source - 1)] += share
    return weights


class TorchScaler:
    """Scales strips of one size as :func:`~modal_gpu.extents.working_scale.scaled` does, then pads them."""

    def __init__(self, source: tuple[int, int], target: tuple[int, int], device: torch.device) -> None:
        """``source`` and ``target``: height and width of strips, and of working strips without padding."""
        weights = area_weights if source[0] > target[0] else linear_weights
        rows, columns = (
            torch.from_numpy(_padded(weights(given, wanted)).astype(np.float32)).to(device)
            for given, wanted in zip(source, target, strict=True)
        )
        self._rows, self._columns = rows, columns.T.contiguous()
        self._source, self._target = source, target
        #: Height and width of the results.
        self.padded = (len(rows), len(columns))

    def __call__(self, strips: Tensor) -> Tensor:
        """Return uint8 (n, H, W), padded, of uint8 (n, h, w)."""
        result = torch.matmul(torch.matmul(self._rows, strips.float()), self._columns)
        return result.round_().clamp_(0, 255).to(torch.uint8)

    def one(self, luma: Image) -> Tensor:
        """Return a strip of any size, uint8 (h, w), as one of uint8 (H, W) on the device."""
        if luma.shape != self._source:
            return torch.from_numpy(padded(scaled(luma, self._target))).to(self._rows.device)
        return self(torch.from_numpy(np.ascontiguousarray(luma))[None].to(self._rows.device))[0]


def _padded(weights: Weights) -> Weights:
    """Repeat the last target pixel up to a multiple of :data:`MULTIPLE`."""
    missing = -len(weights) % MULTIPLE
    return np.concatenate([weights, weights[-1:].repeat(missing, axis=0)])


def median_picture(pictures: Tensor) -> Tensor:
    """Return each pixel's median (H, W) of uint8 (n, H, W), halves rounded down.

    The same as :func:`~modal_gpu.extents.working_scale.reference_picture`.
    """
    ordered = pictures.sort(dim=0).values
    low, high = ordered[(len(pictures) - 1) // 2], ordered[len(pictures) // 2]
    return low + (high - low).div(2, rounding_mode="floor")
