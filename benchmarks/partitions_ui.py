"""The speed of the UI, of a sensor's tick and of the database with many finished videos.

    python -m benchmarks.partitions_ui [--counts 1000 10000 50000] [--rounds 5] [--hold SECONDS]

Each video is a partition with a materialization of three assets and one ended run. They are written to
PostgreSQL as copies of what Dagster itself wrote for one; reading goes through the real web server and the
real sensor. ``--hold`` keeps the web server running at the last count, for a look with a browser.
"""

import argparse
import json
import socket
import statistics
import sys
import time
import urllib.error
import urllib.request
import uuid
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.orchestration import MeasuredPlatform, measured_platform
from captionacc_dagster.constants import DEFINITIONS_MODULE
from captionacc_dagster.definitions import defs
from captionacc_dagster.resources.opening import open_catalog, open_object_store
from captionacc_dagster.runs.tags import PARTITION, TENANT_ID, VIDEO_ID
from captionacc_dagster.sensors.new_videos import new_videos

ASSETS = ("full_frames", "raw_ocr_db", "layout_db")
CHUNK = 5000

#: The queries of the pages, reduced to what grows with the number of videos.
PAGES = {
    "asset page": """
        query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
            partitionStats { numMaterialized numPartitions numFailed numMaterializing }
            assetMaterializations(limit: 1) { runId timestamp partition metadataEntries { label } } } } }""",
    "partitions tab": """
        query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
            partitionKeysByDimension { name partitionKeys }
            partitionStats { numMaterialized numPartitions }
            assetPartitionStatuses { __typename ... on DefaultPartitionStatuses {
                materializedPartitions failedPartitions unmaterializedPartitions } } } } }""",
    "runs page": """
        query { runsOrError(limit: 30) { ... on Runs { results {
            id status jobName creationTime startTime endTime tags { key value } assetSelection { path } } } }
            count: runsOrError(filter: {statuses: [SUCCESS]}) { ... on Runs { count } } }""",
    "runs of a video": """
        query($partition: String!) { runsOrError(
            filter: {tags: [{key: "dagster/partition", value: $partition}]}, limit: 30) {
            ... on Runs { results { id status tags { key value } } count } } }""",
}  # fmt: skip


def fill(platform: MeasuredPlatform, have: int, want: int) -> None:
    """Add finished videos until there are ``want`` of them."""
    instance = platform.instance
    first = f"{0:08d}-0000-4000-8000-000000000000"
    if have == 0:
        instance.add_dynamic_partitions("videos", [first])
        for asset in ASSETS:
            event = dg.AssetMaterialization(asset, partition=first, metadata={"frames": 30, "seconds": 1.5})
            instance.report_runless_asset_event(event)
        run = instance.create_run_for_job(
            defs.resolve_job_def("layout"),
            tags={
                PARTITION: first,
                VIDEO_ID: first,
                TENANT_ID: str(uuid.uuid4()),
            },
            status=dg.DagsterRunStatus.SUCCESS,
        )
        assert instance.get_run_by_id(run.run_id)
        have = 1
    keys = [f"{number:08d}-0000-4000-8000-000000000000" for number in range(have, want)]
    for start in range(0, len(keys), CHUNK):
        instance.add_dynamic_partitions("videos", keys[start : start + CHUNK])
    with psycopg.connect(platform.server.ensure_running("dagster"), autocommit=True) as connection:
        _copies(connection, "event_logs", first, keys, "partition = %(first)s and asset_key is not null")
        _copies(connection, "runs", first, keys, "run_body like '%%' || %(first)s || '%%'")
        connection.execute(
            "insert into run_tags (run_id, key, value) select r.run_id, t.key, t.value from runs r,"
            " json_each_text((r.run_body::json) -> 'tags') t(key, value)"
            " where not exists (select from run_tags where run_id = r.run_id)"
        )
        connection.execute("vacuum analyze")


def _copies(connection: psycopg.Connection, table: str, first: str, keys: list[str], where: str) -> None:
    """Copy the first video's rows for each key, with that key and a new run id."""
    columns = [
        name
        for (name,) in connection.execute(
            "select column_name from information_schema.columns where table_name = %s", [table]
        )
        if name != "id"
    ]
    given = {
        "partition": "k",
        "event": "replace(event, %(first)s, k)",
        "run_body": "replace(replace(run_body, %(first)s, k), run_id, md5(k)::uuid::text)",
        "run_id": "md5(k)::uuid::text" if table == "runs" else "run_id",
    }
    chosen = ", ".join(given.get(name, f'"{name}"') for name in columns)
    names = ", ".join(f'"{name}"' for name in columns)
    connection.execute(
        f"insert into {table} ({names}) select {chosen} from {table},"
        f" unnest(%(keys)s::text[]) k where {where}",
        {"first": first, "keys": keys},
    )


