"""``python -m benchmarks.speed VIDEO``: seconds by stage, compared with plain decoding.

Plain decoding of the same file, with equally many threads, is timed in the same run, before and after the
pipeline, so that the ratio is meaningful on a noisy machine. ``captionacc extract``, which stores nothing, is
run as a command. ``--orchestrator`` measures the orchestrator
separately: the same video through `captionacc ingest` with real Dagster processes. ``--parts`` shows
where the CPU time goes.
"""

import os
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import av
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.parts import measured_parts
from benchmarks.pipeline import PipelineRun, run
from modal_gpu.cores import available_cores
from modal_gpu.errors import CaptionAccError


@dataclass(frozen=True)
class Timing:
    """Wall and CPU seconds (children included)."""

    wall: float
    cpu: float


def plain_decoding(video: Path) -> Timing:
    """Decode every frame of the video stream with all cores, and discard it."""
    started, cpu = time.monotonic(), _cpu_seconds()
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for _ in container.decode(stream):
            pass
    return Timing(time.monotonic() - started, _cpu_seconds() - cpu)


def orchestrated(video: Path) -> float:
    """Return the wall seconds of ``captionacc ingest`` in a new home, from upload to subtitles."""
    command = Path(sys.executable).parent / "captionacc"
    with tempfile.TemporaryDirectory(prefix="captionacc-speed-") as home:
        environment = {**os.environ, "CAPTIONACC_HOME": home}
        environment.pop("DAGSTER_HOME", None)
        # The first command creates the database, which is set-up, not processing.
        subprocess.run([command, "status"], env=environment, check=True, stdout=subprocess.DEVNULL)
        started = time.monotonic()
        try:
            subprocess.run([command, "ingest", video], env=environment, check=True, stdout=subprocess.DEVNULL)
            return time.monotonic() - started
        finally:
            subprocess.run([command, "stop"], env=environment, check=True, stdout=subprocess.DEVNULL)


def extracted(video: Path) -> Timing:
    """Return the seconds of ``captionacc extract`` as a command, with Python's start and all imports."""
    command = Path(sys.executable).parent / "captionacc"
    with tempfile.TemporaryDirectory(prefix="captionacc-speed-") as folder:
        started, cpu = time.monotonic(), _cpu_seconds()
        subprocess.run([command, "extract", video, "-o", folder], check=True, capture_output=True)
        return Timing(time.monotonic() - started, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _table(video: Path, result: PipelineRun, cpu: float, extract: Timing, decoding: Timing) -> Table:
    title = f"{video.name}: {result.duration:.1f} s of video on {available_cores()} cores"
    table = Table("stage", "seconds", "× real time", "× plain decoding", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"

    def row(name: str, seconds: float, **style: object) -> None:
        table.add_row(
            name,
            f"{seconds:.2f}",
            f"{seconds / result.duration:.3f}",
            f"{seconds / decoding.wall:.2f}",
            **style,
        )

    for name, seconds in result.seconds.items():
        row(name, seconds)
    table.add_section()
    row("all stages", result.total_seconds, style="bold")
    row("CPU seconds of all stages", cpu)
    table.add_section()
    row("captionacc extract", extract.wall, style="bold")
    row("CPU seconds of extract", extract.cpu)
    table.add_section()
    row("plain decoding", decoding.wall)
    row("CPU seconds of plain decoding", decoding.cpu)
    return table


def _parts_table(rows: dict[str, float], cpu: float, decoding: Timing) -> Table:
    table = Table("part", "CPU seconds", "share", "× plain decoding's CPU", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.2f}", f"{seconds / cpu:.0%}", f"{seconds / decoding.cpu:.2f}")
    table.add_section()
    table.add_row("plain decoding, for comparison", f"{decoding.cpu:.2f}", "", "1.00")
    return table


def main(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    orchestrator: Annotated[
        bool, typer.Option("--orchestrator", help="also measure what Dagster's processes add")
    ] = False,
    parts: Annotated[bool, typer.Option("--parts", help="also show CPU seconds by part of the work")] = False,
) -> None:
    """Print seconds by stage and the ratio to plain decoding."""
    console = Console()
    try:
        before = plain_decoding(video)
        cpu = _cpu_seconds()
        with (
            tempfile.TemporaryDirectory(prefix="captionacc-speed-") as work,
            measured_parts() if parts else nullcontext() as ledger,
        ):
            result = run(video, Path(work))
        cpu = _cpu_seconds() - cpu
        extract = extracted(video)
        after = plain_decoding(video)
    except CaptionAccError as error:
        console.print(f"error: {error}", highlight=False)
        raise typer.Exit(1) from None
    decoding = Timing((before.wall + after.wall) / 2, (before.cpu + after.cpu) / 2)
    console.print(_table(video, result, cpu, extract, decoding))
    console.print(
        f"extract: {extract.wall / decoding.wall:.2f} × plain decoding, "
        f"{extract.cpu / decoding.cpu:.2f} × its CPU seconds",
        highlight=False,
    )
    console.print(
        f"{result.duration / result.total_seconds:.1f} video seconds a wall second; "
        f"{len(result.captions)} captions; models loaded in that time",
        highlight=False,
    )
    if ledger is not None:
        console.print(_parts_table(ledger.rows(cpu), cpu, decoding))
    if orchestrator:
        wall = orchestrated(video)
        console.print(
            f"through the orchestrator: {wall:.1f} s, so it adds {wall - result.total_seconds:.1f} s "
            "(its daemon's start, runs' starts, sensor ticks, checks and pictures)",
            highlight=False,
        )


if __name__ == "__main__":
    typer.run(main)
