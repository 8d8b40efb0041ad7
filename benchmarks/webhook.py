"""The response time of the webhook, and a check that Dagster creates the runs it announced.

    python -m benchmarks.webhook [--videos 100] [--command webhook|serve] [--storage postgres]

It uses the process of `captionacc webhook` or `captionacc serve`, PostgreSQL, and Dagster's real daemon,
whose code server executes the runs. The videos belong to many tenants, and all calls arrive at once. A first
round sends the same calls one after the other.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import dagster as dg
import httpx
import psycopg

from benchmarks.load import percentile
from benchmarks.orchestration import measured_platform
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.opening import open_catalog, open_object_store
from captionacc_dagster.runs.tags import VIDEO_ID
from modal_gpu.cores import available_cores
from modal_gpu.keys import VideoKeys

MODULE = "captionacc_dagster.definitions"
SECRET = "a secret of the benchmark"
TENANTS = 10


def upload(settings, videos: int, uploaded: bool = False) -> list[VideoRow]:
    """Create rows and objects as uploads do. The objects are not videos, since only the start is measured."""
    catalog, store, rows = open_catalog(settings), open_object_store(settings), []
    for number in range(videos):
        tenant = str(uuid.uuid5(uuid.NAMESPACE_DNS, str(number % TENANTS)))
        catalog.ensure_tenant(tenant, f"tenant {number % TENANTS}")
        keys = VideoKeys(tenant, str(uuid.uuid4()))
        store.put(keys.video, b"no video")
        rows.append(
            catalog.register_video(tenant, keys.video_id, keys.video, 8, f"{number}.mp4", uploaded=uploaded)
        )
    return rows


def make_new(settings, instance: dg.DagsterInstance) -> None:
    """Mark the uploads as new, just after a tick of the sensor, which would otherwise claim them."""
    former = last_tick(instance)
    while last_tick(instance) == former:
        time.sleep(0.02)
    # Until the tick's own claim has ended.
    time.sleep(1)
    with psycopg.connect(EmbeddedPostgres(settings.home).ensure_running()) as connection:
        connection.execute("update captionacc.videos set uploaded_at = now() where uploaded_at is null")


async def call(client: httpx.AsyncClient, row: VideoRow) -> tuple[float, dict]:
    record = {"id": row.video_id, "tenant_id": row.tenant_id}
    payload = {"type": "INSERT", "table": "videos", "schema": "captionacc", "record": record}
    began = time.perf_counter()
    reply = await client.post("/webhooks/supabase/videos", json=payload)
    return time.perf_counter() - began, reply.raise_for_status().json()


async def all_calls(address: str, rows: Sequence[VideoRow], at_once: bool) -> list[tuple[float, dict]]:
    limits = httpx.Limits(max_connections=len(rows))
    headers = {"authorization": f"Bearer {SECRET}"}
    async with httpx.AsyncClient(base_url=address, headers=headers, limits=limits, timeout=60) as client:
        if at_once:
            return list(await asyncio.gather(*(call(client, row) for row in rows)))
        return [await call(client, row) for row in rows]


def show(name: str, answers: Sequence[tuple[float, dict]]) -> None:
    seconds = [taken for taken, _ in answers]
    outcomes = {body["outcome"] for _, body in answers}
    print(
        f"{name:>8}: {len(seconds)} answers, median {statistics.median(seconds):.3f} s, "
        f"p95 {percentile(seconds, 0.95):.3f} s, longest {max(seconds):.3f} s, {', '.join(outcomes)}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--command", choices=["webhook", "serve"], default="webhook")
    parser.add_argument("--storage", choices=["sqlite", "postgres"], default="postgres")
    options = parser.parse_args()
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with measured_platform(MODULE, storage=options.storage) as platform:
        environment = dict(platform.environment) | {
            "CAPTIONACC_WEBHOOK_SECRET": SECRET,
            "CAPTIONACC_WEBHOOK_REQUESTS_A_MINUTE": "100000",
        }
        address = f"http://127.0.0.1:{port}"
        command = [options.command, "--port", str(port)]
        measure(platform, environment, address, options.videos, command)


def measure(platform, environment: dict[str, str], address: str, videos: int, service: Sequence[str]) -> None:
    """Print both rounds, and whether each announced run is in Dagster and has ended.

    ``service``: the arguments of ``captionacc`` that start it.
    """
    print(f"{available_cores()} cores, load {os.getloadavg()[0]:.1f} before", flush=True)
    # The webhook needs the catalogue's tables and the bucket to start.
    upload(platform.settings, 0)
    (platform.home / "bucket").mkdir(exist_ok=True)
    command = [Path(sys.executable).parent / "captionacc", *service]
    webhook = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
    try:
        _wait_for(address, webhook)
        for name, at_once, count in (("in turn", False, min(videos, 20)), ("at once", True, videos)):
            rows = upload(platform.settings, count)
            make_new(platform.settings, platform.instance)
            answers = asyncio.run(all_calls(address, rows, at_once))
            show(name, answers)
            promised = {body["run_id"] for _, body in answers} - {None}
            began = time.monotonic()
            while len(known := _known(platform.instance, promised)) < len(promised):
                if time.monotonic() - began > 300:
                    raise TimeoutError(f"{len(promised) - len(known)} runs of {len(promised)} were not made")
                time.sleep(0.5)
            print(f"          all {len(known)} runs are in Dagster {time.monotonic() - began:.1f} s later")
        began = time.monotonic()
        while not (ended := [run for run in _known(platform.instance, promised) if run.is_finished]):
            if time.monotonic() - began > 300:
                raise TimeoutError("no run of the webhook's was worked off")
            time.sleep(0.5)
        _wait_until_failed(platform.settings, ended[0].tags[VIDEO_ID])
    finally:
        webhook.terminate()
        webhook.wait(30)


def _wait_until_failed(settings, video_id: str, seconds: float = 60) -> None:
    """Wait until the run has found that the object is not a video, and the row says so."""
    deadline = time.monotonic() + seconds
    while (row := open_catalog(settings).get_video(video_id)).layout.status == "wait":
        if time.monotonic() > deadline:
            raise TimeoutError(f"the run of video {video_id} ended, and its row does not say how")
        time.sleep(0.5)
    print(f"          the daemon works them off; the first found: {row.error}")


def _known(instance: dg.DagsterInstance, run_ids: set[str]) -> list[dg.DagsterRun]:
    return list(instance.get_runs(dg.RunsFilter(run_ids=list(run_ids))))


def last_tick(instance: dg.DagsterInstance) -> float:
    """Return the time of the daemon's last tick of the sensor, or 0."""
    states = [s for s in instance.all_instigator_state() if s.instigator_name == "new_videos"]
    return (states[0].instigator_data.last_tick_timestamp or 0.0) if states else 0.0


def _wait_for(address: str, process: subprocess.Popen, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{address}/healthz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("the webhook did not start")


if __name__ == "__main__":
    main()
