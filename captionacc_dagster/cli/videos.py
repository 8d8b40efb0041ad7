"""``ingest``, ``status`` and ``retry``: uploading videos and following their processing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.inputs import find_videos
from captionacc_dagster.cli.root import app, console, notes, say
from captionacc_dagster.cli.uploads import upload
from captionacc_dagster.cli.watch import state_of, watch
from captionacc_dagster.platform.disk import disk_places, little_space, refuse_full_disk
from captionacc_dagster.platform.role_lock import ServiceError
from captionacc_dagster.resources.catalog import STAGES, Stage, VideoRow
from modal_gpu.errors import CaptionAccError, DiskFullError
from modal_gpu.ocr.languages.finding import UNREADABLE

T = TypeVar("T")

Video = Annotated[str, typer.Argument(metavar="VIDEO", help="name, id, start of an id, or partition key")]


@app.command()
def ingest(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", help="videos, folders with videos, or patterns")
    ],
    wait: Annotated[bool, typer.Option(help="wait until their captions are ready")] = True,
    again: Annotated[
        bool, typer.Option("--again", help="process files that were already uploaded, too")
    ] = False,
) -> None:
    """Upload videos and turn them into captions.

    A file whose content was uploaded before is not processed twice. Files that cannot be read are listed,
    the others continue, and the exit code is 1.

    A running platform (`captionacc up`) processes the videos. If none is running, this command runs one
    while it waits.
    """
    here = parts(Use.MAKE)
    refuse_full_disk(disk_places(here.settings))
    found = find_videos(files)
    paths = [video.path for video in found.videos]
    if warning := little_space(disk_places(here.settings), sum(map(_size, paths))):
        notes.print(f"[yellow]warning:[/] {escape(warning)}", highlight=False, soft_wrap=True)
    arrivals = upload(here, paths, again=again)
    arrivals.refused += found.refused
    arrivals.print_notes()
    rows = arrivals.rows
    if not wait:
        for row in rows:
            say(f"{row.video_id}  {row.display_path}")
    elif any(state_of(row) == "working" for row in rows):
        with processed(here, rows) as rows:
            report_all(rows)
    else:
        report_all(rows)
    if arrivals.refused or any(state_of(row) in ("error", "deleted") for row in rows):
        raise typer.Exit(1)


@app.command()
def status(video: Annotated[str | None, typer.Argument(metavar="[VIDEO]")] = None) -> None:
    """Show the status of all videos, or of one in detail."""
    here = parts()
    if video is not None:
        _details(here.find_video(video))
        return
    rows = here.catalog.list_videos(limit=200)
    if not rows:
        console.print(
            "No videos yet. `captionacc ingest FILE` adds one; `captionacc demo` processes a sample."
        )
        return
    table = Table(box=None, pad_edge=False)
    for header in ("id", "file", "length", *STAGES, "captions", ""):
        table.add_column(header)
    for row in rows:
        table.add_row(
            row.video_id[:8],
            escape(row.display_path),
            f"{row.duration_seconds:.0f} s" if row.duration_seconds else "",
            *(_stage_word(row, stage) for stage in STAGES),
            _count(row),
            escape(_remark(row)),
        )
    console.print(table)


@app.command()
def retry(video: Video) -> None:
    """Retry a video's failed stages."""
    here = parts(Use.WRITE)
    row = here.find_video(video)
    failed = [stage for stage in STAGES if row.stage(stage).status == "error"]
    if not failed:
        say(f"{row.display_path}: no stage has failed.")
        return
    for stage in failed:
        here.catalog.retry_stage(row.video_id, stage)
    say(f"{row.display_path}: a running platform will retry {', '.join(failed)}.")


def _size(file: Path) -> int:
    with suppress(OSError):
        return file.stat().st_size
    return 0


class RunningPlatform:
    """The platform for the time of a context: another command's while there is one, else this command's."""

    def __init__(self, here: Parts) -> None:
        from captionacc_dagster.platform.daemon_keeper import DaemonKeeper
        from captionacc_dagster.platform.dagster_home import prepare_dagster_home
        from captionacc_dagster.web.direct_start import DirectStart

        prepare_dagster_home(here.settings)
        self._settings, self._stack = here.settings, ExitStack()
        self._direct = DirectStart(here.settings, here.catalog, here.object_store)
        self._daemon = DaemonKeeper(here.settings, say)

    @property
    def is_own(self) -> bool:
        """True if this command runs the daemon."""
        return self._daemon.own is not None

    @property
    def is_idle(self) -> bool:
        """True if the command has found that no run is at work: the daemon can then end without waiting."""
        return self._daemon.is_idle

    @is_idle.setter
    def is_idle(self, value: bool) -> None:
        self._daemon.is_idle = value

    def check(self, waiting: Sequence[str]) -> None:
        """Call it from time to time; the videos ``waiting`` at the first call are started at once.

        Raises :class:`ServiceError` if the daemon ended, and :class:`DiskFullError`.
        """
        self._daemon.check()
        if self.is_own:
            self._direct.begin(waiting)
        refuse_full_disk(disk_places(self._settings))

    def __enter__(self) -> "RunningPlatform":
        with ExitStack() as stack:
            stack.enter_context(self._daemon)
            # Ends first: whoever takes over the daemon's role queues the runs that an ended process created.
            stack.enter_context(self._direct)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


