"""``captions`` and ``export``: a video's captions on the screen or in a file."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from captionacc_dagster.assets.previews import clock
from captionacc_dagster.cli.app import Parts, parts
from captionacc_dagster.cli.files import Force, OutputFileError, check_output, is_stream, write_output
from captionacc_dagster.cli.root import app, console, say
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.subtitles import SubtitleFormat, encoded, shown
from modal_gpu.databases.captions import Caption, read_captions
from modal_gpu.databases.layout import LayoutFile, read_layout
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.keys import VideoKeys


class CaptionsMissingError(CaptionAccError):
    """A command needs captions that do not exist yet."""


def load_captions(here: Parts, row: VideoRow) -> list[Caption]:
    """Return a video's captions. Raises :class:`CaptionsMissingError` if there are none yet."""
    keys = VideoKeys(row.tenant_id, row.video_id)
    try:
        return read_captions(here.object_store.get(keys.captions_db))
    except ObjectNotFoundError:
        raise CaptionsMissingError(
            f"video {row.video_id} has no captions yet; `captionacc status {row.video_id[:8]}` shows why"
        ) from None


def load_layout(here: Parts, row: VideoRow) -> LayoutFile | None:
    """Return a video's layout; None if there is none, as when people made all of its captions."""
    try:
        return read_layout(here.object_store.get(VideoKeys(row.tenant_id, row.video_id).layout_db))
    except ObjectNotFoundError:
        return None


def load_cues(here: Parts, row: VideoRow) -> list[tuple[int, int, Caption]]:
    """Return what subtitles show: ``(start, end, caption)`` in a player's milliseconds."""
    return shown(load_captions(here, row), row.timeline, here.settings.growing_captions)


def captions_table(cues: list[tuple[int, int, Caption]]) -> Table:
    """Build a table of start, end, text and confidence, from what ``shown`` returns."""
    table = Table(box=None, pad_edge=False)
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("end", justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("confidence", justify="right")
    for start, end, caption in cues:
        confidence = "person" if caption.text is not None else f"{caption.ocr_confidence or 0:.2f}"
        table.add_row(
            clock(start / 1000), clock(end / 1000), caption.best_text.replace("\n", " / "), confidence
        )
    return table


@app.command()
def captions(video: Video) -> None:
    """Show a video's captions with their times."""
    here = parts()
    row = here.find_video(video)
    if cues := load_cues(here, row):
        console.print(captions_table(cues), highlight=False, markup=False)
    else:
        console.print("This video has no captions.")


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
    layout = load_layout(here, row) if chosen is SubtitleFormat.ass else None
    data = encoded(load_captions(here, row), row.timeline, chosen, here.settings.growing_captions, layout)
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
