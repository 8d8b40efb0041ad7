"""The comparison's table, and the sentence that says where this project leads or by how much it is behind."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table

from benchmarks.peers.measuring import Row
from benchmarks.peers.tools import OURS


@dataclass(frozen=True)
class Measure:
    """A compared figure. ``better`` is larger for a better row.

    With ``needs_times`` it leaves out tools that were given the times of the captions.
    """

    name: str
    better: Callable[[Row], float]
    shown: Callable[[float], str]
    needs_times: bool = False


MEASURES = (
    Measure("found", lambda row: row.found, lambda value: f"{value:.0f}", needs_times=True),
    Measure("exact text", lambda row: row.exact_text, lambda value: f"{value:.0f}"),
    Measure("both ends", lambda row: row.both_ends, lambda value: f"{value:.0f}", needs_times=True),
    Measure("CPU seconds", lambda row: -row.cpu, lambda value: f"{value:.1f} s", needs_times=True),
)


COLUMNS = ("tool", "setting", "wall s", "CPU s", "peak MB", "found", "invented", "exact", "both ends", "CER")


def best_rows(rows: Sequence[Row]) -> list[Row]:
    """Return each tool's default row, and its best other row if that is better.

    A row that did not fail is better than one that did; then the sum of found, exact and both ends less
    invented decides, then the CPU time.
    """
    kept: list[Row] = []
    for tool in dict.fromkeys(row.tool for row in rows):
        first, *others = (row for row in rows if row.tool == tool)
        best = max([first, *others], key=_score)
        kept += [first] if best is first else [first, best]
    return kept


def _score(row: Row) -> tuple[bool, int, float]:
    return not row.failure, row.found + row.exact_text + row.both_ends - row.invented, -row.cpu


def standing(rows: Sequence[Row]) -> str:
    """Return in one sentence where this project leads on a clip, and by how much it is behind elsewhere.

    It leads in a figure if each row of every other tool is worse. Tools that were given the times of the
    captions count for exact text only. A figure that no other tool has is left out.
    """
    ours = next(row for row in rows if row.tool == OURS)
    others = [row for row in rows if row.tool != OURS and not row.failure]
    leads, level, behind = [], [], []
    for measure in MEASURES:
        rivals = [row for row in others if not (row.times_given and measure.needs_times)]
        if not rivals:
            continue
        best = max(rivals, key=measure.better)
        lack = measure.better(best) - measure.better(ours)
        if lack < 0:
            leads.append(measure.name)
        elif lack == 0:
            level.append(measure.name)
        else:
            behind.append(f"{measure.name} by {measure.shown(lack)} ({best.tool}, {best.setting})")
    parts = [f"leads in {', '.join(leads)}"] if leads else []
    parts += [f"is level in {', '.join(level)}"] if level else []
    parts += [f"is behind in {'; '.join(behind)}"] if behind else []
    parts = parts or ["has nothing to be compared with"]
    return f"{ours.clip}: {OURS} {', and '.join(parts)}"


def title(rows: Sequence[Row]) -> str:
    """Return the title of a clip's table: its name, length and number of captions."""
    first = rows[0]
    return f"{first.clip}: {first.seconds_of_video:.0f} s, {max(row.truth for row in rows)} captions"


def markdown(rows: Sequence[Row]) -> str:
    """Return the table of one clip as the documentation has it."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"| --- | --- |{' ---: |' * (len(COLUMNS) - 2)}"]
    lines += [f"| {' | '.join(_cells(row))} |" for row in rows]
    return "\n".join(lines)


def table(rows: Sequence[Row]) -> Table:
    """Build the table of one clip."""
    built = Table(*COLUMNS, title=title(rows), title_justify="left")
    for column in built.columns[2:]:
        column.justify = "right"
    for row in rows:
        built.add_row(*_cells(row), style="bold" if row.tool == OURS else None)
    return built


def _cells(row: Row) -> list[str]:
    if row.failure:
        return [row.tool, f"{row.setting}: {row.failure}", *["–"] * (len(COLUMNS) - 2)]
    given = "given"
    return [
        row.tool,
        row.setting,
        f"{row.wall:.1f}",
        f"{row.cpu:.1f}",
        f"{row.memory_mb:.0f}",
        given if row.times_given else str(row.found),
        str(row.invented),
        str(row.exact_text),
        given if row.times_given else str(row.both_ends),
        f"{row.cer:.1%}",
    ]
