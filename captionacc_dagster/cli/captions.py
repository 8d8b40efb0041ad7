"""``export``: a video's captions in a file."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from captionacc_dagster.assets.pictures.drawing import clock
from captionacc_dagster.cli.app import Parts, parts
from captionacc_dagster.cli.files import Force, check_output, is_stream, write_output
from captionacc_dagster.cli.root import app, say
from captionacc_dagster.cli.usage import usage_error
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.operations.caption_edits import stored_captions
from captionacc_dagster.operations.subtitle_files import encode_captions
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.subtitles import SubtitleFormat, shown
from modal_gpu.databases.captions import Caption


def load_captions(here: Parts, row: VideoRow) -> list[Caption]:
    """Return a video's captions. Raises ``CaptionsMissingError`` if there are none yet."""
    return stored_captions(here.object_store, row)


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
    captions, growing = load_captions(here, row), here.settings.growing_captions
    data = encode_captions(here.object_store, row, captions, chosen, growing)
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
    else:
        write_output(output, data, force=force)
        say(f"Wrote {output}")


def _format(given: SubtitleFormat | None, output: Path | None) -> SubtitleFormat:
    """Return the format to write. Raises a usage error if it is unclear or contradictory."""
    if output is None or is_stream(output):
        return given or SubtitleFormat.srt
    ending = output.suffix.lower()
    meant = next((one for one in SubtitleFormat if ending == f".{one}"), given)
    if meant is None:
        raise usage_error(
            f"{output}: no format follows from its name: end it in .srt, .vtt, .ass or .json, "
            "or give `--format`"
        )
    if given not in (None, meant):
        raise usage_error(f"{output} contradicts `--format {given}`: end it in .{given}")
    return meant
