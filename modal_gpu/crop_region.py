"""The crop region: the part of a video's frame that its captions are in."""

import math

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from modal_gpu.errors import InvalidCropRegionError

#: Smallest side of a crop in pixels.
MIN_CROP_PIXELS = 16
#: Smallest side of a crop region in fractions of the frame, as in the catalogue's ``is_crop_region``. Below
#: it captions are not readable and sizes in line heights are meaningless.
MIN_CROP_FRACTION = 0.01
#: The same with a tolerance for binary fractions: 0.29 − 0.28 is slightly less than 0.01.
_LEAST = MIN_CROP_FRACTION - 1e-9


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CropRegion:
    """The caption strip as fractions of the upright frame, origin top left, y down.

    Raises :class:`InvalidCropRegionError` unless ``0 <= left < right <= 1`` and
    ``0 <= top < bottom <= 1``, and both sides are at least :data:`MIN_CROP_FRACTION`.
    """

    crop_left: float
    crop_top: float
    crop_right: float
    crop_bottom: float

    def __post_init__(self) -> None:
        sides = (self.crop_left, self.crop_top, self.crop_right, self.crop_bottom)
        horizontal = 0 <= self.crop_left < self.crop_right <= 1
        vertical = 0 <= self.crop_top < self.crop_bottom <= 1
        if not (all(map(math.isfinite, sides)) and horizontal and vertical):
            raise InvalidCropRegionError(
                f"crop region left={self.crop_left} top={self.crop_top} right={self.crop_right} "
                f"bottom={self.crop_bottom} is not inside [0, 1] with left < right and top < bottom"
            )
        if min(self.crop_right - self.crop_left, self.crop_bottom - self.crop_top) < _LEAST:
            raise InvalidCropRegionError(
                f"crop region left={self.crop_left} top={self.crop_top} right={self.crop_right} "
                f"bottom={self.crop_bottom} is too thin: at least {MIN_CROP_FRACTION} of the frame a side"
            )

    @classmethod
    def around(cls, left: float, top: float, right: float, bottom: float) -> "CropRegion":
        """Clip a rectangle to the frame and widen it to the smallest size."""
        (left, right), (top, bottom) = _wide_enough(left, right), _wide_enough(top, bottom)
        return cls(left, top, right, bottom)

    def pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return ``(left, top, right, bottom)`` in pixels of a ``width`` × ``height`` frame, half-open.

        Rounded outwards to even numbers (4:2:0 chroma), at least 16 × 16 if the frame has this size, and
        inside the frame.
        """
        left, right = _even_span(self.crop_left, self.crop_right, width)
        top, bottom = _even_span(self.crop_top, self.crop_bottom, height)
        return left, top, right, bottom


def _wide_enough(start: float, end: float) -> tuple[float, float]:
    start, end = max(0.0, start), min(1.0, end)
    if end - start >= MIN_CROP_FRACTION:
        return start, end
    start = min(max(0.0, (start + end - MIN_CROP_FRACTION) / 2), 1 - MIN_CROP_FRACTION)
    return start, start + MIN_CROP_FRACTION


def _even_span(start: float, end: float, size: int) -> tuple[int, int]:
    # 1e-6: rounding noise must not enlarge fractions that were computed from whole pixels.
    limit = size - size % 2
    low = min(math.floor(start * size / 2 + 1e-6) * 2, limit)
    high = min(math.ceil(end * size / 2 - 1e-6) * 2, limit)
    if high - low < MIN_CROP_PIXELS:
        low = max(0, min(low, limit - MIN_CROP_PIXELS))
        high = min(limit, low + MIN_CROP_PIXELS)
    return low, high
