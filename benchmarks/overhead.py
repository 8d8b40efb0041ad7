"""The cost of a run that does nothing: by executor, by storage, and of one run for many videos.

    python -m benchmarks.overhead [--runs 20] [--singles 5] [--slots 2] [--no-fork]
    python -m benchmarks.overhead --parts

The daemon, its queue, the code server, the platform's definitions and the run processes are real; only the
asset does nothing. The sensors tick meanwhile, as in production. CPU seconds include all processes, with
PostgreSQL's, and are more meaningful than wall time on a machine with other work.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.orchestration import MeasuredPlatform, Storage, measured_platform
from benchmarks.overhead_definitions import defs
from modal_gpu.cores import available_cores

MODULE = "benchmarks.overhead_definitions"
#: A program that prints the CPU seconds of each part of a run's process as JSON.
_PARTS = """
import json, tempfile, time
marks = [("interpreter", time.process_time())]
def mark(name): marks.append((name, time.process_time()))
import dagster as dg
mark("import of Dagster")
from captionacc_dagster import definitions
mark("import of the platform")
from benchmarks.overhead_definitions import defs
job = defs.resolve_job_def("in_process")
mark("the job")
with dg.DagsterInstance.local_temp(tempfile.mkdtemp()) as instance:
    instance.add_dynamic_partitions("videos", ["a", "b"])
    mark("a new SQLite storage")
    job.execute_in_process(partition_key="a", instance=instance)
    mark("a run")
    job.execute_in_process(partition_key="b", instance=instance)
    mark("a second run in the same process")
before = [0.0] + [at for _, at in marks]
print(json.dumps({name: at - past for (name, at), past in zip(marks, before)}))
"""
EXECUTORS = ("in_process", "multiprocess")


def singles(platform: MeasuredPlatform, executor: str, number: int) -> dict[str, float]:
    """Return medians of runs that have the platform to themselves, up to the first step and to the end."""
    until_start, until_end = [], []
    for _ in range(number + 1):
        ids = platform.enqueue(defs, executor, [{"dagster/partition": _video(platform)}])
        (record,) = platform.wait_for(ids)
        asked = record.create_timestamp.timestamp()
        until_start.append((record.start_time or 0) - asked)
        until_end.append((record.end_time or 0) - asked)
    # The first run also waits for the daemon's start.
    return {
        "start_s": statistics.median(until_start[1:]),
        "end_s": statistics.median(until_end[1:]),
    }


def many(platform: MeasuredPlatform, executor: str, number: int) -> dict[str, float]:
    """Return runs a minute, and CPU seconds a run, for runs that were queued at once."""
    tags = [{"dagster/partition": _video(platform)} for _ in range(number)]
    cpu, started = platform.cpu_seconds(), time.monotonic()
    platform.wait_for(platform.enqueue(defs, executor, tags))
    wall = time.monotonic() - started
    return {"a_minute": 60 * number / wall, "cpu_s": (platform.cpu_seconds() - cpu) / number}


def together(platform: MeasuredPlatform, executor: str, number: int) -> dict[str, float]:
    """Process the same number of videos in one run."""
    keys = [str(uuid.uuid4()) for _ in range(number)]
    platform.instance.add_dynamic_partitions("videos", keys)
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    cpu, started = platform.cpu_seconds(), time.monotonic()
    platform.wait_for(platform.enqueue(defs, executor, [tags]))
    wall = time.monotonic() - started
    return {"a_minute": 60 * number / wall, "cpu_s": (platform.cpu_seconds() - cpu) / number, "end_s": wall}


def parts(rounds: int) -> dict[str, float]:
    """Return the median CPU seconds of each part of a run's process, hardly affected by other work."""
    command = [sys.executable, "-W", "ignore", "-c", _PARTS]
    found = []
    for _ in range(rounds):
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found.append(json.loads(answer.splitlines()[-1]))
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def _video(platform: MeasuredPlatform) -> str:
    key = str(uuid.uuid4())
    platform.instance.add_dynamic_partitions("videos", [key])
    return key


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, help="queued at once")
    parser.add_argument("--singles", type=int, default=5, help="one after another")
    parser.add_argument("--slots", type=int, default=2, help="runs at work at once")
    parser.add_argument(
        "--storage", nargs="*", choices=("sqlite", "postgres"), default=["sqlite", "postgres"]
    )
    parser.add_argument("--executors", nargs="*", choices=EXECUTORS, default=list(EXECUTORS))
    parser.add_argument("--json", type=Path, help="also write the figures there")
    parser.add_argument("--no-fork", action="store_true", help="start each run process instead of forking it")
    parser.add_argument("--parts", action="store_true", help="CPU seconds of a run's process, and no more")
    options = parser.parse_args()
    if options.parts:
        table = Table("part of a run's process", "CPU s")
        for name, seconds in parts(options.singles).items():
            table.add_row(name, f"{seconds:.2f}")
        Console(width=110).print(table)
        return
    os.environ["CAPTIONACC_FORK_RUNS"] = str(not options.no_fork).lower()
    table = Table(
        "storage", "videos", "executor", "to its start s", "to its end s", "videos a minute", "CPU s a video"
    )
    figures = []
    for storage in options.storage:
        with measured_platform(MODULE, storage=storage, runs=options.slots) as platform:
            for executor in options.executors:
                measured = {}
                for part, measure in (("alone", singles), ("queued", many), ("batch", together)):
                    number = options.singles if part == "alone" else options.runs
                    measured[part] = measure(platform, executor, number)
                    print(storage, executor, part, measured[part], file=sys.stderr, flush=True)
                _rows(table, storage, executor, options.runs, **measured)
                figures.append({"storage": storage, "executor": executor, **measured})
    console = Console(width=120)
    console.print(f"{options.slots} runs at work at once on {available_cores()} cores")
    console.print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _rows(table: Table, storage: Storage, executor: str, runs: int, alone, queued, batch) -> None:
    def shown(value: float) -> str:
        # If the code server is replaced meanwhile, the figures of its runs are lost.
        return f"{value:.2f}" if value > 0 else "–"

    table.add_row(
        storage, "one a run", executor, shown(alone["start_s"]), shown(alone["end_s"]),
        f"{queued['a_minute']:.0f}", shown(queued["cpu_s"]),
    )  # fmt: skip
    table.add_row(
        storage,
        f"{runs} a run",
        executor,
        "",
        shown(batch["end_s"]),
        f"{batch['a_minute']:.0f}",
        shown(batch["cpu_s"]),
    )


if __name__ == "__main__":
    main()
