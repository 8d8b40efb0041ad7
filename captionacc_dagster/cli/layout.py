"""``layout``: show, change and approve a video's caption layout."""

import getpass
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.files import Force, OutputFileError, check_output, is_stream, write_output
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.root import app, console, say
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.contracts import CropRegion
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

FRACTION = FiniteRange(0, 1)

layout_app = typer.Typer(no_args_is_help=True, help="Show, change and approve a video's caption layout.")
app.add_typer(layout_app, name="layout")


class LayoutMissingError(CaptionAccError):
    """A command needs a layout that does not exist yet."""


@layout_app.command()
def show(
    video: Video,
    picture: Annotated[Path | None, typer.Option(help="also write a JPEG of it on a frame")] = None,
    force: Force = False,
) -> None:
    """Show the position of the captions, and the confidence of the analysis."""
    if picture is not None:
        _check_picture(picture, force=force)
    here = parts()
    row = here.find_video(video)
    keys = VideoKeys(row.tenant_id, row.video_id)
    layout = _read(here.object_store, keys)
    table = Table(box=None, show_header=False, pad_edge=False)
    crop = row.crop_region or layout.crop_region
    for side in ("left", "top", "right", "bottom"):
        table.add_row(side, f"{getattr(crop, f'crop_{side}'):.4f}")
    table.add_row("anchor", f"{layout.anchor_type or '-'} at {_number(layout.anchor_position)}")
    table.add_row("confidence", _number(layout.confidence))
    caption_lines = sum(box.is_caption for box in layout.boxes)
    table.add_row("text lines", f"{caption_lines} in captions, {len(layout.boxes) - caption_lines} elsewhere")
    table.add_row("approved", _approval(row))
    console.print(table, highlight=False)
    if picture is not None:
        from captionacc_dagster.assets.layout_picture import layout_picture

        write_output(picture, layout_picture(here.object_store, keys, layout, crop), force=force)
        say(f"Wrote {picture}")


@layout_app.command("set")
def set_(
    video: Video,
    left: Annotated[float, typer.Option(click_type=FRACTION, help="fraction of the width")],
    top: Annotated[float, typer.Option(click_type=FRACTION, help="fraction of the height, from the top")],
    right: Annotated[float, typer.Option(click_type=FRACTION, help="fraction of the width")],
    bottom: Annotated[float, typer.Option(click_type=FRACTION, help="fraction of the height, from the top")],
) -> None:
    """Approve a crop region of your own. If it changes, the captions are made again."""
    _approve(video, CropRegion(left, top, right, bottom))


@layout_app.command()
def approve(video: Video) -> None:
    """Approve the detected crop region."""
    _approve(video, None)


def _approve(name: str, crop: CropRegion | None) -> None:
    here = parts(Use.WRITE)
    row = here.find_video(name)
    if crop is None:
        keys = VideoKeys(row.tenant_id, row.video_id)
        crop = row.crop_region or _read(here.object_store, keys).crop_region
    here.catalog.approve_layout(row.video_id, getpass.getuser(), crop)
    say(
        f"Approved {row.display_path}: left {crop.crop_left:.4f}, top {crop.crop_top:.4f}, right "
        f"{crop.crop_right:.4f}, bottom {crop.crop_bottom:.4f}. A running platform now makes its captions."
    )


def _check_picture(picture: Path, *, force: bool) -> None:
    if picture.suffix.lower() not in (".jpg", ".jpeg") and not is_stream(picture):
        raise OutputFileError(f"{picture} would contain a JPEG: end it in .jpg")
    check_output(picture, force=force)


def _read(object_store: ObjectStore, keys: VideoKeys) -> LayoutFile:
    try:
        return read_layout(object_store.get(keys.layout_db))
    except ObjectNotFoundError:
        raise LayoutMissingError(
            f"video {keys.video_id} has no layout yet; `captionacc status {keys.video_id[:8]}` shows why"
        ) from None


def _approval(row: VideoRow) -> str:
    if not row.layout_approved_by:
        return "not yet"
    return escape(f"by {row.layout_approved_by}, version {row.crop_region_version}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
