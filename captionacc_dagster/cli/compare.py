"""``compare``: the captions, boxes and chunks of another side, compared with those here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from captionacc_dagster.cli import json_comparison_models as models
from captionacc_dagster.cli.app import Parts, parts
from captionacc_dagster.cli.completion import video_names
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.files import Force, check_output, write_output
from captionacc_dagster.cli.json_output import AsJson, print_json
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.root import app, console, note, say, waiting
from captionacc_dagster.cli.usage import as_usage_errors, usage_error
from captionacc_dagster.comparison.captions import TOLERANCE_MS, Group, Kind
from captionacc_dagster.comparison.comparing import VideoComparison, compare_sides, summed
from captionacc_dagster.comparison.figures import Check, judge, limits_with
from captionacc_dagster.comparison.platform import file_side, platform_side
from captionacc_dagster.comparison.report import shown, times_line, to_csv, to_html
from captionacc_dagster.comparison.sides import SideCaption
from captionacc_dagster.operations.tenant_names import find_tenant
from modal_gpu.captions.edits import clock

#: Files that ``--with`` takes; any other value is a video.
_SUBTITLES = {".srt", ".vtt", ".ass", ".ssa"}
#: Differences that are listed; all are in the report and in the JSON.
LISTED = 20


Named = Annotated[
    str | None,
    typer.Argument(
        metavar="VIDEO",
        help="name, id, start of an id, or partition key",
        show_default=False,
        autocompletion=video_names,
    ),
]
Tenant = Annotated[str | None, typer.Option(help="all videos of a tenant, by its name or id")]
Other = Annotated[
    str | None,
    typer.Option("--with", help="a subtitle file, or another video here, as the old side"),
]
Report = Annotated[
    Path | None, typer.Option("--report", help="write comparison.csv and comparison.html into this folder")
]
Limits = Annotated[
    list[str] | None, typer.Option("--limit", help="NAME=VALUE in place of a limit; can be repeated")
]
Tolerance = Annotated[
    float, typer.Option(click_type=FiniteRange(0, 10), help="seconds by which times may differ")
]


@app.command()
def compare(
    video: Named = None,
    tenant: Tenant = None,
    other: Other = None,
    report: Report = None,
    limits: Limits = None,
    tolerance: Tolerance = TOLERANCE_MS / 1000,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Compare captions, boxes and chunks of the predecessor, or of a file, with those here.

    Captions are matched by the time that they share. The exit code is 0 if all limits are met, and otherwise
    4. Nothing is changed on either side.
    """
    if (video is None) == (tenant is None):
        raise usage_error("name a video, or all of a tenant with `--tenant`")
    if tenant is not None and other is not None:
        raise usage_error("`--with` is the other side of one video: name it instead of `--tenant`")
    with as_usage_errors():
        agreed = limits_with(limits or ())
    if report is not None:
        for path in _files(report):
            check_output(path, force=force)
    here, tolerance_ms = parts(), round(tolerance * 1000)
    found = list(_compared(here, video, tenant, other, tolerance_ms))
    checks = judge(summed(found), agreed)
    if report is not None:
        name = found[0].name if video is not None else f"tenant {tenant}"
        page = to_html(found, checks, title=f"Comparison of {name}", tolerance_ms=tolerance_ms)
        report.mkdir(parents=True, exist_ok=True)
        for path, text in zip(_files(report), (to_csv(found), page), strict=True):
            write_output(path, text.encode(), force=force)
    if as_json:
        print_json(_as_comparison(found, checks, agreed, tolerance_ms))
    else:
        _print(found, checks)
        if report is not None:
            say("Wrote {} and {}".format(*_files(report)))
    if not all(check.is_met for check in checks):
        raise typer.Exit(ExitCode.DIFFERS)


def _files(folder: Path) -> tuple[Path, Path]:
    return folder / "comparison.csv", folder / "comparison.html"


def _compared(
    here: Parts, video: str | None, tenant: str | None, other: str | None, tolerance_ms: int
) -> Iterator[VideoComparison]:
    if video is not None and other is not None:
        yield _compared_with(here, video, other, tolerance_ms)
        return
    from captionacc_dagster.adoption.predecessor import open_predecessor
    from captionacc_dagster.comparison.predecessor import compare_tenant, compare_video

    row = None if video is None else here.find_video(video)
    with closing(open_predecessor(here.settings)) as predecessor:
        if row is not None:
            yield compare_video(predecessor, here.catalog, here.object_store, row, tolerance_ms)
        elif tenant is not None:
            tenant_id = find_tenant(here.catalog, tenant).tenant_id
            with waiting(f"Comparing the videos of {tenant}", in_a_line=False):
                yield from compare_tenant(
                    predecessor, here.catalog, here.object_store, tenant_id, tolerance_ms
                )
        for sentence in predecessor.notes:
            note(sentence)


