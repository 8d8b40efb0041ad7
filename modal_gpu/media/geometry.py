"""Geometry between stored pictures and upright ones with square pixels."""

import struct
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

#: A sample aspect ratio this close to 1 is an encoder's rounding; scaling would only blur text.
_NEARLY_SQUARE = Fraction(1, 100)
#: A sample aspect ratio above this, or below its inverse, is invalid and ignored.
_MAX_SAMPLE_ASPECT = 4

#: Larger pictures are scaled down to this many pixels to bound memory. 4K pictures are not scaled.
MAX_WORKING_PIXELS = 4096 * 2304


@dataclass(frozen=True)
class Orientation:
    """A transposition followed by flips: the four right angles and their mirror images."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    @classmethod
    def from_display_matrix(cls, data: bytes | None) -> "Orientation":
        """Return the nearest right angle to ISO/IEC 14496-12's 3 × 3 matrix, as FFmpeg stores it.

        ``x' = a·x + c·y``, ``y' = b·x + d·y`` with ``a b u c d v x y w`` as nine native int32.
        """
        if data is None or len(data) != 36:
            return cls()
        a, b, _, c, d, *_ = struct.unpack("=9i", data)
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    @property
    def rotation(self) -> int:
        """Degrees counter-clockwise that turn the stored picture upright (ignoring mirroring)."""
        if self.transposed:
            return 270 if self.flip_x else 90 if self.flip_y else 270
        return 180 if self.flip_y else 0

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Return the upright width and height of a stored picture, and vice versa."""
        return (height, width) if self.transposed else (width, height)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Return an upright view of ``picture`` (H, W, …)."""
        if self.transposed:
            picture = picture.swapaxes(0, 1)
        if self.flip_x:
            picture = picture[:, ::-1]
        if self.flip_y:
            picture = picture[::-1]
        return picture

    def stored_rectangle(
        self, rectangle: tuple[int, int, int, int], width: int, height: int
    ) -> tuple[int, int, int, int]:
        """Convert ``(left, top, right, bottom)`` in upright ``width`` × ``height`` pixels to stored ones."""
        left, top, right, bottom = rectangle
        if self.flip_y:
            top, bottom = height - bottom, height - top
        if self.flip_x:
            left, right = width - right, width - left
        return (top, left, bottom, right) if self.transposed else (left, top, right, bottom)


def working_size(width: int, height: int) -> tuple[int, int]:
    """Return the size to process a picture in: at most :data:`MAX_WORKING_PIXELS`, sides even if scaled."""
    if width * height <= MAX_WORKING_PIXELS:
        return width, height
    scale = (MAX_WORKING_PIXELS / (width * height)) ** 0.5
    return int(width * scale) // 2 * 2, int(height * scale) // 2 * 2


def square_pixel_size(width: int, height: int, sample_aspect: Fraction | None) -> tuple[int, int]:
    """Return the size with square pixels: the compressed side grows, as in players; no detail is lost."""
    if not sample_aspect or not Fraction(1, _MAX_SAMPLE_ASPECT) <= sample_aspect <= _MAX_SAMPLE_ASPECT:
        return width, height
    if abs(sample_aspect - 1) <= _NEARLY_SQUARE:
        return width, height
    if sample_aspect > 1:
        return round(width * sample_aspect), height
    return width, round(height / sample_aspect)
