"""``export``: a video's captions in a file."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from captionacc_dagster.assets.previews import clock
from captionacc_dagster.cli.app import Parts, parts
from captionacc_dagster.cli.files import Force, OutputFileError, check_output, is_stream, write_output
from captionacc_dagster.cli.root import app, say
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.subtitles import SubtitleFormat, are_placed, encoded, shown
from modal_gpu.databases.captions import Caption
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.errors import ObjectNotFoundError
from modal_gpu.keys import VideoKeys


def load_captions(here: Parts, row: VideoRow) -> list[Caption]:
    """Return a video's captions. Raises ``CaptionsMissingError`` if there are none yet."""
    return stored_captions(here.object_store, row)


def encode_captions(here: Parts, row: VideoRow, captions: list[Caption], format: SubtitleFormat) -> bytes:
    """Return a subtitle file of a video's captions, placed as its layout says where the format needs it."""
    layout = _load_layout(here, row) if are_placed(captions, format) else None
    return encoded(captions, row.timeline, format, here.settings.growing_captions, layout)


def _load_layout(here: Parts, row: VideoRow) -> LayoutFile | None:
    """Return a video's layout with the approved zones; None if there is none.

    There is none if people made all of the video's captions.
    """
    try:
        layout = read_layout(here.object_store.get(VideoKeys(row.tenant_id, row.video_id).layout_db))
    except ObjectNotFoundError:
        return None
    return layout if row.crop_region is None else layout.with_zones(row.crop_region, row.caption_zones)


def load_cues(here: Parts, row: VideoRow) -> list[tuple[int, int, Caption]]:
    """Return what subtitles show: ``(start, end, caption)`` in a player's milliseconds."""
    return shown(load_captions(here, row), row.timeline, here.settings.growing_captions)


def captions_table(cues: list[tuple[int, int, Caption]]) -> Table:
    """Build a table of id, start, end, text and confidence, from what ``shown`` returns.

    It shows the zone too if captions are in several.
    """
    zones = any(caption.zone for _, _, caption in cues)
    table = Table(box=None, pad_edge=False)
    table.add_column("id", justify="right", no_wrap=True)
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("end", justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("confidence", justify="right")
    if zones:
        table.add_column("zone", justify="right")
    for start, end, caption in cues:
        confidence = "person" if caption.text is not None else f"{caption.ocr_confidence or 0:.2f}"
        text = caption.best_text.replace("\n", " / ")
        zone = [str(caption.zone)] if zones else []
        times = clock(start / 1000), clock(end / 1000)
        table.add_row(str(caption.id), *times, text, confidence, *zone)
    return table


@app.command()
def export(
    video: Video,
    format: Annotated[
        SubtitleFormat | None,
        typer.Option("--format", "-f", help="default: from the file's extension, else srt"),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="a file; default, and -: standard output")
    ] = None,
    force: Force = False,
) -> None:
    """Write a video's captions as SubRip, WebVTT, ASS or JSON."""
    if output == Path("-"):
        output = None
    chosen = _format(format, output)
    if output is not None:
        check_output(output, force=force)
    here = parts()
    row = here.find_video(video)
    data = encode_captions(here, row, load_captions(here, row), chosen)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        write_output(output, data, force=force)
        say(f"Wrote {output}")


def _format(given: SubtitleFormat | None, output: Path | None) -> SubtitleFormat:
    """Return the format to write. Raises :class:`OutputFileError` if it is unclear or contradictory."""
    if output is None or is_stream(output):
        return given or SubtitleFormat.srt
    ending = output.suffix.lower()
    meant = next((one for one in SubtitleFormat if ending == f".{one}"), given)
    if meant is None:
        raise OutputFileError(
            f"{output}: no format follows from its name: end it in .srt, .vtt, .ass or .json, "
            "or give `--format`"
        )
    if given not in (None, meant):
        raise OutputFileError(f"{output} contradicts `--format {given}`: end it in .{given}")
    return meant
