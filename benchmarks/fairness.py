"""The effect of one tenant's flood on another tenant, and the effect of age on priority.

    python -m benchmarks.fairness [--videos 1000] [--slots 4] [--patience 15]

The catalogue, its claims, the sensors, Dagster's storage, its queue daemon and its limits are real. Only the
runs are simulated: a launched run lasts until the simulation ends it, one at a time, so that each step frees
one slot. It needs nothing but the package.
"""

import argparse
import json
import logging
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.run_queue import RunQueue, run_queue
from captionacc_dagster.resources.catalog import Catalog, VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from captionacc_dagster.runs.tags import PRIORITY, QUEUE_PRIORITY, TENANT_ID, VIDEO_ID, RunTags
from captionacc_dagster.sensors.new_videos import layout_run_requests, new_videos
from captionacc_dagster.sensors.priority_aging import priority_aging
from captionacc_dagster.settings import Settings
from modal_gpu.storage import ObjectStore

BIG = 100_000_000


@dataclass
class Platform:
    """A catalogue, a bucket and a run queue, all empty at first."""

    catalog: Catalog
    store: ObjectStore
    queue: RunQueue
    dsn: str
    names: dict[str, str] = field(default_factory=dict)

    def upload(self, name: str, tier: str, videos: int = 1, hours: float = 0.0) -> list[VideoRow]:
        """Register videos of a tenant that have waited for some time."""
        tenant_id = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        self.names[tenant_id] = name
        self.catalog.ensure_tenant(tenant_id, name, tier=tier)
        rows = []
        for _ in range(videos):
            video_id = str(uuid.uuid4())
            key = f"{tenant_id}/client/videos/{video_id}/video.mp4"
            self.store.put(key, b"video")
            rows.append(self.catalog.register_video(tenant_id, video_id, key, BIG, f"{name}.mp4"))
        if hours:
            with psycopg.connect(self.dsn) as connection:
                connection.execute(
                    "update captionacc.videos set uploaded_at = uploaded_at - %s where tenant_id = %s",
                    [timedelta(hours=hours), tenant_id],
                )
        return rows

    def sensors(self) -> None:
        """Tick each sensor that fills or sorts the queue once."""
        resources = {"catalog": self.catalog, "object_store": self.store}
        with dg.build_sensor_context(instance=self.queue.instance, resources=resources) as context:
            self.queue.submit("layout", new_videos(context).run_requests or [])
        with dg.build_sensor_context(
            instance=self.queue.instance, resources={"catalog": self.catalog}
        ) as context:
            priority_aging(context)

    def claim_all(self) -> None:
        """Queue everything at once with its full priority: no turns, no aging."""
        claimed = self.catalog.claim_new_videos(10_000)
        if not claimed:
            return
        requests = layout_run_requests(claimed, RunTags(self.catalog, self.queue.instance), "new_videos")
        by_upload = {video.partition_key: number for number, video in enumerate(claimed)}
        requests.sort(key=lambda request: by_upload[request.partition_key])
        self.queue.submit(
            "layout",
            [
                dg.RunRequest(
                    run_key=request.run_key,
                    partition_key=request.partition_key,
                    tags={**request.tags, QUEUE_PRIORITY: request.tags[PRIORITY]},
                )
                for request in requests
            ],
        )

    def launch(self) -> list[str]:
        """Return what the queue daemon launches, and mark the rows as running."""
        launched = self.queue.dequeue()
        for run_id in launched:
            self.catalog.begin_stage(self.queue.run(run_id).tags[VIDEO_ID], "layout", run_id)
        return launched

    def end_one(self) -> None:
        """Finish the run that has been running longest."""
        run_id = self.queue.at_work[0]
        self.queue.end(run_id)
        video_id = self.queue.run(run_id).tags[VIDEO_ID]
        self.catalog.fail_stage(video_id, "layout", run_id, "the simulation ends runs without results")

    def tenant_of(self, run_id: str) -> str:
        return self.names[self.queue.run(run_id).tags[TENANT_ID]]


@contextmanager
def new_platform(server: EmbeddedPostgres, queue: RunQueue) -> Iterator[Platform]:
    """Open a new catalogue and bucket, and empty the queue."""
    queue.clear()
    dsn = server.ensure_running(f"fairness_{uuid.uuid4().hex[:8]}")
    migrate(dsn)
    folder = Path(tempfile.mkdtemp(prefix="captionacc-fairness-"))
    try:
        with closing(Catalog(PostgresTransport(dsn))) as catalog:
            yield Platform(catalog, ObjectStore.from_url(folder.as_uri()), queue, dsn)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Scheme:
    name: str
    tenant_runs: int
    fill: Callable[[Platform], None]


