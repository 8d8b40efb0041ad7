"""``layout``: show, change and approve a video's caption zones."""

import getpass
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.files import Force, check_output, is_stream, write_output
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.regions import as_zones, described
from captionacc_dagster.cli.root import app, console, say
from captionacc_dagster.cli.states import size_of
from captionacc_dagster.cli.usage import as_usage_errors, usage_error
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.operations.layout_review import kept_zones, stored_layout
from captionacc_dagster.operations.layouts import ZoneError, approve_as_it_is, free_zone, make_zone, zones_of
from captionacc_dagster.operations.regions import SIDES, Size, check_sides, region_of
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.contracts import (
    MAX_ZONES,
    CaptionZone,
    Zones,
    crop_regions,
)
from modal_gpu.databases.layout import LayoutFile
from modal_gpu.keys import VideoKeys

#: A fraction of the frame, or a pixel of the largest one.
SIDE = FiniteRange(0, 65_536)
#: Width in pixels of the picture that a person sets a region by.
_PICTURE_WIDTH = 960
#: Returns the zones that stored captions are in.
Kept = Callable[[], set[int]]

Left = Annotated[float, typer.Option(click_type=SIDE, help="fraction of the width; or pixels")]
Top = Annotated[float, typer.Option(click_type=SIDE, help="fraction of the height, from the top; or pixels")]
Right = Annotated[float, typer.Option(click_type=SIDE, help="fraction of the width; or pixels")]
Bottom = Annotated[
    float, typer.Option(click_type=SIDE, help="fraction of the height, from the top; or pixels")
]
Language = Annotated[
    str | None, typer.Option(help="language of the zone's captions, such as de; default: the video's")
]
ZoneNumber = Annotated[
    int, typer.Argument(metavar="ZONE", min=1, max=MAX_ZONES - 1, help="number of the zone")
]

layout_app = typer.Typer(no_args_is_help=True, help="Show, change and approve a video's caption layout.")
app.add_typer(layout_app, name="layout")


