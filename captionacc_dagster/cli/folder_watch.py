"""``watch``: files dropped into a folder are ingested, and their subtitles written beside them."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.captions import load_captions
from captionacc_dagster.cli.dropped_files import DroppedFiles
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.files import write_output
from captionacc_dagster.cli.formats import FormatOption, formats_of
from captionacc_dagster.cli.inputs import Input
from captionacc_dagster.cli.numbers import FiniteRange
from captionacc_dagster.cli.root import StoppedError, app, note, say
from captionacc_dagster.cli.running import RunningPlatform
from captionacc_dagster.cli.states import report, result_of, state_of
from captionacc_dagster.cli.uploads import upload
from captionacc_dagster.operations.subtitle_files import encode_captions
from captionacc_dagster.platform.disk import disk_places, refuse_full_disk
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.captions.subtitles import SubtitleFormat
from modal_gpu.errors import CaptionAccError

#: Seconds between looks while nothing is expected and no change announced.
_LATER = 30.0


class FolderError(CaptionAccError):
    """A folder that cannot be watched."""


@app.command("watch")
def watch_folder(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="it and all folders below are watched")],
    format: FormatOption = "srt",
    settle: Annotated[
        float,
        typer.Option(
            click_type=FiniteRange(0, 3600),
            help="seconds without a change after which a file is complete",
        ),
    ] = 5,
    once: Annotated[
        bool, typer.Option("--once", help="end when every video there has its subtitles, or needs a person")
    ] = False,
) -> None:
    """Turn every video that is dropped into a folder into subtitles beside it, until Ctrl-C.

    A file is ingested once it is complete. Content that was ingested before is not processed again, and
    existing subtitles are kept, so you can end and start this at any time.

    A running platform (`captionacc up`) processes the videos. If none is running, this command runs one.
    """
    formats = formats_of(format)
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder")
    here = parts(Use.MAKE)
    refuse_full_disk(disk_places(here.settings))
    here.open_home()
    watched = WatchedFolder(here, DroppedFiles(folder, settle), formats)
    try:
        with ExitStack() as stack:
            platform = stack.enter_context(RunningPlatform(here))
            say(f"Watching {folder}; Ctrl-C ends it.")
            looked = 0.0
            for changed in _moments(folder):
                if changed or watched.expects_something or time.monotonic() - looked > _LATER:
                    looked = time.monotonic()
                    if watched.look() and once:
                        break
                platform.check([row.video_id for row in watched.working.values()])
    except KeyboardInterrupt:
        left = sum(state_of(row) == "working" for row in watched.working.values())
        stay = "video stays" if left == 1 else "videos stay"
        unfinished = f"{left} unfinished {stay} registered; " if left else ""
        raise StoppedError(f"Stopped: {unfinished}the same command goes on.") from None
    if watched.has_failed:
        raise typer.Exit(ExitCode.FAILED)


def _moments(folder: Path) -> Iterator[bool]:
    """Yield at once and then every second, or as soon as the folder changes: whether it changed.

    Changes on a network file system may not be announced.
    """
    import watchfiles

    yield True
    for changes in watchfiles.watch(folder, rust_timeout=1000, yield_on_timeout=True, debounce=500, step=100):
        yield bool(changes)


@dataclass
class WatchedFolder:
    """The videos of a folder on their way to subtitles: ``working`` ones by path, with their last state."""

    here: Parts
    dropped: DroppedFiles
    formats: Sequence[SubtitleFormat]
    working: dict[Path, VideoRow] = field(default_factory=dict)
    has_failed: bool = False
    _reported: dict[Path, str] = field(default_factory=dict)

    @property
    def expects_something(self) -> bool:
        """True if a file may become complete, or a video ready, without a change in the folder."""
        return not self.dropped.is_settled or any(state_of(row) == "working" for row in self.working.values())

    def look(self) -> bool:
        """Take complete files, and write the subtitles of videos that are ready; return whether all is done.

        A video that waits for a person, or has failed, counts as done; it is looked at again each time.
        """
        for path in self.dropped.complete():
            if all(output.exists() for output in self._outputs(path).values()):
                self.working.pop(path, None)
                continue
            self._take(path)
        for path, row in list(self.working.items()):
            self.working[path] = row = self.here.catalog.get_video(row.video_id)
            self._follow(path, row)
        return not self.expects_something

    def _take(self, path: Path) -> None:
        arrivals = upload(self.here, [path])
        for _, reason in arrivals.refused:
            if self._reported.get(path) != reason:
                note(f"✗ {path}: {reason}")
            self._reported[path] = reason
            if arrivals.is_cut_off:
                self.dropped.put_back(path)
            else:
                self.has_failed = True
        for row in arrivals.rows:
            self._reported.pop(path, None)
            self.working[path] = row
            if not arrivals.known:
                say(f"{path} was ingested as {row.short_id}")

    def _follow(self, path: Path, row: VideoRow) -> None:
        state = state_of(row)
        if state == "ready":
            self._write(path, row)
            del self.working[path]
        elif state != "working" and self._reported.get(path) != state:
            report(row)
            self.has_failed = self.has_failed or state in ("error", "deleted")
        self._reported[path] = state
        if state == "deleted":
            del self.working[path]

    def _write(self, path: Path, row: VideoRow) -> None:
        captions = load_captions(self.here, row)
        written = []
        for format, output in self._outputs(path).items():
            if not output.exists():
                data = encode_captions(
                    self.here.object_store, row, captions, format, self.here.settings.growing_captions
                )
                write_output(output, data, force=False)
                written.append(str(output))
        say(f"✓ {path}: {result_of(row)}, {', '.join(written) or 'subtitles exist'}")

    def _outputs(self, path: Path) -> dict[SubtitleFormat, Path]:
        stem = Input(path).stem
        return {format: path.parent / f"{stem}.{format}" for format in self.formats}