@dataclass(frozen=True)
class Flood:
    """A scenario: the tenant with many videos, and the tenant whose single video waits."""

    name: str
    tiers: Sequence[str]
    single: str


FLOODS = (
    Flood("one free tenant", ("free",), "free"),
    Flood("two free tenants", ("free", "free"), "free"),
    Flood("two enterprise tenants", ("enterprise", "enterprise"), "free"),
)


def wait_in_flood(
    platform: Platform, scheme: Scheme, flood: Flood, videos: int, slots: int, patience: int
) -> tuple[int | None, int]:
    """Count launches between a single video's upload and its own launch, and the longest queue.

    Returns ``None`` for the launches if it was not launched within ``patience``.
    """
    for number, tier in enumerate(flood.tiers):
        platform.upload(f"many{number}", tier, videos // len(flood.tiers))
    most = 0
    for _ in range(2 * slots):
        scheme.fill(platform)
        most = max(most, platform.queue.queue_length)
        platform.launch()
        platform.end_one()
    scheme.fill(platform)
    platform.launch()
    platform.upload("single", flood.single)
    others = 0
    while others <= patience:
        scheme.fill(platform)
        for run_id in platform.launch():
            if platform.tenant_of(run_id) == "single":
                return others, most
            others += 1
        platform.end_one()
    return None, most


def fairness(server: EmbeddedPostgres, videos: int, slots: int, patience: int) -> tuple[Table, list[dict]]:
    """Return a row for each flood and scheme."""
    schemes = (
        Scheme("queue alone", slots, Platform.claim_all),
        Scheme("and a limit a tenant", slots - 1, Platform.claim_all),
        Scheme("as shipped", slots - 1, Platform.sensors),
    )
    table = Table("scheme", "many videos of", "single one of", "queued at most", "others' runs before it")
    figures = []
    for scheme in schemes:
        settings = Settings(CAPTIONACC_MAX_RUNS=slots, CAPTIONACC_TENANT_RUNS=scheme.tenant_runs)
        with run_queue(settings) as queue:
            for flood in FLOODS:
                with new_platform(server, queue) as platform:
                    others, most = wait_in_flood(platform, scheme, flood, videos, slots, patience)
                figures.append(
                    {"flood": flood.name, "scheme": scheme.name, "queued": most, "others_before": others}
                )
                shown = f"more than {patience}" if others is None else str(others)
                table.add_row(scheme.name, flood.name, f"a {flood.single} tenant", str(most), shown)
    return table, figures


def ageing(server: EmbeddedPostgres, hours: Sequence[float]) -> tuple[Table, list[dict]]:
    """Return which video is launched first: a free tenant's old one, or a premium tenant's new one."""
    table = Table("free tenant's waits since", "its priority", "premium tenant's, fresh", "launched first")
    figures = []
    settings = Settings(CAPTIONACC_MAX_RUNS=1, CAPTIONACC_TENANT_RUNS=1)
    with run_queue(settings) as queue, new_platform(server, queue) as platform:
        for waited in hours:
            platform.upload("busy", "enterprise")
            platform.sensors()
            platform.launch()
            platform.upload("old", "free", hours=waited)
            platform.sensors()
            platform.upload("fresh", "premium")
            platform.sensors()
            priorities = {
                platform.tenant_of(run.run_id): run.tags[QUEUE_PRIORITY] for run in platform.queue.queued
            }
            platform.end_one()
            (first,) = platform.launch()
            winner = platform.tenant_of(first)
            table.add_row(f"{waited:g} h", priorities["old"], priorities["fresh"], f"the {winner} one")
            figures.append({"hours": waited, "priorities": priorities, "first": winner})
            platform.end_one()
            platform.launch()
            platform.end_one()
    return table, figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=1000, help="of the flood")
    parser.add_argument("--slots", type=int, default=4, help="runs at work at once")
    parser.add_argument("--patience", type=int, default=15, help="launches after which a wait is long")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.INFO)
    home = Path(tempfile.mkdtemp(prefix="captionacc-fairness-"))
    server = EmbeddedPostgres(home, settings={"fsync": "off"})
    console = Console(width=110)
    try:
        server.ensure_running()
        table, floods = fairness(server, options.videos, options.slots, options.patience)
        console.print(f"{options.videos} videos at once, {options.slots} runs at work at a time")
        console.print(table)
        table, ages = ageing(server, (0, 10, 19, 20, 21, 48))
        console.print(table)
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps({"fairness": floods, "ageing": ages}, indent=2))


if __name__ == "__main__":
    main()