@contextmanager
def processed(here: Parts, rows: list[VideoRow]) -> Iterator[list[VideoRow]]:
    """Wait for videos and yield their final rows; run the platform's processes unless another command does.

    Those processes end with the block, which therefore comes before the seconds that their end takes.
    """
    from captionacc_dagster.platform.services import wait_for_runs

    waiting = [row.video_id for row in rows if state_of(row) == "working"]
    with ExitStack() as stack:
        try:
            platform = stack.enter_context(RunningPlatform(here))

            def check() -> None:
                platform.check(waiting)

            rows = _interruptible(lambda: watch(here, rows, check))
            yield rows
            if platform.is_own:
                # The runs end a little after the rows are ready, with their last checks.
                ids = {row.video_id for row in rows}
                platform.is_idle = _interruptible(lambda: wait_for_runs(ids, check))
        except (KeyboardInterrupt, ServiceError, DiskFullError):
            _print_how_to_continue(here, rows)
            raise


def _interruptible(wait: Callable[[], T]) -> T:
    try:
        return wait()
    except KeyboardInterrupt:
        say("Stopping…")
        raise


def _print_how_to_continue(here: Parts, rows: list[VideoRow]) -> None:
    """Print what happens to videos that the command no longer waits for."""
    with suppress(CaptionAccError):  # the message matters also if the catalogue is gone
        rows = [here.catalog.get_video(row.video_id) for row in rows]
    left = [row.display_path or row.video_id for row in rows if state_of(row) == "working"]
    if not left:
        return
    names = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
    say(
        f"{names}: registered, no work is lost. `captionacc up` or the next `captionacc ingest` continues; "
        "`captionacc status` shows the progress."
    )


def report_all(rows: Iterable[VideoRow]) -> None:
    """Print one line for each video."""
    for row in rows:
        report(row)


def report(row: VideoRow) -> None:
    """Print the result of a video on one line."""
    name, state = escape(row.display_path or row.video_id), state_of(row)
    if state == "error":
        console.print(f"[red]✗[/] {name}: {escape(_remark(row))}", highlight=False, soft_wrap=True)
    elif state == "deleted":
        console.print(f"[red]✗[/] {name} was deleted", highlight=False, soft_wrap=True)
    elif state == "language" or (state == "approval" and row.layout.note.startswith(UNREADABLE)):
        note = row.text.note if state == "language" else row.layout.note
        console.print(
            f"[yellow]?[/] {name}: {escape(note)} `captionacc ocr set {row.video_id[:8]} LANGUAGE` does so "
            "for this video",
            highlight=False,
            soft_wrap=True,
        )
    elif state == "approval":
        console.print(
            f"[yellow]?[/] {name}: its layout needs your approval ({escape(row.layout.note)}): "
            f"`captionacc layout show {row.video_id[:8]}`, then `… approve` or `… set`",
            highlight=False,
            soft_wrap=True,
        )
    else:
        found = row.text.note or f"{row.text_caption_count} captions"
        console.print(
            f"[green]✓[/] {name}: {found}; `captionacc captions {row.video_id[:8]}` shows them",
            highlight=False,
            soft_wrap=True,
        )


def _stage_word(row: VideoRow, stage: Stage) -> str:
    if row.stage(stage).run_id:
        return "[cyan]working[/]"
    word = row.stage(stage).status
    if stage == "text" and state_of(row) == "language":
        return "[yellow]unread[/]"
    return {"error": "[red]error[/]", "done": "[green]done[/]", "annotate": "[green]ready[/]"}.get(word, word)


def _count(row: VideoRow) -> str:
    count = row.caption_count if row.text_caption_count is None else row.text_caption_count
    return "" if count is None else str(count)


def _remark(row: VideoRow) -> str:
    """Return what a person should know or do: an error, damage, a pending approval."""
    for stage in STAGES:
        details = row.stage(stage).error_details
        if row.stage(stage).status == "error" and details:
            return f"{stage}: {details.get('message', 'failed')}"
    if state_of(row) == "approval":
        return f"needs approval: {row.layout.note}"
    return "; ".join(filter(None, (row.text.note, row.damage)))


def _details(row: VideoRow) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("id", row.video_id)
    table.add_row("file", escape(row.display_path))
    table.add_row("tenant", row.tenant_id)
    if row.deleted_at is not None:
        table.add_row("deleted", f"{row.deleted_at.astimezone():%Y-%m-%d %H:%M}")
    if row.width:
        table.add_row("video", f"{row.width} × {row.height}, {row.video_codec}, {row.duration_seconds:.1f} s")
    for stage in STAGES:
        table.add_row(stage, _stage_word(row, stage))
        if row.stage(stage).status == "error" and (details := row.stage(stage).error_details):
            text = f"{details.get('message')}  (run {details.get('run_id')}, {details.get('failed_at')})"
            table.add_row("", escape(text))
    if row.crop_region:
        crop = row.crop_region
        table.add_row(
            "crop region",
            f"left {crop.crop_left:.3f}, top {crop.crop_top:.3f}, right {crop.crop_right:.3f}, "
            f"bottom {crop.crop_bottom:.3f}",
        )
        table.add_row("approved", escape(f"by {row.layout_approved_by}, version {row.crop_region_version}"))
    if _count(row):
        table.add_row("captions", _count(row))
    for note in filter(None, (row.layout.note, row.boundaries.note, row.text.note, row.damage)):
        table.add_row("note", escape(note))
    console.print(table, highlight=False)
