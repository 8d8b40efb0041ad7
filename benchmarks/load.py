"""Many videos that arrive at once, through the real platform with a compute that answers at once.

    python -m benchmarks.load [--videos 1000] [--stages layout|all] [--slots 2] [--storage postgres]

Catalogue, claims, sensors, daemon, queue, code server, run processes, assets, checks and objects are real.
The compute copies the results of the real one for a clip of eight seconds. Tenants of all tiers have the same
number of videos, and all videos exist before the daemon starts.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
from rich.console import Console
from rich.table import Table

from benchmarks.orchestration import MeasuredPlatform, measured_platform
from benchmarks.stub_definitions import TEMPLATE
from captionacc_dagster.demo.sample import SampleCaption, make_sample
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.resources.opening import open_catalog, open_object_store
from captionacc_dagster.runs.tags import QUEUE_PRIORITY, TENANT_ID, TIER, VIDEO_ID
from modal_gpu.contracts import CropInferRequest, ExtractRequest, to_wire
from modal_gpu.cores import available_cores
from modal_gpu.databases.layout import read_layout
from modal_gpu.functions.crop_infer import crop_and_infer_caption_frame_extents
from modal_gpu.functions.extract import extract_frames_and_ocr
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.storage import ObjectStore

MODULE = "benchmarks.stub_definitions"
TENANTS = (("ann", "free"), ("bob", "free"), ("carl", "premium"), ("dora", "premium"), ("eve", "enterprise"))
#: Jobs that a video begins with.
FIRST_JOBS = ("layout", "video")
#: A run's new priority takes effect after a tick of ``priority_aging``.
_SETTLED_SECONDS = 12


def make_template(folder: Path, crops: bool) -> None:
    """Write the template of ``CannedCompute``: the real functions' results for one clip."""
    clip = folder / "clip.mp4"
    captions = [
        SampleCaption(0.84, 2.6, "Every evening the harbour falls silent."),
        SampleCaption(4.0, 6.5, "The gulls."),
    ]
    make_sample(clip, captions=captions, duration=8, size=(640, 360))
    bucket = folder / "bucket"
    bucket.mkdir()
    store = ObjectStore.from_url(bucket.as_uri())
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    store.upload(clip, keys.video, "video/mp4")
    settings = ComputeSettings(workers=available_cores())
    request = ExtractRequest(keys.tenant_id, keys.video_id, keys.video)
    results = {"extract": to_wire(extract_frames_and_ocr(request, store, settings))}
    if crops:
        region = read_layout(store.get(keys.layout_db)).crop_region
        crop = CropInferRequest(
            keys.tenant_id, keys.video_id, keys.video, region, version=1, run_id="template"
        )
        results["crop_and_infer"] = to_wire(crop_and_infer_caption_frame_extents(crop, store, settings))
    results["keys"] = {"tenant_id": keys.tenant_id, "video_id": keys.video_id}
    (folder / "results.json").write_text(json.dumps(results))


def upload(catalog: Catalog, store: ObjectStore, clip: bytes, videos: int, approve: bool) -> list[str]:
    """Create rows and objects as uploads do, tenants in turn, and return the videos' ids."""
    confidence = 0.05 if approve else None
    ids = []
    for name, tier in TENANTS:
        catalog.ensure_tenant(_tenant(name), name, tier=tier, auto_approve_layout_confidence=confidence)
    for number in range(videos):
        name, _ = TENANTS[number % len(TENANTS)]
        keys = VideoKeys(_tenant(name), str(uuid.uuid4()))
        store.put(keys.video, clip)
        catalog.register_video(keys.tenant_id, keys.video_id, keys.video, len(clip), f"{name}-{number}.mp4")
        ids.append(keys.video_id)
    return ids


def _tenant(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, name))


