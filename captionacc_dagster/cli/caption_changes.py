"""Edits of captions as commands make and print them."""

import getpass
from collections.abc import Iterator
from typing import Annotated

import typer

from captionacc_dagster.cli import json_models as models
from captionacc_dagster.cli.app import Use, parts
from captionacc_dagster.cli.json_output import print_json
from captionacc_dagster.cli.root import say
from captionacc_dagster.operations.caption_edits import Edited, Plan, edit_captions
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.edits import Change, clock

DryRun = Annotated[bool, typer.Option("--dry-run", help="show what would change, and write nothing")]
#: Changes that are listed; all are in the JSON.
LISTED = 40


def changed(video: str, plan: Plan, *, dry_run: bool) -> tuple[VideoRow, Edited]:
    """Make an edit of a video's captions as this person; return its row and what changed."""
    here = parts(Use.READ if dry_run else Use.WRITE)
    row = here.find_video(video)
    edited = edit_captions(
        here.catalog,
        here.object_store,
        row,
        plan,
        owner=f"captionacc, {getpass.getuser()}",
        growing=here.settings.growing_captions,
        dry_run=dry_run,
    )
    return row, edited


def report(row: VideoRow, edited: Edited, *, dry_run: bool, as_json: bool, **more: int) -> None:
    """Print what an edit changed: a line a change and a summary, or JSON; ``more`` are an import's fields."""
    if as_json:
        shape = models.Import if more else models.Edit
        result = shape(
            video_id=row.video_id,
            name=row.display_path,
            dry_run=dry_run,
            written=edited.is_written,
            counts=dict(edited.counts),
            changes=[_as_change(change) for change in edited.changes if change.kinds != ("kept",)],
            **more,
        )
        print_json(result)
        return
    lines = [line for change in edited.changes for line in _lines(change)]
    for line in lines[:LISTED]:
        say(line)
    if len(lines) > LISTED:
        say(f"… and {len(lines) - LISTED} more changes; `--json` lists all of them.")
    found = ", ".join(f"{count} {kind}" for kind, count in edited.counts.items() if count)
    ending = "Nothing was written." if not edited.is_written else "They are a person's now: runs keep them."
    say(f"{row.display_path}: {found or 'nothing to change'}. {ending}")


def _as_change(change: Change) -> models.Change:
    return models.Change(
        kinds=list(change.kinds),
        before=[
            models.CaptionBefore(id=c.caption.id, **_span(c.start, c.end), text=c.caption.best_text)
            for c in change.before
        ],
        after=[models.CaptionAfter(**_span(w.start, w.end), text=w.text) for w in change.after],
    )


def _span(start: int, end: int) -> dict[str, float]:
    return {"start_seconds": start / 1000, "end_seconds": end / 1000}


def _lines(change: Change) -> Iterator[str]:
    """Yield the line of one change; none for a caption that is kept."""
    if change.kinds == ("kept",):
        return
    ids = ", ".join(str(cue.caption.id) for cue in change.before)
    name = f"caption {ids}" if ids else f"at {clock(change.after[0].start)}"
    before = " | ".join(_text(cue.caption.best_text) for cue in change.before)
    after = " | ".join(_text(one.text) for one in change.after)
    if change.kinds == ("times moved",):
        cue, one = change.before[0], change.after[0]
        before = f"{clock(cue.start)} to {clock(cue.end)}"
        after = f"{clock(one.start)} to {clock(one.end)}"
    yield f"{' and '.join(change.kinds)}: {name}: " + " → ".join(part for part in (before, after) if part)


def _text(text: str) -> str:
    return text.replace("\n", " / ")
