"""``import``: a corrected subtitle file becomes people's captions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from captionacc_dagster.cli.caption_changes import DryRun, changed, report
from captionacc_dagster.cli.json_output import AsJson
from captionacc_dagster.cli.root import app, note
from captionacc_dagster.cli.videos import Video
from modal_gpu.captions.edits import Change, counts
from modal_gpu.captions.matching import match
from modal_gpu.captions.subtitle_files import MAX_BYTES, read_subtitles
from modal_gpu.captions.subtitles import TimedCue


@app.command("import")
def import_(
    video: Video,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a corrected .srt, .vtt, .ass or .ssa file")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make the captions of a corrected SubRip, WebVTT or ASS file a video's captions.

    They are matched by time and text with those that are there, and confirmed: runs keep them. Captions that
    the file lacks are removed. A file that says what is there already changes nothing.
    """
    with file.open("rb") as stream:
        wanted = read_subtitles(stream.read(MAX_BYTES + 1), str(file))
    matched: list[Change] = []

    def plan(cues: Sequence[TimedCue]) -> list[Change]:
        matched[:] = match(cues, wanted)
        return [] if all(change.kinds == ("kept",) for change in matched) else matched

    row, edited = changed(str(video), plan, dry_run=dry_run)
    texts = {one.text for change in matched for one in change.after}
    formatted = sum(one.has_formatting and one.raw not in texts for one in wanted)
    if formatted and not as_json:
        note(f"{formatted} captions of {file} have formatting, such as italics, which captions cannot keep.")
    if not edited.changes and not as_json:
        note(
            f"All {len(matched)} captions are as {file} has them. "
            f"`captionacc captions confirm {row.short_id} --all` confirms them."
        )
    report(
        row,
        edited,
        dry_run=dry_run,
        as_json=as_json,
        kept=counts(matched)["kept"],
        formatting_dropped=formatted,
    )
