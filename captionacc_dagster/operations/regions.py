"""Crop regions as people give them: in fractions of the frame, or in its pixels."""

from collections.abc import Sequence

from modal_gpu.contracts import CropRegion
from modal_gpu.errors import CaptionAccError

SIDES = ("left", "top", "right", "bottom")
#: Width and height in pixels.
Size = tuple[int, int]


class RegionError(CaptionAccError):
    """A crop region is neither fractions of the frame nor pixels inside it."""


def check_sides(sides: Sequence[float]) -> None:
    """Refuse what is wrong in a frame of any size.

    Raises :class:`RegionError` for pixels that are not whole, negative, or in the wrong order, and
    :class:`~modal_gpu.contracts.InvalidCropRegionError` as ``CropRegion`` does.
    """
    if max(sides) <= 1:
        CropRegion(*sides)
        return
    if not all(float(value).is_integer() for value in sides):
        raise RegionError(f"{_given(sides)}: give fractions from 0 to 1, or whole pixels")
    left, top, right, bottom = sides
    if not (0 <= left < right and 0 <= top < bottom):
        raise RegionError(f"{_given(sides)}: left must be less than right, and top less than bottom")


def region_of(sides: Sequence[float], size: Size | None) -> CropRegion:
    """Return the crop region of ``left, top, right, bottom``: pixels if one is above 1, else fractions.

    Raises as :func:`check_sides` does, and :class:`RegionError` for pixels outside of a frame of ``size``,
    and for pixels while the size is not known.
    """
    check_sides(sides)
    if max(sides) <= 1:
        return CropRegion(*sides)
    if size is None:
        raise RegionError(
            f"{_given(sides)}: the size of this video is not known before its layout is found; give fractions"
        )
    left, top, right, bottom = sides
    width, height = size
    if right > width or bottom > height:
        raise RegionError(f"{_given(sides)}: outside of the frame of {width} × {height} pixels")
    return CropRegion(left / width, top / height, right / width, bottom / height)


def _given(sides: Sequence[float]) -> str:
    return ", ".join(f"{side} {value:g}" for side, value in zip(SIDES, sides, strict=True))
