"""Crop regions as commands take and print them: fractions of the frame, and its pixels."""

from collections.abc import Sequence

from captionacc_dagster.cli import json_models as models
from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.errors import CaptionAccError

SIDES = ("left", "top", "right", "bottom")
#: Width and height in pixels.
Size = tuple[int, int]


class RegionError(CaptionAccError):
    """A crop region is neither fractions of the frame nor pixels inside it."""


def check_sides(sides: Sequence[float]) -> None:
    """Refuse what is wrong in a frame of any size.

    Raises :class:`RegionError` for parts of pixels, and
    :class:`~modal_gpu.contracts.InvalidCropRegionError` as ``CropRegion`` does.
    """
    if max(sides) <= 1:
        CropRegion(*sides)
    elif any(value != int(value) for value in sides):
        raise RegionError(f"{_given(sides)}: give fractions from 0 to 1, or whole pixels")


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


def described(crop: CropRegion, size: Size | None) -> str:
    """Return a crop region in words, in pixels too if the size is known."""
    words = ", ".join(f"{side} {getattr(crop, f'crop_{side}'):.4f}" for side in SIDES)
    return words if size is None else f"{words} (pixels {','.join(map(str, crop.pixels(*size)))})"


def as_region(crop: CropRegion, size: Size | None) -> models.Region:
    """Return a crop region for JSON."""
    fractions = {side: round(getattr(crop, f"crop_{side}"), 4) for side in SIDES}
    pixels = None
    if size is not None:
        pixels = models.Pixels(**dict(zip(SIDES, crop.pixels(*size), strict=True)))
    return models.Region(**fractions, pixels=pixels)


def as_zones(crop: CropRegion | None, zones: Sequence[CaptionZone], size: Size | None) -> list[models.Zone]:
    """Return approved caption zones for JSON, none before the approval."""
    if crop is None:
        return []
    first = models.Zone(zone=0, region=as_region(crop, size), language=None)
    further = [
        models.Zone(zone=one.zone_index, region=as_region(one.crop_region, size), language=one.language)
        for one in zones
    ]
    return [first, *further]
