"""``python -m benchmarks.fan_out VIDEO``: wall time and cost by number of containers, by simulation.

First it records calls on this machine: the video is repeated to ``--minutes`` and cut into segments, and each
call runs in its own process, one after the other, including start and loading of the bundled models. Then the
platform's own planning assigns the calls of longer videos to 1 to 10 simulated containers. Each container
pays for its start once and downloads the video once; with one container nothing is divided.

Calls are recorded in CPU seconds of all threads, because other work on the machine stretches wall time. A
simulated container executes them on :data:`CORES` cores that are as busy as those of the recording.
"""

import heapq
import statistics
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import av
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.stage_memory import repeat
from captionacc_dagster.resources.compute import ComputeCall, FanOut, FunctionName, batched, run_call
from captionacc_dagster.resources.compute.child_process import run_in_child
from modal_gpu.contracts import (
    CaptionOcrRequest,
    CaptionRange,
    CropInferRequest,
    CropInferResult,
    CropRegion,
    ExtractRequest,
    ExtractResult,
    from_wire,
    no_progress,
    to_wire,
)
from modal_gpu.cores import available_cores
from modal_gpu.databases.extents import read_extents
from modal_gpu.databases.layout import read_layout
from modal_gpu.databases.sqlite_file import utc_now
from modal_gpu.extents.decoder import decode, settings_for
from modal_gpu.frame_index import FULL_FRAME_MAX_STEP, INDEX_RATE
from modal_gpu.functions.merge import merge_crops, merge_extracts
from modal_gpu.functions.settings import ComputeSettings
from modal_gpu.keys import VideoKeys
from modal_gpu.prices import PriceTable
from modal_gpu.storage import ObjectStore

PRICES = PriceTable()
CORES, GIB = 2, 8

#: Assumptions: seconds from the request for a container until its process starts; download rate, bytes/s.
CONTAINER_SECONDS = 10.0
DOWNLOAD_BYTES = 100e6

#: Share of the cores that the functions keep busy: ``benchmarks.speed`` gave 30.3 CPU seconds in 17.0 s on 2
#: cores with nothing else to do.
BUSY = 0.89

#: Assumption: captions in an hour of video.
CAPTIONS_AN_HOUR = 900
LENGTHS = {"10 minutes": 10, "1 hour": 60, "3 hours": 180}
CONTAINERS = (1, 2, 4, 6, 8, 10)

EXTRACT: FunctionName = "extract_frames_and_ocr"
CROPS: FunctionName = "crop_and_infer_caption_frame_extents"
READ: FunctionName = "generate_caption_ocr"
#: GPUs whose price is added: none, or those that functions have by default.
GPUS = {EXTRACT: "T4", CROPS: "A10G", READ: "T4"}


@dataclass(frozen=True)
class Recorded:
    """CPU seconds of one call: of its process before the function, and of the function; and its units.

    ``wall`` is the wall time of the function on this machine, in seconds.
    """

    function: FunctionName
    start: float
    work: float
    wall: float
    units: int


@dataclass(frozen=True)
class Rates:
    """Container seconds per full frame, 10 Hz frame and caption, per start, and per merge by the frame."""

    unit: dict[FunctionName, float]
    start: float
    merge: float
    bytes_a_second: float


