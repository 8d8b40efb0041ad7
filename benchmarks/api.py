"""Times of every route of the HTTP API, with many videos and many clients at once.

    python -m benchmarks.api [--videos 50000] [--clients 100] [--seconds 5] [--operator] [--only captions]

`captionacc serve` runs in its own process, on the embedded PostgreSQL and a folder. The clients are users,
ten of each tenant, with their own videos, tokens and row-level security; with ``--operator`` nobody signs in.
Each client sends its next request as soon as it has the answer to the last, so the times are those of a
service that is fully used. They run in this process, on the same cores. The column CPU has the service's own
milliseconds a request, which other work on the machine changes little.

Dagster's daemon is stopped once it has made its code location known: runs are created and queued, and their
work is measured elsewhere. The webhook gets a new video with each call, all at once.
"""

import argparse
import asyncio
import contextlib
import os
import re
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
import psutil

from benchmarks.api_catalogue import Member, fill
from benchmarks.api_routes import Caller, Exhausted, Noted, Scenario, scenarios
from benchmarks.load import percentile
from benchmarks.orchestration import MeasuredPlatform, measured_platform
from benchmarks.webhook import SECRET, last_tick, upload
from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.platform.ports import free_port
from captionacc_dagster.resources.opening import open_catalog, open_object_store
from modal_gpu.cores import available_cores

MODULE = "captionacc_dagster.definitions"
JWT_SECRET = "a secret of the benchmark, of more than 32 characters"
WEBHOOK = "POST /webhooks/supabase/videos"
_OPEN_SECONDS = 60.0


@dataclass(frozen=True)
class Row:
    """A route's figures; times in seconds."""

    route: str
    seconds: Sequence[float]
    a_second: float
    #: CPU seconds of the service for one request; of routes that are measured together, their mean.
    cpu: float
    errors: Sequence[str]

    def __str__(self) -> str:
        p50, p95 = (percentile(self.seconds, share) * 1000 for share in (0.5, 0.95))
        figures = f"{p50:.0f} | {p95:.0f} | {self.a_second:.0f} | {self.cpu * 1000:.1f}"
        return f"| `{self.route}` | {figures} | {len(self.errors)} |"


async def measure(scenario: Scenario, callers: Sequence[Caller], seconds: float) -> float:
    """Let all callers repeat a scenario; return how long that took."""
    began = time.perf_counter()

    async def repeat(caller: Caller) -> None:
        turns = 0
        while time.perf_counter() - began < seconds and turns != scenario.most:
            turns += 1
            try:
                await scenario.cycle(caller)
            except Exhausted:
                return

    await asyncio.gather(*map(repeat, callers))
    return time.perf_counter() - began


async def measure_all(
    address: str, members: Sequence[Member], service: psutil.Process, chosen: argparse.Namespace
) -> tuple[list[Row], set[str]]:
    """Measure the scenarios; return a row for each route, in their order, and all operations."""
    taken: dict[str, float] = defaultdict(float)
    cpu: dict[str, float] = {}
    noted = Noted()
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        callers = [
            Caller(session, address, member, None if chosen.operator else token_of(member), noted)
            for member in members
        ]
        async with session.get(f"{address}/openapi.json") as answer:
            paths = (await answer.json())["paths"]
        offered = {f"{method.upper()} {path}" for path, each in paths.items() for method in each}
        for scenario in scenarios():
            before, used = Counter({r: len(found) for r, found in noted.seconds.items()}), cpu_of(service)
            elapsed = await measure(scenario, callers, chosen.seconds)
            used = cpu_of(service) - used
            new = Counter({r: len(found) for r, found in noted.seconds.items()}) - before
            for route in new:
                taken[route] += elapsed
                cpu.setdefault(route, used / new.total())
        rows = [
            Row(route, found, len(found) / taken[route], cpu[route], noted.errors[route])
            for route, found in noted.seconds.items()
        ]
        rows.append(await call_webhook(session, address, service, chosen.webhooks))
    return rows, offered


def cpu_of(process: psutil.Process) -> float:
    """Return the CPU seconds that a process has used."""
    times = process.cpu_times()
    return times.user + times.system


def token_of(member: Member) -> str:
    """Return a user's token, as Supabase Auth signs it."""
    claims = {"role": "authenticated", "sub": member.user_id, "exp": int(time.time()) + 24 * 3600}
    return jwt.encode(claims, JWT_SECRET, "HS256")


