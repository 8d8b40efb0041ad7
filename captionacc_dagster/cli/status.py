"""``status``: all videos in a table, or one in detail."""

from datetime import datetime
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.app import parts
from captionacc_dagster.cli.clocks import length, moment
from captionacc_dagster.cli.completion import video_names
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.regions import described
from captionacc_dagster.cli.root import app, console, note
from captionacc_dagster.cli.states import as_video, caption_count, remark, size_of, state_of
from captionacc_dagster.resources.catalog import STAGES, Stage, VideoRow


@app.command()
def status(
    video: Annotated[
        str | None,
        typer.Argument(
            metavar="[VIDEO]", help="name, id, start of an id, or partition key", autocompletion=video_names
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="most videos that are listed")] = 200,
    as_json: AsJson = False,
) -> None:
    """Show the status of all videos, or of one in detail."""
    here = parts()
    if video is not None:
        row = here.find_video(video)
        if as_json:
            print_json(as_video(row))
        else:
            _details(row)
        return
    rows = here.catalog.list_videos(limit=limit + 1)
    more, rows = len(rows) > limit, rows[:limit]
    if as_json:
        print_json(models.Videos(videos=[as_video(row) for row in rows], more=more))
    elif rows:
        console.print(_table(rows))
    else:
        console.print(
            "No videos yet. `captionacc ingest FILE` adds one; `captionacc demo` processes a sample."
        )
    if more:
        note(f"These are the newest {limit}; `--limit` lists more.")


def _table(rows: list[VideoRow]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for header in ("file", "length", *STAGES, "captions", ""):
        table.add_column(header)
    for row in rows:
        table.add_row(
            row.short_id,
            escape(row.display_path),
            length(row.duration_seconds) if row.duration_seconds else "",
            *(_stage_word(row, stage) for stage in STAGES),
            _count(row),
            escape(remark(row)),
        )
    return table


def _stage_word(row: VideoRow, stage: Stage) -> str:
    if row.stage(stage).run_id:
        return "[cyan]working[/]"
    word = row.stage(stage).status
    if stage == "text" and state_of(row) == "language":
        return "[yellow]unread[/]"
    return {"error": "[red]error[/]", "done": "[green]done[/]", "annotate": "[green]ready[/]"}.get(word, word)


def _count(row: VideoRow) -> str:
    count = caption_count(row)
    return "" if count is None else str(count)


def _details(row: VideoRow) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("id", row.video_id)
    table.add_row("file", escape(row.display_path))
    table.add_row("tenant", row.tenant_id)
    table.add_row("uploaded", moment(row.uploaded_at or row.created_at))
    if row.deleted_at is not None:
        table.add_row("deleted", moment(row.deleted_at))
    if row.width:
        seconds = row.duration_seconds or 0.0
        shape = f"{row.width} × {row.height}, {row.video_codec}"
        table.add_row("video", f"{shape}, {length(seconds)} ({seconds:.1f} s)")
    for stage in STAGES:
        table.add_row(stage, _stage_word(row, stage))
        if row.stage(stage).status == "error" and (details := row.stage(stage).error_details):
            failed_at = details.get("failed_at")
            when = moment(datetime.fromisoformat(failed_at)) if failed_at else "time unknown"
            table.add_row("", escape(f"{details.get('message')}  (run {details.get('run_id')}, {when})"))
    if row.crop_region:
        table.add_row("crop region", described(row.crop_region, size_of(row)))
        for zone in row.caption_zones:
            table.add_row(f"zone {zone.zone_index}", described(zone.crop_region, size_of(row)))
        table.add_row("approved", escape(f"by {row.layout_approved_by}, version {row.crop_region_version}"))
    if _count(row):
        table.add_row("captions", _count(row))
    for remark_ in filter(None, (row.layout.note, row.boundaries.note, row.text.note, row.damage)):
        table.add_row("note", escape(remark_))
    console.print(table, highlight=False)