def _compared_with(here: Parts, video: str, other: str, tolerance_ms: int) -> VideoComparison:
    """Compare a video with a subtitle file, or with another video here; captions are those viewers see."""
    row, growing = here.find_video(video), here.settings.growing_captions
    new = platform_side(here.catalog, here.object_store, row, growing=growing)
    if Path(other).suffix.lower() in _SUBTITLES:
        old = file_side(Path(other), row.timeline)
        # A file has captions only: chunks and boxes are not the question.
        new = replace(new, layout=None, chunks=None)
    else:
        second = platform_side(here.catalog, here.object_store, here.find_video(other), growing=growing)
        old = replace(second, name="old")
    return compare_sides(row.video_id, row.display_path, old, new, tolerance_ms)


def _print(found: Sequence[VideoComparison], checks: Sequence[Check]) -> None:
    if len(found) > 1:
        console.print(_videos_table(found), highlight=False, markup=False)
        console.print()
    else:
        for one in found:
            for sentence in one.notes:
                say(sentence)
    lines = [line for one in found for line in _lines(one, named=len(found) > 1)]
    for line in lines[:LISTED]:
        say(line)
    if len(lines) > LISTED:
        say(f"… and {len(lines) - LISTED} more differences; `--report` and `--json` have all of them.")
    table = Table(box=None, pad_edge=False)
    for heading in ("limit", "what", "found", "at most", ""):
        table.add_column(heading, justify="right" if heading in ("found", "at most") else "left")
    for check in checks:
        table.add_row(check.rule.name, check.rule.what, *shown(check), "met" if check.is_met else "EXCEEDED")
    if lines:
        console.print()
    console.print(table, highlight=False, markup=False)
    total = summed(found)
    if total.pairs:
        say(times_line(total))
    exceeded = [check.rule.name for check in checks if not check.is_met]
    say(f"Beyond the limit: {', '.join(exceeded)}." if exceeded else "All limits are met.")


def _videos_table(found: Sequence[VideoComparison]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("video", overflow="fold")
    for heading in ("old", "new", "same", "differences"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("notes", overflow="fold")
    for one in found:
        figures, counts = one.figures, one.counts()
        numbers = (figures.old_captions, figures.new_captions, counts.get(Kind.SAME, 0), len(one.differences))
        table.add_row(one.name, *map(str, numbers), "; ".join(one.notes))
    return table


def _lines(one: VideoComparison, *, named: bool) -> Iterator[str]:
    for group in one.differences:
        name = f"{one.name}, " if named else ""
        lost = " (a person's work differs)" if group.lost_edits else ""
        yield f"{name}{clock(group.start)}: {group.kind}{lost}: {_text(group.old)} → {_text(group.new)}"


def _text(captions: Sequence[SideCaption]) -> str:
    if not captions:
        return "no caption"
    texts = ["not read" if c.text is None else repr(c.text.replace("\n", " / ")) for c in captions]
    times = f"{clock(min(c.start for c in captions))} to {clock(max(c.end for c in captions))}"
    return f"{' | '.join(texts)} ({times})"


def _as_comparison(
    found: Sequence[VideoComparison],
    checks: Sequence[Check],
    limits: Mapping[str, float],
    tolerance_ms: int,
) -> models.Comparison:
    return models.Comparison(
        met=all(check.is_met for check in checks),
        tolerance_seconds=tolerance_ms / 1000,
        checks=[
            models.ComparisonCheck(
                limit=check.rule.name,
                what=check.rule.what,
                count=check.count,
                of=check.of,
                at_most=check.limit,
                met=check.is_met,
            )
            for check in checks
        ],
        videos=[
            models.ComparedVideo(
                video_id=one.video_id,
                name=one.name,
                met=all(check.is_met for check in judge(one.figures, limits)),
                old_captions=one.figures.old_captions,
                new_captions=one.figures.new_captions,
                kinds={str(kind): count for kind, count in one.counts().items()},
                notes=list(one.notes),
            )
            for one in found
        ],
        differences=[_as_difference(one, group) for one in found for group in one.differences],
    )


def _as_difference(one: VideoComparison, group: Group) -> models.Difference:
    return models.Difference(
        video_id=one.video_id,
        kind=str(group.kind),
        lost_edits=len(group.lost_edits),
        old=[_as_caption(caption) for caption in group.old],
        new=[_as_caption(caption) for caption in group.new],
    )


def _as_caption(caption: SideCaption) -> models.ComparedCaption:
    return models.ComparedCaption(
        id=caption.id, start_seconds=caption.start / 1000, end_seconds=caption.end / 1000, text=caption.text
    )
