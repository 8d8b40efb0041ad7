"""``ingest`` and ``retry``: uploading videos, and running what failed again."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.completion import video_names
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.inputs import find_videos
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.root import app, notes, say
from captionacc_dagster.cli.running import processed
from captionacc_dagster.cli.states import as_video, report_all, state_of
from captionacc_dagster.cli.uploads import Arrivals, upload
from captionacc_dagster.operations.processing import retry_failed
from captionacc_dagster.platform.disk import disk_places, little_space, refuse_full_disk
from captionacc_dagster.resources.catalog import VideoRow

Video = Annotated[
    str,
    typer.Argument(
        metavar="VIDEO", help="name, id, start of an id, or partition key", autocompletion=video_names
    ),
]


@app.command()
def ingest(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="videos, folders with videos, or patterns")
    ],
    wait: Annotated[bool, typer.Option(help="wait until their captions are ready")] = True,
    again: Annotated[
        bool, typer.Option("--again", help="process files that were already uploaded, too")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upload videos and turn them into captions.

    A file whose content was uploaded before is not processed twice. Files that cannot be read are listed,
    the others continue, and the exit code is 1.

    A running platform (`captionacc up`) processes the videos. If none is running, this command runs one
    while it waits.
    """
    here = parts(Use.MAKE)
    refuse_full_disk(disk_places(here.settings))
    found = find_videos(files)
    paths = [video.path for video in found.videos]
    if warning := little_space(disk_places(here.settings), sum(map(_size, paths))):
        notes.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    arrivals = upload(here, paths, again=again)
    arrivals.refused += found.refused
    arrivals.print_notes()
    rows = arrivals.rows
    if wait and any(state_of(row) == "working" for row in rows):
        with processed(here, rows) as rows:
            _report(arrivals, rows, is_final=True, as_json=as_json)
    else:
        _report(arrivals, rows, is_final=wait, as_json=as_json)
    if arrivals.refused or any(state_of(row) in ("error", "deleted") for row in rows):
        raise typer.Exit(ExitCode.FAILED)


def _report(arrivals: Arrivals, rows: list[VideoRow], *, is_final: bool, as_json: bool) -> None:
    if as_json:
        refused = [models.Refused(file=str(file), reason=reason) for file, reason in arrivals.refused]
        videos = [as_video(row) for row in rows]
        known = [str(file) for file, _ in arrivals.known]
        print_json(models.Ingested(videos=videos, known=known, refused=refused))
    elif is_final:
        report_all(rows)
    else:
        for row in rows:
            say(f"{row.short_id}  {row.display_path}")


@app.command()
def retry(video: Video, as_json: AsJson = False) -> None:
    """Retry a video's failed stages."""
    here = parts(Use.WRITE)
    row = here.find_video(video)
    failed = retry_failed(here.catalog, row)
    if as_json:
        print_json(models.Retried(video_id=row.video_id, name=row.display_path, stages=failed))
    elif failed:
        say(f"{row.display_path}: a running platform will retry {', '.join(failed)}.")
    else:
        say(f"{row.display_path}: no stage has failed.")


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0
