"""``captions``: a video's captions on the screen, and edits of single captions."""

from collections.abc import Callable, Sequence
from typing import Annotated

import click
import typer
from click.shell_completion import CompletionItem
from typer.core import TyperGroup

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.app import parts
from captionacc_dagster.cli.caption_changes import DryRun, changed, report
from captionacc_dagster.cli.captions import captions_table, load_captions, load_cues
from captionacc_dagster.cli.completion import video_names
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.root import app, console
from captionacc_dagster.cli.times import PlayerTime
from captionacc_dagster.cli.usage import usage_error
from captionacc_dagster.cli.videos import Video
from captionacc_dagster.operations.caption_edits import Plan
from modal_gpu.captions import single_edits
from modal_gpu.captions.edits import Change
from modal_gpu.captions.subtitles import TimedCue, to_rows

TIME = PlayerTime()
#: The longest shift, in seconds.
DAY = 86_400
#: SQLite's largest row id.
LARGEST_ID = 2**63 - 1
Id = Annotated[int, typer.Argument(metavar="ID", help="id of a caption", min=1, max=LARGEST_ID)]
Ids = Annotated[
    list[int] | None, typer.Argument(metavar="ID…", help="ids of captions", min=1, max=LARGEST_ID)
]
All = Annotated[bool, typer.Option("--all", help="all captions of the video")]


class ShowsByDefault(TyperGroup):
    """A group of commands whose first argument may also be a video: ``show`` is then meant."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put ``show`` before anything that is no command of the group."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["show", *args]
        return super().parse_args(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands, and the videos that ``show`` takes."""
        videos = [CompletionItem(name) for name in video_names(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *videos]


captions_app = typer.Typer(
    cls=ShowsByDefault, no_args_is_help=True, help="Show a video's captions with their times, and edit them."
)
app.add_typer(captions_app, name="captions")


@captions_app.command()
def show(video: Video, as_json: AsJson = False) -> None:
    """Show a video's captions with their ids and times; `show` may be left out."""
    here = parts()
    row = here.find_video(video)
    if as_json:
        rows = to_rows(load_captions(here, row), row.timeline, here.settings.growing_captions)
        print_json([models.Caption(**row) for row in rows])
    elif cues := load_cues(here, row):
        console.print(captions_table(cues), highlight=False, markup=False)
    else:
        console.print("This video has no captions.")


@captions_app.command("set")
def set_(
    video: Video,
    caption: Id,
    text: Annotated[
        str | None,
        typer.Option(help="its text; a line break is a new line; an empty text removes the caption"),
    ] = None,
    start: Annotated[int | None, typer.Option(click_type=TIME, help="its start")] = None,
    end: Annotated[int | None, typer.Option(click_type=TIME, help="its end")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Set a caption's text, start or end. Times are those that a player shows."""
    if text is None and start is None and end is None:
        raise usage_error("nothing to set: give `--text`, `--start` or `--end`")
    _edit(
        video,
        lambda cues: [single_edits.set_caption(single_edits.find(cues, caption), text, start, end)],
        dry_run,
        as_json,
    )


@captions_app.command()
def split(
    video: Video,
    caption: Id,
    at: Annotated[int, typer.Option(click_type=TIME, help="when the second part starts")],
    texts: Annotated[
        list[str] | None, typer.Option("--text", help="the text of each part, in their order; give it twice")
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make two captions of one.

    Without texts, its own is divided at the line break or space that is nearest to the time.
    """
    if texts and len(texts) != 2:
        raise usage_error("give `--text` twice: one text for each part")
    parts_texts = (texts[0], texts[1]) if texts else None
    _edit(
        video,
        lambda cues: [single_edits.split(single_edits.find(cues, caption), at, parts_texts)],
        dry_run,
        as_json,
    )


@captions_app.command()
def merge(
    video: Video,
    captions: Annotated[
        list[int], typer.Argument(metavar="ID ID…", help="ids of captions", min=1, max=LARGEST_ID)
    ],
    text: Annotated[str | None, typer.Option(help="the text; default: the texts, a line each")] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make one caption of several that follow each other."""
    if len(set(captions)) < 2:
        raise usage_error("name at least two captions")

    def plan(cues: Sequence[TimedCue]) -> list[Change]:
        chosen = [single_edits.find(cues, one) for one in captions]
        return [single_edits.merge_in_succession(cues, chosen, text)]

    _edit(video, plan, dry_run, as_json)


@captions_app.command()
def shift(
    video: Video,
    captions: Ids = None,
    by: Annotated[
        float,
        typer.Option(
            click_type=FiniteRange(-DAY, DAY), help="seconds; negative: earlier", show_default=False
        ),
    ] = 0.0,
    every: All = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Move captions in time, all of them or some."""
    milliseconds = round(by * 1000)
    if not milliseconds:
        raise usage_error("give `--by` with the seconds to move them, such as `--by -0.2`")
    _edit(video, _each(captions, every, lambda cue: single_edits.shift(cue, milliseconds)), dry_run, as_json)


@captions_app.command()
def confirm(
    video: Video, captions: Ids = None, every: All = False, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Confirm captions as they are: runs keep their text and times."""
    _edit(video, _each(captions, every, single_edits.confirm), dry_run, as_json)


def _each(captions: list[int] | None, every: bool, change: Callable[[TimedCue], Change]) -> Plan:
    """Return a plan that changes each chosen caption. Raises a usage error for none, or both choices."""
    if every == bool(captions):
        raise usage_error("name the captions by their ids, or give `--all`")

    def plan(cues: Sequence[TimedCue]) -> list[Change]:
        if every:
            return [change(cue) for cue in cues]
        found = {id(cue): cue for cue in (single_edits.find(cues, one) for one in captions or ())}
        return [change(cue) for cue in found.values()]

    return plan


def _edit(video: str, plan: Plan, dry_run: bool, as_json: bool) -> None:
    row, edited = changed(video, plan, dry_run=dry_run)
    report(row, edited, dry_run=dry_run, as_json=as_json)