def record(video: Path, work: Path, segment_frames: int) -> tuple[list[Recorded], Rates]:
    """Run every call of a video separately."""
    store = ObjectStore.from_url((work / "bucket").as_uri())
    keys = VideoKeys(str(uuid.uuid4()), str(uuid.uuid4()))
    store.upload(video, keys.video)
    settings, recorded = ComputeSettings(), []

    def call(function: FunctionName, request, units) -> object:
        wire = ComputeCall(function, keys.tenant_id, keys.video_id, to_wire(request))
        answer = run_in_child(partial(_timed, wire, store, settings), function, no_progress)
        result = answer["result"]
        recorded.append(Recorded(function, answer["start"], answer["work"], answer["wall"], units(result)))
        return result

    plan = FanOut(segment_frames, max_parallel=10, divide_crops=True)
    with av.open(str(video)) as container:
        duration = container.duration / av.time_base
    segments = plan.segments(int(duration * INDEX_RATE))
    request = ExtractRequest(keys.tenant_id, keys.video_id, keys.video)
    extracts = [
        from_wire(
            ExtractResult, call(EXTRACT, replace(request, segment=segment), lambda r: r["full_frame_count"])
        )
        for segment in segments
    ]
    facts = merge_extracts(request, segments, extracts, store)
    crop: CropRegion = read_layout(store.get(keys.layout_db)).crop_region
    request = CropInferRequest(
        keys.tenant_id, keys.video_id, keys.video, crop, 1, "recorded", frame_count=facts.frame_count
    )
    crops = [
        from_wire(CropInferResult, call(CROPS, replace(request, segment=segment), lambda r: r["frame_count"]))
        for segment in segments
    ]
    before = time.process_time()
    merged = merge_crops(request, segments, crops, store, started_at=utc_now(), completed_at=utc_now())
    merge = (time.process_time() - before) / merged.frame_count
    run, predictions = read_extents(store.get(keys.caption_frame_extents_db(1)))
    extents = decode(predictions, settings_for(run.model_version))
    ranges = [CaptionRange(n, found.start, found.end) for n, found in enumerate(extents, 1)]
    for batch in batched(ranges, plan.captions_a_call):
        call(READ, CaptionOcrRequest(keys.tenant_id, keys.video_id, 1, crop, merged.frame_count, batch), len)
    unit = {
        name: statistics.median(r.work / r.units for r in recorded if r.function == name) / (CORES * BUSY)
        for name in (EXTRACT, CROPS, READ)
    }
    start = statistics.median(r.start for r in recorded)
    return recorded, Rates(unit, start, merge, video.stat().st_size / float(facts.duration))


def _timed(call: ComputeCall, store: ObjectStore, settings: ComputeSettings, progress) -> dict:
    # Imports and models that are loaded once a container are part of its start.
    import modal_gpu.functions.caption_ocr
    import modal_gpu.functions.crop_infer
    import modal_gpu.functions.extract  # noqa: F401

    if call.function == CROPS:
        settings.predictor()
    else:
        settings.open_ocr("frames" if call.function == EXTRACT else "strips")
    start, began = time.process_time(), time.monotonic()
    result = run_call(call, store, settings, progress)
    wall, work = time.monotonic() - began, time.process_time() - start
    return {"start": start, "work": work, "wall": wall, "result": result}


@dataclass(frozen=True)
class Outcome:
    """Wall seconds of a video, and dollars without GPUs and with the default ones."""

    wall: float
    cost: float
    gpu_cost: float


