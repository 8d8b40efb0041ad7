"""``delete`` and ``rename``: edits of a video's row."""

import sys
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.clocks import moment
from captionacc_dagster.cli.root import app, note, say
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.operations.deletion import NotConfirmedError, consequences, label
from captionacc_dagster.resources.catalog import VideoRow


@app.command()
def delete(
    video: Video,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask for confirmation")] = False,
) -> None:
    """Delete a video: processing stops at once, its files are removed some days later.

    If several videos have the name, the id is required.
    """
    here = parts(Use.WRITE)
    row = here.find_video(video, only_one=True)
    if row.deleted_at is not None:
        say(f"{label(row)} was deleted on {moment(row.deleted_at)}.")
        return
    for line in consequences(row, here.settings.deleted_days):
        note(line)
    if not yes:
        _confirm(row)
    here.catalog.soft_delete_video(row.video_id)
    say(f"Deleted {label(row)}.")


@app.command()
def rename(
    video: Video,
    name: Annotated[str, typer.Argument(metavar="NAME", help="the name to display")],
) -> None:
    """Rename a video. Its id, files and results do not change."""
    here = parts(Use.WRITE)
    row = here.find_video(video)
    renamed = here.catalog.rename_video(row.video_id, name)
    say(f"{label(row)} is now named {renamed.display_path}.")


def _confirm(row: VideoRow) -> None:
    if not sys.stdin.isatty():
        raise NotConfirmedError(
            f"{label(row)} was not deleted: there is no terminal to confirm it on, so give `--yes`"
        )
    if not typer.confirm("Delete it?", err=True):
        raise NotConfirmedError(f"{label(row)} was not deleted")