def ask(port: int, query: str, variables: dict) -> tuple[float, int]:
    """Return the seconds and bytes of one response. Raises for an error of GraphQL."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", body, {"Content-Type": "application/json"}
    )
    started = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            data = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{error}: {error.read()[:2000].decode()}") from None
    seconds = time.monotonic() - started
    if b'"errors"' in data[:200] or b"PythonError" in data[:400]:
        raise RuntimeError(data[:2000].decode())
    return seconds, len(data)


def tick(platform: MeasuredPlatform, videos: int) -> float:
    """Return the seconds of a tick of ``new_videos`` that finds some, with the daemon's handling of it."""
    catalog, store = open_catalog(platform.settings), open_object_store(platform.settings)
    tenant = str(platform.settings.tenant_id)
    for _ in range(videos):
        video_id = str(uuid.uuid4())
        key = f"{tenant}/client/videos/{video_id}/video.mp4"
        store.put(key, b"video")
        catalog.register_video(tenant, video_id, key, 1000, "a.mp4")
    resources = {"catalog": catalog, "object_store": store}
    started = time.monotonic()
    with dg.build_sensor_context(instance=platform.instance, resources=resources) as context:
        result = new_videos(context)
    assert len(result.run_requests or []) == videos
    for event in result.asset_events:
        platform.instance.report_runless_asset_event(event)
    for request in result.dynamic_partitions_requests:
        for key in request.partition_keys:
            platform.instance.has_dynamic_partition("videos", key)
        platform.instance.add_dynamic_partitions("videos", list(request.partition_keys))
    seconds = time.monotonic() - started
    # So that they do not count for the limits of the next tick.
    with psycopg.connect(platform.server.ensure_running()) as connection:
        connection.execute("update captionacc.videos set deleted_at = now() where deleted_at is null")
    return seconds


def wait_until_up(platform: MeasuredPlatform, port: int, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        platform.check()
        try:
            ask(port, "query { version }", {})
            return
        except OSError:
            time.sleep(1)
    raise TimeoutError("the web server does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 50_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hold", type=float, default=0, help="seconds")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    console, figures = Console(width=110), []
    with measured_platform(DEFINITIONS_MODULE, daemon=False, webserver_port=port) as platform:
        wait_until_up(platform, port)
        have = 0
        for count in options.counts:
            fill(platform, have, count)
            have = count
            measured: dict = {"videos": count, "database_bytes": platform.database_bytes("dagster")}
            variables = {"key": {"path": ["layout_db"]}, "partition": f"{7:08d}-0000-4000-8000-000000000000"}
            for page, query in PAGES.items():
                used = {name: value for name, value in variables.items() if f"${name}" in query}
                first, size = ask(port, query, used)
                times = [ask(port, query, used)[0] for _ in range(options.rounds)]
                measured[page] = {"first": first, "median": statistics.median(times), "bytes": size}
                print(count, page, measured[page], file=sys.stderr, flush=True)
            measured["tick"] = statistics.median(tick(platform, 10) for _ in range(options.rounds))
            figures.append(measured)
        _show(console, figures)
        if options.hold:
            console.print(f"http://127.0.0.1:{port} for {options.hold:.0f} s")
            time.sleep(options.hold)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def _show(console: Console, figures: list[dict]) -> None:
    console.print(f"{datetime.now(UTC):%Y-%m-%d}; medians, in brackets the first answer")
    table = Table("", *[f"{measured['videos']:,} videos" for measured in figures])
    for page in PAGES:
        table.add_row(
            page,
            *[
                f"{m[page]['median']:.2f} s ({m[page]['first']:.2f} s), {m[page]['bytes'] / 1000:.1f} kB"
                for m in figures
            ],
        )
    table.add_row("tick of new_videos, 10 new", *[f"{m['tick']:.2f} s" for m in figures])
    table.add_row("Dagster's database", *[f"{m['database_bytes'] / 1e6:.0f} MB" for m in figures])
    console.print(table)


if __name__ == "__main__":
    main()
