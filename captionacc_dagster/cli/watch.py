"""A live table that follows videos until each has its captions, needs a person, or has failed."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from captionacc_dagster.cli.app import Parts
from captionacc_dagster.cli.root import console
from captionacc_dagster.resources.catalog import STAGES, Stage, VideoRow
from captionacc_dagster.runs import progress
from modal_gpu.errors import CaptionAccError
from modal_gpu.ocr.languages.finding import UNREADABLE

if TYPE_CHECKING:
    import dagster as dg

_MARKS = {"wait": ("·", "dim"), "annotate": ("✓", "green"), "done": ("✓", "green"), "error": ("✗", "red")}


def state_of(video: VideoRow) -> str:
    """Return ``working``, ``ready`` (has text), ``approval``, ``language``, ``error`` or ``deleted``.

    A person must act for ``approval`` (of the layout) and ``language`` (captions that OCR cannot read).
    """
    if video.deleted_at is not None:
        return "deleted"
    if any(video.stage(stage).status == "error" for stage in STAGES):
        return "error"
    if video.text.status in ("annotate", "done") and not video.text.run_id:
        return "language" if video.text.note.startswith(UNREADABLE) else "ready"
    if video.layout.status == "annotate" and not video.layout.run_id:
        return "approval"
    return "working"


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
    """Show a live table until no video is ``working``, and return the rows as they are then.

    ``check`` runs between updates, and raises if waiting makes no sense, such as when the daemon has died.
    """
    logs, started = RunLogs(), time.monotonic()
    rows = list(videos)
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while True:
            rows = [parts.catalog.get_video(row.video_id) for row in rows]
            live.update(_table(rows, logs, time.monotonic() - started))
            if all(state_of(row) != "working" for row in rows):
                return rows
            check()
            time.sleep(interval)


def _table(rows: Sequence[VideoRow], logs: RunLogs, elapsed: float) -> Table:
    table = Table(box=None, pad_edge=False, caption=f"{elapsed:.0f} s", caption_justify="left")
    for header in ("video", "layout", "boundaries", "text", ""):
        table.add_column(header)
    for row in rows:
        cells = [_mark(row, stage) for stage in STAGES]
        table.add_row(Text(row.display_path or row.video_id), *cells, _activity(row, logs))
    return table


def _mark(row: VideoRow, stage: Stage) -> Text:
    if row.stage(stage).run_id:
        return Text("working", "cyan")
    mark, style = _MARKS.get(row.stage(stage).status, ("?", ""))
    return Text(mark, style)


def _activity(row: VideoRow, logs: RunLogs) -> RenderableType:
    run_id = next((row.stage(stage).run_id for stage in STAGES if row.stage(stage).run_id), None)
    if run_id is None:
        return Text("queued" if state_of(row) == "working" else "", "dim")
    try:
        step = logs.step(run_id)
    except CaptionAccError:
        step = None
    if step is None:
        return Text("starting", "dim")
    line = Table.grid(padding=(0, 1))
    line.add_row(
        ProgressBar(total=max(1, step.total), completed=step.done, width=24), Text(step.stage, "dim")
    )
    return line
