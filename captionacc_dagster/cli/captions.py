"""``captions`` and ``export``: what came out."""

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from captionacc_dagster.cli.app import Parts, app, console, parts
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.previews import clock
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.subtitles import shown, to_rows, to_srt, to_vtt
from modal_gpu.databases.captions import Caption, read_captions
from modal_gpu.errors import CaptionAccError, ObjectNotFoundError
from modal_gpu.keys import VideoKeys
from modal_gpu.timeline import Timeline


class CaptionsMissingError(CaptionAccError):
    """A command needs captions that are not there yet."""


class SubtitleFormat(StrEnum):
    """Formats of ``export``."""

    srt = "srt"
    vtt = "vtt"
    json = "json"


def load_captions(here: Parts, row: VideoRow) -> list[Caption]:
    """A video's captions; :class:`CaptionsMissingError` says why there are none yet."""
    keys = VideoKeys(row.tenant_id, row.video_id)
    try:
        return read_captions(here.object_store.get(keys.captions_db))
    except ObjectNotFoundError:
        raise CaptionsMissingError(
            f"video {row.video_id} has no captions yet; `captionacc status {row.video_id[:8]}` says why"
        ) from None


def captions_table(captions: list[Caption], timeline: Timeline) -> Table:
    """Start, end, text and how sure each is."""
    table = Table(box=None, pad_edge=False)
    table.add_column("start", justify="right", no_wrap=True)
    table.add_column("end", justify="right", no_wrap=True)
    table.add_column("text", overflow="fold")
    table.add_column("sure", justify="right")
    for start, end, caption in shown(captions, timeline):
        sure = "person" if caption.text is not None else f"{caption.ocr_confidence or 0:.2f}"
        table.add_row(clock(start / 1000), clock(end / 1000), caption.best_text.replace("\n", " / "), sure)
    return table


@app.command()
def captions(video: Video) -> None:
    """Show a video's captions with their times."""
    here = parts()
    row = here.find_video(video)
    found = load_captions(here, row)
    if shown(found, row.timeline):
        console.print(captions_table(found, row.timeline), highlight=False, markup=False)
    else:
        console.print("This video has no captions.")


@app.command()
def export(
    video: Video,
    format: Annotated[SubtitleFormat, typer.Option("--format", "-f")] = SubtitleFormat.srt,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="standard output when left out")
    ] = None,
) -> None:
    """Write a video's captions as SubRip, WebVTT or JSON."""
    here = parts()
    row = here.find_video(video)
    found = load_captions(here, row)
    if format is SubtitleFormat.json:
        text = json.dumps(to_rows(found, row.timeline), ensure_ascii=False, indent=2) + "\n"
    else:
        text = {"srt": to_srt, "vtt": to_vtt}[format](found, row.timeline)
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text, encoding="utf-8")
        console.print(f"Wrote {output}", highlight=False, markup=False)
