"""``approve_layout``: a person's approval of the places of captions, from a form."""

import dagster as dg
from pydantic import Field

from captionacc_dagster.actions.acting import UI_USER, Form, acting_on, video_job
from captionacc_dagster.operations.layout_review import kept_zones, stored_layout
from captionacc_dagster.operations.layouts import approve_as_it_is, free_zone, make_zone, zones_of
from captionacc_dagster.operations.regions import SIDES, region_of
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from modal_gpu.contracts import CropRegion, Zones, check_zones
from modal_gpu.storage import ObjectStore

_SIDE = "fraction of the frame, or pixels if a value of the region is above 1"


class Region(dg.Config):
    """A rectangle of the frame, from its top left."""

    left: float = Field(description=f"left side: {_SIDE}")
    top: float = Field(description=f"upper side: {_SIDE}")
    right: float = Field(description=f"right side: {_SIDE}")
    bottom: float = Field(description=f"lower side: {_SIDE}")


class Zone(Region):
    """A further place of captions, beside the region."""

    zone: int | None = Field(
        default=None, description="number of an existing zone, which keeps its captions; a new zone has none"
    )
    language: str | None = Field(default=None, description="language of its captions; default: the video's")


class Approval(dg.Config):
    """The places of captions to approve. Without any, the layout is approved as found."""

    region: Region | None = Field(
        default=None,
        description="the crop region; leave it out to approve the one that was found, or approved before",
    )
    zones: list[Zone] | None = Field(
        default=None,
        description=(
            "further places of captions: all that are to be, an empty list for none; leave it out to keep "
            "those that were found, or approved before"
        ),
    )
    approved_by: str = Field(default=UI_USER, description="name of the person who approves")


@dg.op(description="Approves the layout in the catalogue, as `captionacc layout approve` and `set` do.")
def approve(
    context: dg.OpExecutionContext,
    config: Approval,
    catalog: dg.ResourceParam[Catalog],
    object_store: dg.ResourceParam[ObjectStore],
) -> None:
    """Approve the layout of the run's video. The same regions again change nothing."""
    with acting_on(context, catalog) as video:
        region, zones = config.region, config.zones
        if region is None and zones is None:
            approved = approve_as_it_is(catalog, object_store, video, config.approved_by)
        else:
            if region is None:
                crop, _ = zones_of(video, stored_layout(object_store, video))
            else:
                crop = _crop(video, region, _shown(video)[0])
            further = None if zones is None else _zones(object_store, video, zones)
            approved = catalog.approve_layout(video.video_id, config.approved_by, crop, further)
        _report(context, video, approved)


def _report(context: dg.OpExecutionContext, before: VideoRow, after: VideoRow) -> None:
    is_new = after.crop_region_version != before.crop_region_version
    follows = "its captions will be made" if is_new else "these regions were approved before: nothing changes"
    context.log.info(f"{after.display_path}: approved by {after.layout_approved_by}; {follows}")
    context.add_output_metadata(
        {
            "video": after.display_path,
            "approved_by": after.layout_approved_by or "",
            "crop_region_version": after.crop_region_version,
            "follows": follows,
            **({} if after.crop_region is None else _rounded(after.crop_region)),
            "further_zones": len(after.caption_zones),
        }
    )


def _crop(video: VideoRow, region: Region, former: CropRegion | None) -> CropRegion:
    """Return a region of a form; sides that the form showed rounded, and nobody changed, are exact."""
    sides = {side: getattr(region, side) for side in SIDES}
    # In pixels, a side of 0 is not the rounded fraction that the form showed.
    if former is not None and max(sides.values()) <= 1:
        exact, shown = _sides(former), _rounded(former)
        sides = {side: exact[side] if value == shown[side] else value for side, value in sides.items()}
    size = (video.width, video.height) if video.width and video.height else None
    return region_of([sides[side] for side in SIDES], size)


def _zones(object_store: ObjectStore, video: VideoRow, given: list[Zone]) -> Zones:
    """Return the zones of a form; those without a number get one that nothing else has."""
    numbers = {zone.zone for zone in given if zone.zone is not None}
    kept = kept_zones(object_store, video) if any(zone.zone is None for zone in given) else set()
    former = {zone.zone_index: zone.crop_region for zone in _shown(video)[1]}
    zones = []
    for zone in given:
        number = free_zone(video, numbers, kept) if zone.zone is None else zone.zone
        numbers.add(number)
        zones.append(make_zone(number, _crop(video, zone, former.get(number)), zone.language))
    return check_zones(tuple(zones))


def _sides(crop: CropRegion) -> dict[str, float]:
    return {side: getattr(crop, f"crop_{side}") for side in SIDES}


def _rounded(crop: CropRegion) -> dict[str, float]:
    return {side: round(value, 4) for side, value in _sides(crop).items()}


def _shown(video: VideoRow) -> tuple[CropRegion | None, Zones]:
    """Return the regions that were approved, or else those that were found, if a layout was made."""
    if video.crop_region is not None:
        return video.crop_region, video.caption_zones
    return video.proposed_crop_region, video.proposed_caption_zones


def _form(video: VideoRow) -> Form:
    """Return the approved or the found regions of a video, to be launched as they are or corrected."""
    crop, zones = _shown(video)
    if crop is None:
        return {}
    further = [
        {"zone": zone.zone_index, **_rounded(zone.crop_region)}
        | ({"language": zone.language} if zone.language else {})
        for zone in zones
    ]
    return {"region": _rounded(crop), "zones": further}


approve_layout_job = video_job(
    "approve_layout",
    approve,
    "Approves the places of captions in a video, after which its captions are made. Choose the video's "
    "partition: the form then shows the region that was found, or approved before. Launch it as it is, or "
    "correct it first. Without `region` and `zones` the layout is approved as found.",
    _form,
)
