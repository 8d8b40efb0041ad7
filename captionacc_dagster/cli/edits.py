"""``delete`` and ``rename``."""

import sys
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Use, app, note, parts, say
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.resources.catalog import STAGES, VideoRow
from modal_gpu.errors import CaptionAccError


class NotConfirmedError(CaptionAccError):
    """A destructive command has no certain confirmation."""


@app.command()
def delete(
    video: Video,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False,
) -> None:
    """Delete a video: no more work on it at once, its files some days later.

    A name that several videos have is refused: give the id.
    """
    here = parts(Use.WRITE)
    row = here.find_video(video, only_one=True)
    if row.deleted_at is not None:
        say(f"{_told(row)} was deleted on {row.deleted_at.astimezone():%Y-%m-%d %H:%M}.")
        return
    for line in _what_goes(row, here.settings.deleted_days):
        note(line)
    if not yes:
        _confirm(row)
    here.catalog.soft_delete_video(row.video_id)
    say(f"Deleted {_told(row)}.")


@app.command()
def rename(
    video: Video,
    name: Annotated[str, typer.Argument(metavar="NAME", help="the name that people are to see")],
) -> None:
    """Give a video another name. Its id, its files and its results stay as they are."""
    here = parts(Use.WRITE)
    row = here.find_video(video)
    renamed = here.catalog.rename_video(row.video_id, name)
    say(f"{_told(row)} is called {renamed.display_path} now.")


def _told(row: VideoRow) -> str:
    return f"{row.display_path} ({row.video_id[:8]})"


def _what_goes(row: VideoRow, days: float) -> list[str]:
    working = [stage for stage in STAGES if row.stage(stage).run_id]
    found = "" if row.text_caption_count is None else f" and its {row.text_caption_count} captions"
    lines = [f"{_told(row)}{found} will be gone from all lists, and nothing works on it any more."]
    if working:
        lines.append(f"The run that works on it ({', '.join(working)}) is ended.")
    lines.append(
        f"The upload and everything made of it are removed by the upkeep {days:g} days later "
        "(CAPTIONACC_DELETED_DAYS)."
    )
    return lines


def _confirm(row: VideoRow) -> None:
    if not sys.stdin.isatty():
        raise NotConfirmedError(f"{_told(row)} was not deleted: nobody can be asked here, so give `--yes`")
    if not typer.confirm("Delete it?", err=True):
        raise NotConfirmedError(f"{_told(row)} was not deleted")
