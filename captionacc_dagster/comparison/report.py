"""The report of a comparison: a table for programs (CSV), and a page for people (HTML, one file)."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from rapidfuzz.distance import Levenshtein

from captionacc_dagster import __version__
from captionacc_dagster.comparison.captions import Group, Kind
from captionacc_dagster.comparison.comparing import VideoComparison, summed
from captionacc_dagster.comparison.figures import Check, Figures, judge, spread
from captionacc_dagster.comparison.pictures import data_address, pictures_of
from captionacc_dagster.comparison.sides import SideCaption
from modal_gpu.captions.edits import clock

#: Differences that have pictures on the page, and those that are on it at all; the CSV has all of them.
MOST_PICTURES, MOST_SHOWN = 200, 2000
_COLUMNS = (
    *("video_id", "name", "kind", "zone", "lost_edits"),
    *("old_ids", "old_start", "old_end", "old_text", "new_ids", "new_start", "new_end", "new_text"),
    *("start_difference_ms", "end_difference_ms", "text_edits"),
)
_templates = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)


def to_csv(comparisons: Sequence[VideoComparison]) -> str:
    """Return what differs, a row each; times in seconds as players count, ids separated by spaces.

    Texts that a spreadsheet would calculate begin with an apostrophe.
    """
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow(_COLUMNS)
    for one in comparisons:
        writer.writerows(_row(one, group) for group in one.differences)
    return stream.getvalue()


def _row(one: VideoComparison, group: Group) -> list[object]:
    zone = (*group.old, *group.new)[0].zone
    return [
        *(one.video_id, _harmless(one.name), str(group.kind), zone, len(group.lost_edits)),
        *(*_span(group.old), _harmless(group.old_text), *_span(group.new), _harmless(group.new_text)),
        *(_or_empty(group.start_difference), _or_empty(group.end_difference), group.text_edits),
    ]


def _span(captions: Sequence[SideCaption]) -> tuple[str, str, str]:
    if not captions:
        return "", "", ""
    ids = " ".join(str(caption.id) for caption in captions if caption.id is not None)
    start, end = min(c.start for c in captions), max(c.end for c in captions)
    return ids, f"{start / 1000:.3f}", f"{end / 1000:.3f}"


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _or_empty(value: int | None) -> object:
    return "" if value is None else value


@dataclass(frozen=True)
class Piece:
    """A piece of a text; ``is_other`` if the other side has something else there."""

    text: str
    is_other: bool


def pieces(text: str, other: str) -> list[Piece]:
    """Divide a text into pieces that are in another text too, and pieces that are not."""
    found = []
    for step in Levenshtein.opcodes(text, other):
        piece = text[step.src_start : step.src_end]
        if piece:
            # A space in place of a line break is no difference.
            found.append(Piece(piece, step.tag != "equal" and not piece.isspace()))
    return found


@dataclass(frozen=True)
class _Side:
    times: str
    text: list[Piece]
    is_there: bool
    is_read: bool
    picture: str


@dataclass(frozen=True)
class _Difference:
    kind: Kind
    start: str
    is_lost_edit: bool
    shift: str
    sides: tuple[_Side, _Side]


def to_html(
    comparisons: Sequence[VideoComparison],
    checks: Sequence[Check],
    *,
    title: str,
    tolerance_ms: int,
) -> str:
    """Return the page. It needs no other file and no network, and follows the reader's dark or light."""
    left = [MOST_PICTURES, MOST_SHOWN]
    videos = [(one, list(_differences(one, left))) for one in comparisons]
    total = summed(comparisons)
    limits = {check.rule.name: check.limit for check in checks}
    return _templates.get_template("report.html").render(
        title=title,
        version=__version__,
        made_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        tolerance=f"{tolerance_ms / 1000:g} s",
        agrees=all(check.is_met for check in checks),
        checks=[(check, shown(check)) for check in checks],
        videos=videos,
        total=total,
        times=times_line(total),
        hidden=sum(len(one.differences) - len(shown_ones) for one, shown_ones in videos),
        judged={one.video_id: all(c.is_met for c in judge(one.figures, limits)) for one in comparisons},
    )


def shown(check: Check) -> tuple[str, str]:
    """Return what a check found, and its limit, as people read them."""
    if not check.rule.of:
        return str(check.count), f"{check.limit:g}"
    found = (
        "nothing to compare" if check.share is None else f"{check.share:.1%} ({check.count} of {check.of})"
    )
    return found, f"{check.limit:.1%}"


def times_line(figures: Figures) -> str:
    """Return the differences of the times in one sentence."""
    starts, ends = spread(figures.start_differences), spread(figures.end_differences)
    return (
        f"Starts differ by {starts[0]} ms in the median, {starts[1]} ms at the 95th percentile, "
        f"{starts[2]} ms at most; ends by {ends[0]}, {ends[1]} and {ends[2]} ms."
    )


def _differences(one: VideoComparison, left: list[int]) -> Iterator[_Difference]:
    """Yield the differences that the page shows. ``left``: how many pictures and differences it may have."""
    for group in one.differences:
        if left[1] <= 0:
            return
        left[1] -= 1
        pictures: tuple[bytes | None, bytes | None] = (None, None)
        if left[0] > 0:
            left[0] -= 1
            pictures = pictures_of(group, one.old, one.new)
        yield _Difference(
            group.kind,
            clock(group.start),
            bool(group.lost_edits),
            _shift(group),
            (
                _side(group.old, pieces(group.old_text, group.new_text), pictures[0]),
                _side(group.new, pieces(group.new_text, group.old_text), pictures[1]),
            ),
        )


def _shift(group: Group) -> str:
    if group.start_difference is None or group.end_difference is None or group.same_times:
        return ""
    return f"starts {_later(group.start_difference)}, ends {_later(group.end_difference)}"


def _later(difference: int) -> str:
    if not difference:
        return "at the same time"
    return f"{abs(difference) / 1000:.2f} s {'later' if difference > 0 else 'earlier'}"


def _side(captions: Sequence[SideCaption], text: list[Piece], picture: bytes | None) -> _Side:
    times = ", ".join(f"{clock(caption.start)} to {clock(caption.end)}" for caption in captions)
    return _Side(
        times,
        text,
        bool(captions),
        all(caption.text is not None for caption in captions),
        data_address(picture) if picture else "",
    )
