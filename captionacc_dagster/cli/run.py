"""``demo``: a sample video through the platform, on this machine."""

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Parts, Use, parts
from captionacc_dagster.cli.captions import captions_table, load_cues
from captionacc_dagster.cli.exit_codes import ExitCode
from captionacc_dagster.cli.files import Force, check_output, write_output
from captionacc_dagster.cli.inputs import InputFileError
from captionacc_dagster.cli.root import app, command_line, console, note, say, waiting
from captionacc_dagster.cli.running import processed
from captionacc_dagster.cli.states import report, state_of
from captionacc_dagster.cli.uploads import upload
from captionacc_dagster.resources.catalog import VideoRow
from modal_gpu.keys import VideoKeys


@app.command()
def demo(
    folder: Annotated[
        Path | None, typer.Option(help="folder for the sample and its subtitles; default: demo in the home")
    ] = None,
    force: Force = False,
) -> None:
    """Make a sample video and turn it into captions, using only this machine.

    A second call shows the existing captions.
    """
    here = parts(Use.MAKE)
    started = time.monotonic()
    here.open_home()
    # The folder inside the home contains nothing but the demo's files.
    force = force or folder is None
    folder = folder or here.settings.home / "demo"
    video = _sample(folder, force=force)
    say(f"Sample video: {video}")
    with ExitStack() as stack:
        row, is_new = _captioned(here, video, stack)
        seconds = f"in {time.monotonic() - started:.0f} s" if is_new else "from an earlier call"
        _show(here, row, folder, seconds, force=force)
    if state_of(row) != "ready":
        raise typer.Exit(ExitCode.FAILED)


def _show(here: Parts, row: VideoRow, folder: Path, seconds: str, *, force: bool) -> None:
    """Write the sample's subtitles and print its captions, or print why it has none."""
    if state_of(row) != "ready":
        report(row)
        return
    keys = VideoKeys(row.tenant_id, row.video_id)
    for key, name in ((keys.srt, "sample.srt"), (keys.vtt, "sample.vtt")):
        write_output(folder / name, here.object_store.get(key), force=force)
    cues = load_cues(here, row)
    console.print(captions_table(cues), markup=False)
    say(f"{len(cues)} captions {seconds}. Subtitles: {folder / 'sample.srt'} and {folder / 'sample.vtt'}")
    say(
        "To correct captions in the browser, and to see the graph with its pictures, "
        f"run `{command_line()} up` and open the addresses that it prints."
    )


def _sample(folder: Path, *, force: bool) -> Path:
    """Return the sample video in a folder, and make it unless it is complete: its truth is written last."""
    from captionacc_dagster.demo.sample import make_sample

    video, truth = folder / "sample.mp4", folder / "sample.truth.srt"
    folder.mkdir(parents=True, exist_ok=True)
    if not (video.exists() and truth.exists()):
        for path in (video, truth, folder / "sample.srt", folder / "sample.vtt"):
            check_output(path, force=force)
        with waiting("Making a sample video"):
            make_sample(video, truth)
    return video


def _captioned(here: Parts, video: Path, stack: ExitStack) -> tuple[VideoRow, bool]:
    """Process the sample, unless that was done before. Return its row, and whether it was processed now.

    The processes that this started end with ``stack``.
    """
    arrivals = upload(here, [video])
    if arrivals.known and state_of(arrivals.rows[0]) in ("error", "approval"):
        note("An earlier run of the sample did not finish; processing it again.")
        arrivals = upload(here, [video], again=True)
    for _, reason in arrivals.refused:
        raise InputFileError(f"{video}: {reason}")
    (row,) = arrivals.rows
    if state_of(row) == "ready":
        return row, False
    (row,) = stack.enter_context(processed(here, [row]))
    return row, True
