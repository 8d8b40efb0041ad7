"""Crop regions as commands print them: fractions of the frame, and its pixels."""

from collections.abc import Sequence

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.operations.regions import SIDES, Size
from modal_gpu.contracts import CaptionZone, CropRegion


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