def wait(
    platform: MeasuredPlatform, catalog: Catalog, ids: Sequence[str], stages: str, hours: float
) -> float:
    """Return the wall seconds until every row is finished. Raises for a row that failed."""
    started, reported = time.monotonic(), 0.0
    while True:
        rows = catalog.list_videos(len(ids))
        failed = [
            row for row in rows if "error" in (row.layout.status, row.boundaries.status, row.text.status)
        ]
        if failed:
            raise RuntimeError(f"{len(failed)} videos ended in an error, such as {failed[0]}")
        done = sum(_is_through(row, stages) for row in rows)
        elapsed = time.monotonic() - started
        if done == len(ids):
            return elapsed
        if elapsed - reported > 30:
            reported = elapsed
            print(f"{elapsed:6.0f} s: {done} of {len(ids)} videos", file=sys.stderr, flush=True)
        if elapsed > hours * 3600:
            raise TimeoutError(f"{done} of {len(ids)} videos after {hours:g} h")
        platform.check()
        time.sleep(max(2.0, len(ids) / 200))


def _is_through(row: VideoRow, stages: str) -> bool:
    return row.layout.status != "wait" if stages == "layout" else row.text.status == "annotate"


@dataclass(frozen=True)
class Launch:
    """A run as its record describes it. Times are Unix times."""

    video: str
    job: str
    tenant: str
    tier: str
    priority: int
    queued: float
    started: float
    ended: float


def launches(instance: dg.DagsterInstance) -> list[Launch]:
    """Return all runs of videos, in the order of their start."""
    records = instance.get_run_records(dg.RunsFilter())
    found = [
        Launch(
            r.dagster_run.tags[VIDEO_ID],
            r.dagster_run.job_name,
            r.dagster_run.tags[TENANT_ID],
            r.dagster_run.tags[TIER],
            int(r.dagster_run.tags[QUEUE_PRIORITY]),
            r.create_timestamp.timestamp(),
            r.start_time or 0.0,
            r.end_time or 0.0,
        )
        for r in records
        if VIDEO_ID in r.dagster_run.tags and r.start_time
    ]
    return sorted(found, key=lambda launch: launch.started)


def inversions(runs: Sequence[Launch], tenant_limit: int) -> int:
    """Return runs that started while one of higher priority could have started.

    The other one had waited for more than two ticks, and fewer runs of its tenant and job than the limit were
    running. Runs that had their tenant's turn (their full priority) are ignored on both sides: that is
    fairness.
    """
    further = [run for run in runs if run.priority < 50]
    count = 0
    for run in further:
        busy = Counter(
            (other.tenant, other.job)
            for other in runs
            if other.started <= run.started + 2 and other.ended >= run.started - 2
        )
        count += any(
            other.priority > run.priority
            and other.queued < run.started - _SETTLED_SECONDS
            and other.started > run.started + 2
            and busy[other.tenant, other.job] < tenant_limit
            for other in further
        )
    return count


