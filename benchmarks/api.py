"""Times of the HTTP API's routes with many videos and many clients: ``python -m benchmarks.api``.

An embedded PostgreSQL holds the videos, a server on loopback serves them, and clients in threads of this
process send requests one after another. Prints a table of p50 and p95 in milliseconds a route.
"""

import argparse
import shutil
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import httpx
import psycopg

from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.platform.ports import free_port
from captionacc_dagster.resources.catalog import Catalog
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.service.limits import RateLimits
from captionacc_dagster.web.service.parts import ServiceParts
from captionacc_dagster.web.service.serving import ServiceThread
from modal_gpu.storage import ObjectStore

Request = Callable[[httpx.Client, str], httpx.Response]
_FILL = """
insert into captionacc.videos (id, tenant_id, display_path, storage_key, size_bytes, uploaded_at, created_at)
select id, %(tenant)s::uuid, 'video ' || n || '.mp4',
    %(tenant)s::text || '/client/videos/' || id || '/video.mp4', 1000,
    now(), now() - n * interval '1 second'
from (select gen_random_uuid() as id, n from generate_series(1, %(videos)s) n) made
"""
ROUTES: dict[str, Request] = {
    "GET /livez": lambda client, video: client.get("/livez"),
    "GET /videos?limit=50": lambda client, video: client.get("/videos?limit=50"),
    "GET /videos?q=": lambda client, video: client.get("/videos?q=video 4999&limit=50"),
    "GET /videos/{id}": lambda client, video: client.get(f"/videos/{video}"),
    "PATCH /videos/{id}": lambda client, video: client.patch(
        f"/videos/{video}", json={"name": str(uuid.uuid4())}
    ),
    "POST /videos": lambda client, video: client.post(
        "/videos", json={"name": "a.mp4", "size": 1, "type": "video/mp4"}
    ),
    "POST /jobs": lambda client, video: client.post("/jobs", json={"type": "layout", "video_id": video}),
    "GET /jobs": lambda client, video: client.get(f"/jobs?video_id={video}"),
}


def measure(address: str, request: Request, videos: list[str], clients: int, requests: int) -> list[float]:
    """Return the seconds of all requests, which ``clients`` threads send. Raises for an answer above 299."""
    seconds: list[float] = []
    failed: list[str] = []
    begin = threading.Barrier(clients)

    def send(number: int) -> None:
        with httpx.Client(base_url=address, timeout=60) as client:
            begin.wait()
            for turn in range(requests):
                video = videos[(number * requests + turn) % len(videos)]
                started = time.perf_counter()
                answer = request(client, video)
                seconds.append(time.perf_counter() - started)
                if not answer.is_success:
                    failed.append(f"{answer.status_code} {answer.text[:200]}")

    threads = [threading.Thread(target=send, args=[number]) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise RuntimeError(f"{len(failed)} of {len(seconds)} requests failed, such as {failed[0]}")
    return sorted(seconds)


def main() -> None:
    """Fill a catalogue, serve it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--requests", type=int, default=5, help="of each client and route")
    chosen = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="captionacc-api-"))
    server = EmbeddedPostgres(home, settings={"fsync": "off"})
    try:
        dsn = server.ensure_running("api")
        migrate(dsn)
        catalog = Catalog(PostgresTransport(dsn, max_connections=16))
        catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME)
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(_FILL, {"tenant": LOCAL_TENANT_ID, "videos": chosen.videos})
            connection.execute("analyze")
            ids = [str(row[0]) for row in connection.execute("select id from captionacc.videos limit 2000")]
        settings = Settings(_env_file=None, CAPTIONACC_HOME=str(home))
        store = ObjectStore.from_url((home / "bucket").as_uri())
        port = free_port("127.0.0.1")
        parts = ServiceParts(settings, catalog, store, limits=RateLimits(10**9))
        service = ServiceThread(parts, "127.0.0.1", port)
        service.begin()
        print(f"{chosen.videos} videos, {chosen.clients} clients, {chosen.requests} requests each, ms")
        print("| route | p50 | p95 |\n| --- | --- | --- |")
        for name, request in ROUTES.items():
            found = measure(f"http://127.0.0.1:{port}", request, ids, chosen.clients, chosen.requests)
            p95 = found[int(len(found) * 0.95) - 1]
            print(f"| {name} | {statistics.median(found) * 1000:.0f} | {p95 * 1000:.0f} |", flush=True)
        service.end()
        catalog.close()
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
