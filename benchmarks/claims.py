"""The time to claim 100 new videos, with 1,000 videos in the catalogue and with 100,000.

    python -m benchmarks.claims [--small 1000] [--large 100000] [--rounds 15]

The sensors claim every few seconds, so a claim must cost what is new, not what exists. Both catalogues
contain the same work, 100 unclaimed videos a round, among finished videos. Tenants have quotas, so that these
are checked too. Each round is undone, so that all rounds are equal. It starts the embedded PostgreSQL in a
temporary folder, and needs nothing but the package.
"""

import argparse
import json
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import psycopg

from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate

CLAIM = 100
_TENANTS = 20

_FILL = """
insert into captionacc.tenants (id, name, tier, video_count_limit, storage_quota_bytes, daily_upload_limit)
select md5('tenant' || n)::uuid, 'tenant ' || n, 'premium', 1000000, 1e15, 1000000
from generate_series(0, %(tenants)s - 1) n;
"""
_VIDEOS = """
insert into captionacc.videos (
    id, tenant_id, display_path, storage_key, size_bytes, uploaded_at, created_at, accepted_at,
    layout_status, layout_attempts, layout_requested_at
)
select md5('video' || n)::uuid, tenant, 'video ' || n, tenant || '/' || md5('video' || n), 1000000,
    now() - interval '1 day' + n * interval '1 ms', now() - interval '1 day' + n * interval '1 ms',
    case when n >= %(new)s then now() - interval '1 day' end,
    case when n >= %(new)s then 'annotate' else 'wait' end, (n >= %(new)s)::integer,
    case when n >= %(new)s then now() - interval '1 day' end
from (
    select n, md5('tenant' || n %% %(tenants)s)::uuid as tenant from generate_series(0, %(rows)s - 1) n
) numbered
"""
_COUNT = """
update captionacc.tenants t set accepted_video_count = v.count, accepted_bytes = v.bytes
from (select tenant_id, count(*) as count, sum(size_bytes) as bytes from captionacc.videos
      where accepted_at is not null group by tenant_id) v where v.tenant_id = t.id
"""


def fill(dsn: str, rows: int) -> None:
    """Insert ``rows`` videos of 20 tenants, 100 of them new."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        values = {"tenants": _TENANTS, "rows": rows, "new": CLAIM}
        connection.execute(_FILL, values)
        connection.execute(_VIDEOS, values)
        connection.execute(_COUNT)
        connection.execute("vacuum analyze")


def claim_times(dsn: str, rounds: int) -> tuple[list[float], dict]:
    """Return the seconds of each claim, and the plan of the selecting query in the last round."""
    seconds = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        for number in range(rounds + 2):
            with connection.transaction(force_rollback=True):
                started = time.perf_counter()
                got = connection.execute("select id from captionacc.claim_new_videos(%s)", [CLAIM]).fetchall()
                taken = time.perf_counter() - started
                assert len(got) == CLAIM
            if number >= 2:  # the first claims warm the caches
                seconds.append(taken)
        (plan,) = connection.execute(
            "explain (analyze, buffers, format json) select id from captionacc.videos"
            " where layout_status = 'wait' and layout_run_id is null and uploaded_at is not null"
            " and deleted_at is null and layout_requested_at is null"
            f" order by uploaded_at, id limit {CLAIM} for update skip locked"
        ).fetchone()
    return seconds, plan[0]


def scans(plan: dict) -> list[str]:
    """Return the scans of a plan, with the rows that each returned."""
    node = plan.get("Plan", plan)
    own = []
    if "Scan" in node["Node Type"]:
        name = node.get("Index Name", node.get("Relation Name", ""))
        own = [f"{node['Node Type']} {name}: {node['Actual Rows']:.0f} rows"]
    return own + [line for child in node.get("Plans", []) for line in scans(child)]


def measure(sizes: list[int], rounds: int) -> dict[int, tuple[list[float], dict]]:
    """Measure claim times and plans, by the number of videos in the catalogue."""
    home = Path(tempfile.mkdtemp(prefix="captionacc-claims-"))
    server = EmbeddedPostgres(home)
    try:
        dsns = {}
        for rows in sizes:
            dsns[rows] = server.ensure_running(f"claims_{rows}")
            migrate(dsns[rows])
            fill(dsns[rows], rows)
        return {rows: claim_times(dsn, rounds) for rows, dsn in dsns.items()}
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", type=int, default=1_000)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures there")
    options = parser.parse_args()
    results = measure([options.small, options.large], options.rounds)
    print(f"{'videos':>8}  {'claim of 100: median':>20}  {'best':>8}  {'picked by':<60}")
    figures = {}
    for rows, (seconds, plan) in results.items():
        median, best = statistics.median(seconds), min(seconds)
        figures[rows] = {"median_seconds": median, "best_seconds": best}
        print(
            f"{rows:>8}  {median * 1000:>17.1f} ms  {best * 1000:>5.1f} ms  {'; '.join(scans(plan))},"
            f" {plan['Execution Time']:.2f} ms"
        )
    ratio = figures[options.large]["median_seconds"] / figures[options.small]["median_seconds"]
    print(f"ratio {ratio:.2f} (allowed: 2)")
    if options.json:
        options.json.write_text(json.dumps(figures | {"ratio": ratio}, indent=2))


if __name__ == "__main__":
    main()
