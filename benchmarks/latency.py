"""``python -m benchmarks.latency VIDEO``: the timeline of one video, from the command to its captions.

Two situations, each with real processes: from nothing (``captionacc ingest`` in a new home starts the
daemon itself), and on a platform that ``captionacc up`` runs and that is otherwise idle. The computation
alone, in a process that has imported everything and loaded the models, is timed in the same run; what the
platform adds is the difference.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.pipeline import run
from captionacc_dagster.dagster_internals.tags import PARTITION_NAME_TAG

#: Seconds that a platform is left alone after it says that it is up, so that its sensors have ticked.
IDLE_SECONDS = 20
#: Start of the message of a run's process.
_STARTED_PROCESS = "Started process for run"


@dataclass(frozen=True)
class Mark:
    """A moment of the timeline; ``at`` in seconds from the start of the command."""

    name: str
    at: float


def timeline(dagster_home: Path, partition: str, began: float, ended: float) -> list[Mark]:
    """Return the moments of a video's runs, between the command's start and its end (Unix times)."""
    marks = [Mark("command", 0.0)]
    with dg.DagsterInstance.from_config(str(dagster_home)) as instance:
        of_video = dg.RunsFilter(tags={PARTITION_NAME_TAG: partition})
        for record in instance.get_run_records(of_video, ascending=True):
            job, run_id = record.dagster_run.job_name, record.dagster_run.run_id
            marks.append(Mark(f"{job}: run created", record.create_timestamp.timestamp() - began))
            marks.extend(Mark(f"{job}: {name}", at - began) for name, at in _moments(instance, run_id))
    return [*sorted(marks, key=lambda mark: mark.at), Mark("command ended", ended - began)]


def _moments(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, float]]:
    """Return the run's own moments: dequeued, process started, first and last step, end."""
    steps: list[float] = []
    for entry in instance.all_logs(run_id):
        event = entry.dagster_event
        if event is None:
            continue
        kind = event.event_type
        if kind is dg.DagsterEventType.PIPELINE_DEQUEUED:
            yield "taken from the queue", entry.timestamp
        elif kind is dg.DagsterEventType.ENGINE_EVENT and (event.message or "").startswith(_STARTED_PROCESS):
            yield "process started", entry.timestamp
        elif kind in (dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS):
            steps.append(entry.timestamp)
        elif kind is dg.DagsterEventType.PIPELINE_SUCCESS:
            yield "run ended", entry.timestamp
    if steps:
        yield "first step started", steps[0]
        yield "last step ended", steps[-1]


@dataclass(frozen=True)
class Turn:
    """One video through the platform. ``seconds``: wall time of the command."""

    seconds: float
    marks: list[Mark]


def ingest(home: Path, video: Path) -> Turn:
    """Run ``captionacc ingest`` in a home and return its timeline."""
    began = time.time()
    _command(home, "ingest", "--again", str(video))
    ended = time.time()
    newest = _newest_partition(home)
    return Turn(ended - began, timeline(home / "dagster", newest, began, ended))


def _newest_partition(home: Path) -> str:
    with dg.DagsterInstance.from_config(str(home / "dagster")) as instance:
        # Reconciliation may have begun since; its runs have no partition.
        recent = (run.tags for run in instance.get_runs(limit=20))
        return next(tags[PARTITION_NAME_TAG] for tags in recent if PARTITION_NAME_TAG in tags)


def _command(home: Path, *arguments: str) -> str:
    program = Path(sys.executable).parent / "captionacc"
    done = subprocess.run([program, *arguments], env=_environment(home), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"captionacc {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
    return done.stdout


def _environment(home: Path) -> dict[str, str]:
    environment = {**os.environ, "CAPTIONACC_HOME": str(home)}
    environment.pop("DAGSTER_HOME", None)
    return environment


@contextmanager
def new_home() -> Iterator[Path]:
    """Create a folder, and at the end of the block stop its processes and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="captionacc-latency-"))
    try:
        yield folder / "home"
    finally:
        _command(folder / "home", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_platform(port: int) -> Iterator[Path]:
    """Start a platform in a new home, and wait until it is up and idle."""
    program = Path(sys.executable).parent / "captionacc"
    with new_home() as home:
        environment = {**_environment(home), "CAPTIONACC_PORT": str(port), "PYTHONUNBUFFERED": "1"}
        up = subprocess.Popen([program, "up"], env=environment, stdout=subprocess.PIPE, text=True)
        try:
            for line in up.stdout or ():
                if "is up" in line:
                    break
            else:
                raise RuntimeError("captionacc up ended before it was up")
            time.sleep(IDLE_SECONDS)
            yield home
        finally:
            up.terminate()
            up.wait(60)


def computing_seconds(video: Path) -> float:
    """Return the wall seconds of the whole pipeline in this process, which keeps the models that it loads."""
    with tempfile.TemporaryDirectory(prefix="captionacc-latency-") as work:
        started = time.monotonic()
        run(video, Path(work))
        return time.monotonic() - started


def show(console: Console, title: str, turns: list[Turn], computing: float) -> None:
    """Print the turn of median length, moment by moment."""
    median = statistics.median_low([turn.seconds for turn in turns])
    turn = next(turn for turn in turns if turn.seconds == median)
    table = Table("moment", "at", "after", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    before = 0.0
    for mark in turn.marks:
        table.add_row(mark.name, f"{mark.at:.2f} s", f"{mark.at - before:.2f} s")
        before = mark.at
    console.print(table)
    every = ", ".join(f"{turn.seconds:.1f}" for turn in turns)
    console.print(
        f"{median:.1f} s (turns: {every}); computing takes {computing:.1f} s, so the platform adds "
        f"{median - computing:.1f} s",
        highlight=False,
    )


def main(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    turns: Annotated[int, typer.Option(min=1, help="Turns of each situation; the median is shown.")] = 3,
    port: Annotated[int, typer.Option(help="Port of the platform's web server.")] = 3737,
) -> None:
    """Print the timelines of one video."""
    console = Console(width=100)
    computing_seconds(video)  # imports and loads the models
    computing = statistics.median(computing_seconds(video) for _ in range(turns))
    fresh = []
    for _ in range(turns):
        with new_home() as home:
            fresh.append(ingest(home, video))
    with running_platform(port) as home:
        running = [ingest(home, video) for _ in range(turns)]
    console.print(f"{video.name}, {datetime.now():%Y-%m-%d}, load {os.getloadavg()[0]:.1f}", highlight=False)
    show(console, "From nothing", fresh, computing)
    show(console, "On a running platform", running, computing)


if __name__ == "__main__":
    typer.run(main)
