"""``demo``: a sample video through the whole platform, on this machine."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from captionacc_dagster.cli.app import Use, app, console, parts
from captionacc_dagster.cli.captions import captions_table, load_captions
from captionacc_dagster.cli.videos import process, report, upload
from captionacc_dagster.cli.watch import state_of
from modal_gpu.keys import VideoKeys


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="where the sample and its subtitles go")] = None,
) -> None:
    """Make a sample video and turn it into captions, on this machine alone."""
    from captionacc_dagster.sample import make_sample

    here = parts(Use.MAKE)
    started = time.monotonic()
    here.open_home()
    folder = folder or here.settings.home / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    video, truth = folder / "sample.mp4", folder / "sample.truth.srt"
    if not (video.exists() and truth.exists()):
        with console.status("Making a sample video…"):
            make_sample(video, truth)
    console.print(f"Sample video: {video}", highlight=False)

    rows = process(here, upload(here, [video]))
    row = rows[0]
    if state_of(row) != "ready":
        report(row)
        raise typer.Exit(1)
    keys = VideoKeys(row.tenant_id, row.video_id)
    for key, name in ((keys.srt, "sample.srt"), (keys.vtt, "sample.vtt")):
        here.object_store.download(key, folder / name)
    captions = load_captions(here, row)
    console.print(captions_table(captions, row.timeline))
    console.print(
        f"{len(captions)} captions in {time.monotonic() - started:.0f} s. "
        f"Subtitles: {folder / 'sample.srt'} and {folder / 'sample.vtt'}",
        highlight=False,
    )
    command = "captionacc" if shutil.which("captionacc") else "make dev"
    command = "captionacc up" if command == "captionacc" else command
    console.print(
        f"To see the graph and its pictures, run `{command}` and open "
        f"http://{here.settings.host}:{here.settings.port}/assets",
        highlight=False,
    )