async def call_webhook(
    session: aiohttp.ClientSession, address: str, service: psutil.Process, count: int
) -> Row:
    """Call the webhook for new videos, all at once."""
    from captionacc_dagster.settings import Settings

    settings = Settings()
    videos = await asyncio.to_thread(upload, settings, count, uploaded=True)
    seconds: list[float] = []
    errors: list[str] = []
    runs: set[str] = set()

    async def call(video_id: str, tenant_id: str) -> None:
        record = {"id": video_id, "tenant_id": tenant_id}
        sent = {"type": "INSERT", "table": "videos", "schema": "captionacc", "record": record}
        headers = {"authorization": f"Bearer {SECRET}"}
        began = time.perf_counter()
        path = f"{address}/webhooks/supabase/videos"
        async with session.post(path, json=sent, headers=headers) as answer:
            body = await answer.json()
        seconds.append(time.perf_counter() - began)
        if answer.status == 202 and body["run_id"]:
            runs.add(body["run_id"])
        else:
            errors.append(f"{answer.status} {body}")

    began, used = time.perf_counter(), cpu_of(service)
    await asyncio.gather(*(call(row.video_id, row.tenant_id) for row in videos))
    elapsed, used = time.perf_counter() - began, cpu_of(service) - used
    if len(runs) + len(errors) != count:
        errors.append(f"{len(runs)} different runs for {count} videos")
    return Row(f"{WEBHOOK}, {count} at once", seconds, count / elapsed, used / count, errors)


def serve(platform: MeasuredPlatform, port: int, login: bool) -> subprocess.Popen[bytes]:
    """Start the service in a process of its own, and wait until it answers."""
    environment = {
        **platform.environment,
        "CAPTIONACC_SERVE_REQUESTS_A_MINUTE": "100000000",
        "CAPTIONACC_WEBHOOK_REQUESTS_A_MINUTE": "100000000",
        "CAPTIONACC_WEBHOOK_SECRET": SECRET,
        **({"SUPABASE_JWT_SECRET": JWT_SECRET} if login else {}),
    }
    command = [Path(sys.executable).parent / "captionacc", "serve", "--port", str(port)]
    with (platform.home / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_for(f"http://127.0.0.1:{port}/livez", process)
    return process


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until a service answers. Raises ``RuntimeError`` if it does not."""
    import httpx

    deadline = time.monotonic() + _OPEN_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError("the service did not start")


def learn_code_location(platform: MeasuredPlatform) -> None:
    """Run Dagster's daemon until it has evaluated a sensor: runs need to know where their code is."""
    deadline = time.monotonic() + 180
    while not last_tick(platform.instance):
        if time.monotonic() > deadline:
            raise TimeoutError("Dagster's daemon has evaluated no sensor")
        platform.check()
        time.sleep(0.5)
    daemon = platform.processes.pop("dagster-daemon")
    daemon.terminate()
    daemon.wait(60)


def show(rows: Sequence[Row], offered: set[str], chosen: argparse.Namespace) -> None:
    """Print the table, the first error of each route, and the routes without figures."""
    callers = "operator" if chosen.operator else "users with row-level security"
    print(f"{chosen.videos} videos, {chosen.clients} clients ({callers}), {chosen.seconds:g} s a route; ms")
    print("| route | p50 | p95 | requests/s | CPU | errors |\n| --- | ---: | ---: | ---: | ---: | ---: |")
    found = [row for row in rows if not chosen.only or chosen.only in row.route]
    for row in found:
        print(row)
    for row in found:
        if row.errors:
            print(f"{row.route}: {row.errors[0]}")
    # A row's route may have a query, or a remark after a comma.
    measured = {re.split("[?,]", row.route)[0] for row in rows}
    print(f"without figures: {', '.join(sorted(offered - measured)) or 'none'}")


def main() -> None:
    """Fill a catalogue, serve it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each route, or group of routes")
    parser.add_argument("--webhooks", type=int, default=100, help="calls of the webhook at once")
    parser.add_argument("--operator", action="store_true", help="without a login")
    parser.add_argument("--only", default="", help="print routes that contain this")
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    print(f"{available_cores()} cores, load {load:.1f} before", flush=True)
    with measured_platform(MODULE) as platform:
        learn_code_location(platform)
        catalog, store = open_catalog(platform.settings), open_object_store(platform.settings)
        catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME)
        began = time.monotonic()
        members = fill(platform.server.ensure_running(), catalog, store, chosen.videos, chosen.clients)
        print(f"the catalogue was filled in {time.monotonic() - began:.0f} s", flush=True)
        port = free_port("127.0.0.1")
        process = serve(platform, port, login=not chosen.operator)
        try:
            address, service = f"http://127.0.0.1:{port}", psutil.Process(process.pid)
            rows, offered = asyncio.run(measure_all(address, members, service, chosen))
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()
        show(rows, offered, chosen)
        print(f"load {os.getloadavg()[0]:.1f} after")


if __name__ == "__main__":
    main()
