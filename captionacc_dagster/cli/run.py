"""``demo``, ``up`` and ``stop``: the whole platform on this machine."""

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.panel import Panel

from captionacc_dagster.cli.app import app, console, parts
from captionacc_dagster.cli.captions import captions_table, load_captions
from captionacc_dagster.cli.videos import ServiceError, process, report, upload
from captionacc_dagster.cli.watch import state_of
from modal_gpu.keys import VideoKeys


@app.command()
def demo(
    folder: Annotated[Path | None, typer.Option(help="where the sample and its subtitles go")] = None,
) -> None:
    """Make a sample video and turn it into captions, on this machine alone."""
    from captionacc_dagster.sample import make_sample

    here = parts()
    started = time.monotonic()
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
    console.print(captions_table(captions))
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


@app.command()
def up() -> None:
    """Run the platform: catalogue, sensors, queue and Dagster's web interface, until Ctrl-C."""
    from captionacc_dagster.platform import prepare_dagster_home
    from captionacc_dagster.services import daemon_is_alive, running_services

    here = parts()
    here.catalog.list_videos(limit=1)
    prepare_dagster_home(here.settings)
    if daemon_is_alive(max_age_seconds=15):
        raise ServiceError(f"the platform in {here.settings.home} is running already")
    address = f"http://{here.settings.host}:{here.settings.port}"
    with running_services(here.settings, webserver=True) as services:
        with console.status("Starting…"):
            _wait_until_up(address, services)
        console.print(
            Panel.fit(
                f"Dagster UI   {address}/assets\n"
                f"state        {here.settings.home}\n"
                f"logs         {services.log_folder}\n\n"
                "Bring videos in from another terminal: captionacc ingest FILE…\n"
                "Ctrl-C stops everything; nothing is lost.",
                title="CaptionA.cc is up",
            ),
            highlight=False,
        )
        try:
            while (ended := services.ended()) is None:
                time.sleep(1)
        except KeyboardInterrupt:
            console.print("Stopping…")
            return
        raise ServiceError(f"{ended} ended; see {services.log_folder / ended}.log")


def _wait_until_up(address: str, services, timeout: float = 120) -> None:
    import httpx

    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if name := services.ended():
            raise ServiceError(f"{name} ended while starting; see {services.log_folder / name}.log")
        try:
            if httpx.get(f"{address}/server_info", timeout=5).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise ServiceError(f"the web interface at {address} did not answer within {timeout:.0f} s")


@app.command()
def stop() -> None:
    """Stop the embedded PostgreSQL server, which otherwise keeps running for the next command."""
    from captionacc_dagster.resources.embedded_postgres import EmbeddedPostgres

    here = parts()
    if here.settings.database_url:
        console.print("The catalogue is not the embedded one; nothing to stop.")
        return
    EmbeddedPostgres(here.settings.home).stop()
    console.print("The embedded PostgreSQL server is stopped.")