def simulate(minutes: float, containers: int, rates: Rates, segment_frames: int) -> Outcome:
    """Simulate the calls of one video on a number of containers, function after function."""
    frames = round(minutes * 60 * INDEX_RATE)
    plan = FanOut(segment_frames, max_parallel=containers, divide_crops=True)
    download = minutes * 60 * rates.bytes_a_second / DOWNLOAD_BYTES
    segments = [len(segment.of(frames)) for segment in plan.segments(frames)]
    captions = round(minutes / 60 * CAPTIONS_AN_HOUR)
    batches = -(-captions // plan.captions_a_call) if containers > 1 else 1
    wall = cost = gpu_cost = 0.0
    # The first segment of the first function determines the video's length; the others wait for it.
    after = [len(segment.of(frames)) for segment in plan.segments_after_first(frames)]
    first, rest = ([frames], []) if containers == 1 else ([min(frames, segment_frames)], after)
    extracts = [
        [length / FULL_FRAME_MAX_STEP * rates.unit[EXTRACT] for length in part] for part in (first, rest)
    ]
    crops = [length * rates.unit[CROPS] for length in segments]
    read = [captions / batches * rates.unit[READ]] * batches
    start = CONTAINER_SECONDS + rates.start
    for function, stages, once in (
        (EXTRACT, extracts, start + download), (CROPS, [crops], start + download), (READ, [read], start)
    ):  # fmt: skip
        stage_wall, busy = _scheduled(stages, containers, once)
        wall += stage_wall
        cost += busy * PRICES.container_second(None, CORES, GIB * 1024)
        gpu_cost += busy * PRICES.container_second(GPUS[function], CORES, GIB * 1024)
    return Outcome(wall + rates.merge * frames * (len(segments) > 1), cost, gpu_cost)


def _scheduled(stages: Sequence[Sequence[float]], containers: int, start: float) -> tuple[float, float]:
    """Return wall seconds and billed container seconds of calls in consecutive stages."""
    free: list[float] = []
    now = busy = 0.0
    for calls in stages:
        ends = [now]
        for seconds in calls:
            warm = bool(free) and (free[0] <= now or len(free) == containers)
            begin = max(now, heapq.heappop(free)) if warm else now + start
            heapq.heappush(free, begin + seconds)
            ends.append(begin + seconds)
            busy += seconds + (0 if warm else start)
        now = max(ends)
    return now, busy


def main(
    video: Annotated[Path, typer.Argument(exists=True, dir_okay=False)],
    minutes: Annotated[float, typer.Option(help="length of the video that is recorded")] = 10,
    recorded_segment: Annotated[int, typer.Option(help="frames of a recorded segment")] = 1536,
    segment_frames: Annotated[int, typer.Option(help="frames of a simulated segment")] = 6144,
) -> None:
    """Record, simulate, and print both."""
    console = Console(highlight=False, width=110)
    with tempfile.TemporaryDirectory(prefix="fan-out-") as folder:
        path = Path(folder) / "video.mp4"
        repeat(video, path, minutes * 60)
        recorded, rates = record(path, Path(folder), recorded_segment)
    columns = ("call", "units", "start CPU s", "work CPU s", "CPU ms a unit", "wall s here")
    table = Table(*columns, title="recorded", title_justify="left")
    for r in recorded:
        a_unit = f"{r.work / r.units * 1000:.1f}"
        table.add_row(r.function, str(r.units), f"{r.start:.1f}", f"{r.work:.1f}", a_unit, f"{r.wall:.1f}")
    console.print(table)
    console.print(
        f"{available_cores()} cores, no GPU; {rates.merge * 1e6:.0f} µs a frame to merge. Simulated "
        f"containers have {CORES} such cores, {BUSY:.0%} busy, start in {CONTAINER_SECONDS:.0f} s + "
        f"{rates.start:.1f} s and download {DOWNLOAD_BYTES / 1e6:.0f} MB/s, once; {CORES} cores, {GIB} GiB "
        "are paid for, and in the last column GPUs as by default (T4, A10G, T4)."
    )
    title = f"simulated, segments of {segment_frames} frames"
    columns = ("video", "containers", "wall", "× real time", "of one", "no GPU", "an hour", "with GPUs")
    table = Table(*columns, title=title, title_justify="left")
    for name, length in LENGTHS.items():
        alone = simulate(length, 1, rates, segment_frames).wall
        for containers in CONTAINERS:
            outcome = simulate(length, containers, rates, segment_frames)
            wall, share = outcome.wall, outcome.wall / (length * 60)
            table.add_row(
                *(name, str(containers), f"{wall / 60:.1f} min", f"{share:.3f}", f"1/{alone / wall:.1f}"),
                *(f"${dollars:.3f}" for dollars in (outcome.cost, outcome.cost / length * 60)),
                f"${outcome.gpu_cost:.3f}",
            )
        table.add_section()
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
