"""Follows videos until each has its captions, needs a person, or has failed.

On a terminal a live table shows them, with a bar and the remaining time for the work of each; elsewhere a
line is printed for each stage.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from captionacc_dagster.cli.app import Parts
from captionacc_dagster.cli.clocks import length
from captionacc_dagster.cli.root import note, notes
from captionacc_dagster.cli.states import state_of
from captionacc_dagster.resources.catalog import STAGES, Stage, VideoRow
from captionacc_dagster.runs import progress

if TYPE_CHECKING:
    import dagster as dg

#: What the work on a stage is called.
WORK: dict[Stage, str] = {
    "layout": "finding the place of captions",
    "boundaries": "finding captions",
    "text": "reading captions",
}
#: Steps are reported as tenths of a stage, minutes apart in long videos; each counts for the remaining time.
_SPEED_SECONDS = 3600.0
_MARKS = {"wait": ("·", "dim"), "annotate": ("✓", "green"), "done": ("✓", "green"), "error": ("✗", "red")}


@dataclass
class RunLogs:
    """Reads the progress of runs from Dagster's event log, each line once."""

    steps: dict[str, progress.Step] = field(default_factory=dict)
    _cursors: dict[str, str | None] = field(default_factory=dict)
    _instance: "dg.DagsterInstance | None" = None

    def step(self, run_id: str) -> progress.Step | None:
        """Return the newest step of a run, or None if it has not reported one yet."""
        if self._instance is None:
            import dagster as dg

            self._instance = dg.DagsterInstance.get()
        connection = self._instance.get_records_for_run(run_id, cursor=self._cursors.get(run_id), limit=500)
        self._cursors[run_id] = connection.cursor
        for record in connection.records:
            if step := progress.parse(record.event_log_entry.user_message):
                self.steps[run_id] = step
        return self.steps.get(run_id)


def watch(
    parts: Parts, videos: Sequence[VideoRow], check: Callable[[], None] = lambda: None, interval: float = 0.2
) -> list[VideoRow]:
    """Show the progress until no video is ``working``, and return the rows as they are then.

    ``check`` runs between updates, and raises if waiting makes no sense, such as when the daemon has died.
    """
    view = _Table() if notes.is_terminal else _Lines()
    rows = list(videos)
    with view:
        while True:
            rows = [parts.catalog.get_video(row.video_id) for row in rows]
            view.update(rows)
            if all(state_of(row) != "working" for row in rows):
                return rows
            check()
            time.sleep(interval)


class _Lines:
    """A line for each stage that a video begins, or has passed since the last look."""

    def __init__(self) -> None:
        self._known: set[tuple[str, Stage]] | None = None

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, rows: Sequence[VideoRow]) -> None:
        """Print what is new. What was finished before the first look is not."""
        begun = {
            (row.video_id, stage): row
            for row in rows
            for stage in STAGES
            if row.stage(stage).run_id or row.stage(stage).status in ("annotate", "done")
        }
        if self._known is None:
            self._known = {key for key, row in begun.items() if not row.stage(key[1]).run_id}
            for row in rows:
                if state_of(row) == "working" and not any(row.stage(stage).run_id for stage in STAGES):
                    note(f"{row.display_path or row.video_id}: waiting for its turn")
        for (video_id, stage), row in begun.items():
            if (video_id, stage) not in self._known:
                note(f"{row.display_path or video_id}: {WORK[stage]}")
        self._known.update(begun)


class _Table:
    """A live table with a bar for each video in work."""

    def __init__(self) -> None:
        self._live = Live(console=notes, refresh_per_second=4, transient=True)
        self._logs, self._started = RunLogs(), time.monotonic()
        self._bars: dict[str, _Bar] = {}

    def __enter__(self) -> "_Table":
        self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def update(self, rows: Sequence[VideoRow]) -> None:
        """Show the rows as they are now."""
        elapsed = length(time.monotonic() - self._started)
        table = Table(box=None, pad_edge=False, caption=elapsed, caption_justify="left")
        for header in ("video", *STAGES, ""):
            table.add_column(header)
        for row in rows:
            cells = [_mark(row, stage) for stage in STAGES]
            table.add_row(Text(row.display_path or row.video_id), *cells, self._activity(row))
        self._live.update(table)

    def _activity(self, row: VideoRow) -> RenderableType:
        run_id = next((row.stage(stage).run_id for stage in STAGES if row.stage(stage).run_id), None)
        if run_id is None:
            return Text("queued" if state_of(row) == "working" else "", "dim")
        step = self._logs.step(run_id)
        if step is None:
            return Text("starting", "dim")
        bar = self._bars.setdefault(row.video_id, _Bar())
        bar.show(run_id, step)
        return bar.progress.get_renderable()


class _Bar:
    """The bar of one video's work, with the time that the present stage still takes."""

    def __init__(self, get_time: Callable[[], float] = time.monotonic) -> None:
        columns = (
            BarColumn(24),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.description}"),
        )
        self.progress = Progress(
            *columns, speed_estimate_period=_SPEED_SECONDS, auto_refresh=False, get_time=get_time
        )
        self._task = self.progress.add_task("", total=None)
        self._stage = ("", "")

    def show(self, run_id: str, step: progress.Step) -> None:
        """Set the bar to a step; another stage or run begins a new estimate."""
        if self._stage != (run_id, step.stage):
            self._stage = (run_id, step.stage)
            self.progress.reset(self._task, total=max(1, step.total), description=step.stage)
        self.progress.update(self._task, completed=step.done)


def _mark(row: VideoRow, stage: Stage) -> Text:
    if row.stage(stage).run_id:
        return Text("working", "cyan")
    mark, style = _MARKS.get(row.stage(stage).status, ("?", ""))
    return Text(mark, style)