def tick_times(instance: dg.DagsterInstance) -> dict[str, list[float]]:
    """Return the seconds of each sensor's ticks."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for state in instance.all_instigator_state():
        for tick in instance.get_ticks(state.instigator_origin_id, state.selector_id):
            if tick.end_timestamp:
                seconds[state.instigator_name].append(tick.end_timestamp - tick.timestamp)
    return dict(seconds)


def percentile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--stages", choices=("layout", "all"), default="layout")
    parser.add_argument("--slots", type=int, default=available_cores(), help="runs at work at once")
    parser.add_argument("--storage", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--hours", type=float, default=2, help="after which it gives up")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    template = Path(tempfile.mkdtemp(prefix="captionacc-load-"))
    make_template(template, crops=options.stages == "all")
    environment = {TEMPLATE: str(template), "CAPTIONACC_TENANT_RUNS": str(max(1, options.slots - 1))}
    with measured_platform(
        MODULE, storage=options.storage, runs=options.slots, daemon=False, environment=environment
    ) as platform:
        figures = measure(
            platform, options.videos, options.stages, (template / "clip.mp4").read_bytes(), options.hours
        )
    shutil.rmtree(template, ignore_errors=True)
    show(figures, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def measure(platform: MeasuredPlatform, videos: int, stages: str, clip: bytes, hours: float) -> dict:
    """Apply the load and return its figures."""
    catalog, store = open_catalog(platform.settings), open_object_store(platform.settings)
    ids = upload(catalog, store, clip, videos, approve=stages == "all")
    sizes = {"captionacc": platform.database_bytes("captionacc")}
    if platform.dagster_in_postgres:
        sizes["dagster"] = platform.database_bytes("dagster")
    platform.start("dagster-daemon", "dagster-daemon", "run", "-m", MODULE)
    wall = wait(platform, catalog, ids, stages, hours)
    parts = platform.cpu_seconds_by_part()
    rows = [catalog.get_video(video_id) for video_id in ids]
    runs = launches(platform.instance)
    by_video = Counter((run.video, run.job) for run in runs)
    by_tier: dict[str, list[int]] = defaultdict(list)
    for place, run in enumerate(run for run in runs if run.job in FIRST_JOBS):
        by_tier[run.tier].append(place + 1)
    return {
        "videos": videos,
        "seconds": wall,
        "a_minute": 60 * videos / wall,
        "cpu_s": sum(parts.values()),
        "cpu_s_by_part": parts,
        "runs": len(runs),
        "jobs": Counter(run.job for run in runs),
        "most_runs_of_a_video_and_job": max(by_video.values()),
        "most_attempts": max(row.layout.attempts for row in rows),
        "load": os.getloadavg()[1],
        "places": {tier: statistics.mean(places) for tier, places in by_tier.items()},
        "inversions": inversions(runs, platform.settings.tenant_run_limit),
        "ticks": {
            name: {"count": len(s), "median": statistics.median(s), "p95": percentile(s, 0.95)}
            for name, s in sorted(tick_times(platform.instance).items())
        },
        "bytes": {
            name: {"before": before, "after": platform.database_bytes(name)} for name, before in sizes.items()
        },
    }  # fmt: skip


def show(figures: dict, options: argparse.Namespace) -> None:
    """Print the figures as tables."""
    console = Console(width=110)
    console.print(
        f"{figures['videos']} videos at once, stages: {options.stages}, {options.slots} runs at a time, "
        f"{available_cores()} cores, load of the machine {figures['load']:.0f}"
    )
    table = Table("what", "figure")
    table.add_row("time", f"{figures['seconds']:.0f} s")
    table.add_row("videos a minute", f"{figures['a_minute']:.1f}")
    table.add_row("CPU of all processes, a video", f"{figures['cpu_s'] / figures['videos']:.2f} s")
    for part, seconds in sorted(figures["cpu_s_by_part"].items(), key=lambda item: -item[1]):
        table.add_row(f"  {part}", f"{seconds / figures['videos']:.2f} s")
    table.add_row("runs", ", ".join(f"{count} {job}" for job, count in figures["jobs"].items()))
    table.add_row("most runs of one video and job", str(figures["most_runs_of_a_video_and_job"]))
    table.add_row("most attempts of one video", str(figures["most_attempts"]))
    table.add_row("mean place by tier", ", ".join(f"{t} {p:.0f}" for t, p in figures["places"].items()))
    table.add_row("runs that began before a higher one", str(figures["inversions"]))
    for name, size in figures["bytes"].items():
        table.add_row(f"database {name}", f"{size['before'] / 1e6:.1f} → {size['after'] / 1e6:.1f} MB")
    console.print(table)
    table = Table("sensor", "ticks", "median", "95 %")
    for name, tick in figures["ticks"].items():
        table.add_row(name, str(tick["count"]), f"{tick['median']:.2f} s", f"{tick['p95']:.2f} s")
    console.print(table)


if __name__ == "__main__":
    main()
