"""The caption layout of a video, as it is and as people approve it."""

from collections.abc import Iterable

from captionacc_dagster.operations.layout_review import stored_layout
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from modal_gpu.contracts import MAX_ZONES, CaptionZone, CropRegion, Zones, from_wire, to_wire
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.errors import CaptionAccError
from modal_gpu.storage import ObjectStore


class ZoneError(CaptionAccError):
    """A caption zone cannot be added, moved or removed."""


def zones_of(video: VideoRow, layout: LayoutFile) -> tuple[CropRegion, Zones]:
    """Return the approved crop region and further zones, or those that were found."""
    if video.crop_region is not None:
        return video.crop_region, video.caption_zones
    return layout.crop_region, layout.caption_zones


def approve_as_it_is(catalog: Catalog, object_store: ObjectStore, video: VideoRow, who: str) -> VideoRow:
    """Approve the zones that were found, or those approved before, which changes nothing.

    Raises ``LayoutMissingError`` before there is a layout.
    """
    crop, zones = zones_of(video, stored_layout(object_store, video))
    return catalog.approve_layout(video.video_id, who, crop, zones)


def free_zone(video: VideoRow, zones: Iterable[int], kept: Iterable[int]) -> int:
    """Return the number of a new zone: in none of ``zones``, and no caption is kept of it.

    Raises :class:`ZoneError` if there is none left.
    """
    taken = {*zones, *kept}
    number = next((number for number in range(1, MAX_ZONES) if number not in taken), None)
    if number is None:
        raise ZoneError(
            f"{video.display_path} has {MAX_ZONES} caption zones, with those that captions are kept of; "
            "more are not possible"
        )
    return number


def make_zone(number: int, crop: CropRegion, language: str | None) -> CaptionZone:
    """Return a zone as people give it. Raises ``ContractError`` for a number or a language that is none."""
    return from_wire(
        CaptionZone, {"zone_index": number, "crop_region": to_wire(crop), "language": language or None}
    )