@layout_app.command()
def show(
    video: Video,
    picture: Annotated[Path | None, typer.Option(help="also write a JPEG of it on a frame")] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show the position of the captions, and the confidence of the analysis."""
    if picture is not None:
        _check_picture(picture, force=force)
    here = parts()
    row = here.find_video(video)
    keys = VideoKeys(row.tenant_id, row.video_id)
    layout = stored_layout(here.object_store, row)
    crop, zones = zones_of(row, layout)
    if as_json:
        print_json(_as_layout(row, layout))
    else:
        _print_layout(row, layout)
    if picture is not None:
        from captionacc_dagster.assets.pictures.layout import layout_picture

        regions = list(crop_regions(crop, zones).values())
        image = layout_picture(here.object_store, keys, layout, regions, _PICTURE_WIDTH)
        write_output(picture, image, force=force)
        if not as_json:
            say(f"Wrote {picture}")


def _print_layout(row: VideoRow, layout: LayoutFile) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    crop, zones = zones_of(row, layout)
    size = (layout.frame_width, layout.frame_height)
    table.add_row("frame", f"{size[0]} × {size[1]} pixels")
    for side, pixels in zip(SIDES, crop.pixels(*size), strict=True):
        table.add_row(side, f"{getattr(crop, f'crop_{side}'):.4f} (pixel {pixels})")
    table.add_row("anchor", f"{layout.anchor_type or '-'} at {_number(layout.anchor_position)}")
    table.add_row("confidence", _number(layout.confidence))
    for zone in zones:
        table.add_row(f"zone {zone.zone_index}", _described(zone, layout))
    caption_lines = sum(box.is_caption for box in layout.boxes)
    table.add_row("text lines", f"{caption_lines} in captions, {len(layout.boxes) - caption_lines} elsewhere")
    table.add_row("approved", _approval(row))
    console.print(table, highlight=False)


def _as_layout(row: VideoRow, layout: LayoutFile) -> models.VideoLayout:
    crop, zones = zones_of(row, layout)
    confidences = {0: layout.confidence if crop == layout.crop_region else None}
    confidences |= {one.zone.zone_index: one.confidence for one in layout.zones if one.zone in zones}
    size = (layout.frame_width, layout.frame_height)
    caption_lines = sum(box.is_caption for box in layout.boxes)
    return models.VideoLayout(
        video_id=row.video_id,
        name=row.display_path,
        width=size[0],
        height=size[1],
        zones=[
            models.LayoutZone(**dict(zone), confidence=confidences.get(zone.zone))
            for zone in as_zones(crop, zones, size)
        ],
        anchor_type=layout.anchor_type,
        anchor_position=layout.anchor_position,
        confidence=layout.confidence,
        caption_lines=caption_lines,
        other_lines=len(layout.boxes) - caption_lines,
        approved_by=row.layout_approved_by,
        approved_at=row.layout_approved_at,
        version=row.crop_region_version,
    )


@layout_app.command("set")
def set_(
    video: Video,
    left: Left,
    top: Top,
    right: Right,
    bottom: Bottom,
) -> None:
    """Approve a crop region of your own. If it changes, the captions are made again.

    A side above 1 means that all four are pixels of the frame, whose size `captionacc status VIDEO` shows.
    """
    sides = _checked(left, top, right, bottom)
    here = parts(Use.WRITE)
    row = here.find_video(video)
    crop = region_of(sides, size_of(row))
    _say_approved(here.catalog.approve_layout(row.video_id, getpass.getuser(), crop))


@layout_app.command()
def approve(video: Video) -> None:
    """Approve the detected crop region and further zones."""
    here = parts(Use.WRITE)
    row = here.find_video(video)
    _say_approved(approve_as_it_is(here.catalog, here.object_store, row, getpass.getuser()))


@layout_app.command("add-zone")
def add_zone(
    video: Video, left: Left, top: Top, right: Right, bottom: Bottom, language: Language = None
) -> None:
    """Add a further place of captions, and approve the layout. The captions are made again."""
    sides, language = _checked(left, top, right, bottom), _tag(language)

    def added(row: VideoRow, zones: Zones, kept: Kept, size: Size) -> Zones:
        number = free_zone(row, _numbers(zones), kept())
        return (*zones, make_zone(number, region_of(sides, size), language))

    _change(video, added)


@layout_app.command("move-zone")
def move_zone(
    video: Video,
    zone: ZoneNumber,
    left: Left,
    top: Top,
    right: Right,
    bottom: Bottom,
    language: Language = None,
) -> None:
    """Move a further zone, and approve the layout. The captions are made again."""
    sides, language = _checked(left, top, right, bottom), _tag(language)

    def moved(row: VideoRow, zones: Zones, _: Kept, size: Size) -> Zones:
        before = _the_zone(zones, zone, row.display_path)
        after = make_zone(zone, region_of(sides, size), language or before.language)
        return tuple(after if one == before else one for one in zones)

    _change(video, moved)


@layout_app.command("remove-zone")
def remove_zone(video: Video, zone: ZoneNumber) -> None:
    """Remove a further zone, and approve the layout. Captions in it that people edited are kept."""

    def without(row: VideoRow, zones: Zones, _: Kept, __: Size) -> Zones:
        gone = _the_zone(zones, zone, row.display_path)
        return tuple(one for one in zones if one != gone)

    _change(video, without)


def _change(name: str, change: Callable[[VideoRow, Zones, Kept, Size], Zones]) -> None:
    """Approve a video's layout with changed zones."""
    here = parts(Use.WRITE)
    row = here.find_video(name)
    layout = stored_layout(here.object_store, row)
    crop, zones = zones_of(row, layout)
    who = getpass.getuser()
    size = (layout.frame_width, layout.frame_height)
    changed = change(row, zones, partial(kept_zones, here.object_store, row), size)
    _say_approved(here.catalog.approve_layout(row.video_id, who, crop, changed))


def _checked(*sides: float) -> tuple[float, ...]:
    """Return the sides. Raises a usage error for what is wrong in a frame of any size."""
    with as_usage_errors():
        check_sides(sides)
    return sides


def _tag(language: str | None) -> str | None:
    """Return a language's tag in its standard form. Raises a usage error for a bad one."""
    from modal_gpu.ocr.languages.tags import normalized

    with as_usage_errors():
        return normalized((language,), "--language")[0] if language else None


def _numbers(zones: Zones) -> set[int]:
    return {zone.zone_index for zone in zones}


def _the_zone(zones: Zones, number: int, video: str) -> CaptionZone:
    for zone in zones:
        if zone.zone_index == number:
            return zone
    there = ", ".join(map(str, sorted(_numbers(zones)))) or "none"
    raise ZoneError(f"{video} has no zone {number} beside zone 0, which `layout set` moves; it has {there}")


def _say_approved(row: VideoRow) -> None:
    crop = row.crop_region
    if crop is None:
        return
    size = size_of(row)
    say(f"Approved {row.display_path}: {described(crop, size)}. A running platform now makes its captions.")
    for zone in row.caption_zones:
        say(f"Zone {zone.zone_index}: {described(zone.crop_region, size)}.")


def _described(zone: CaptionZone, layout: LayoutFile) -> str:
    """Return a zone's place, language, and what the analysis found there."""
    place = described(zone.crop_region, (layout.frame_width, layout.frame_height))
    place += f"; language {zone.language}" if zone.language else ""
    found = next((one for one in layout.zones if one.zone == zone), None)
    return place if found is None else f"{place}; confidence {_number(found.confidence)}"


def _check_picture(picture: Path, *, force: bool) -> None:
    if picture.suffix.lower() not in (".jpg", ".jpeg") and not is_stream(picture):
        raise usage_error(f"{picture} would contain a JPEG: end it in .jpg")
    check_output(picture, force=force)


def _approval(row: VideoRow) -> str:
    if not row.layout_approved_by:
        return "not yet"
    return escape(f"by {row.layout_approved_by}, version {row.crop_region_version}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
