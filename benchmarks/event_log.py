"""Bytes of a video's rows in Dagster's event log, by what wrote them.

    CAPTIONACC_HOME=… python -m benchmarks.event_log [--budget 150000]

It reads a home that has processed videos; ``captionacc demo`` makes one. A row is the event as Dagster
stores it (JSON). Pictures are in the bucket, and are counted beside it. With ``--budget`` the exit code is 1
if a video's rows have more bytes.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

import dagster as dg
from rich.console import Console
from rich.table import Table

from captionacc_dagster.assets.restoration import ASSETS
from captionacc_dagster.partition_keys import name_of, video_id_of
from captionacc_dagster.partitions import VIDEO_PARTITIONS
from captionacc_dagster.platform.dagster_home import prepare_dagster_home
from captionacc_dagster.resources.opening import open_object_store
from captionacc_dagster.runs.tags import PARTITION
from captionacc_dagster.settings import get_settings
from modal_gpu.keys import VideoKeys

#: Bytes of a video's rows.
BUDGET = 150_000
CHECKS, OTHER = "checks", "steps and logs"


def rows_of(instance: dg.DagsterInstance, partition: str) -> Iterator[tuple[str, int]]:
    """Yield the origin and the bytes of each row of a video: an asset, checks, or the runs' other events."""
    runs = instance.get_runs(dg.RunsFilter(tags={PARTITION: partition}))
    for run in runs:
        cursor, more = None, True
        while more:
            page = instance.get_records_for_run(run.run_id, cursor=cursor)
            for record in page.records:
                yield _origin(record.event_log_entry), _size(record.event_log_entry)
            cursor, more = page.cursor, page.has_more
    known = {run.run_id for run in runs}
    for asset in ASSETS:
        filters = dg.AssetRecordsFilter(asset_key=dg.AssetKey(asset), asset_partitions=[partition])
        for record in instance.fetch_materializations(filters, limit=1000).records:
            if record.run_id not in known:
                yield asset, _size(record.event_log_entry)


def _origin(entry: dg.EventLogEntry) -> str:
    event = entry.dagster_event
    if event is not None and (event.is_step_materialization or event.is_asset_observation):
        return event.asset_key.to_user_string() if event.asset_key else OTHER
    if event is not None and event.event_type_value.startswith("ASSET_CHECK"):
        return CHECKS
    return OTHER


def _size(entry: dg.EventLogEntry) -> int:
    return len(entry.to_json().encode())  # type: ignore[no-untyped-call]


def main() -> None:
    """Print a table for each video, and the total."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=int, help=f"most bytes of a video, such as {BUDGET}")
    arguments = parser.parse_args()
    settings = get_settings()
    prepare_dagster_home(settings)
    store, console, largest = open_object_store(settings), Console(), 0
    with dg.DagsterInstance.get() as instance:
        for partition in sorted(instance.get_dynamic_partitions(VIDEO_PARTITIONS)):
            sizes: Counter[str] = Counter()
            rows: Counter[str] = Counter()
            for origin, size in rows_of(instance, partition):
                sizes[origin] += size
                rows[origin] += 1
            table = Table("origin", "rows", "bytes", "bytes a row", title=name_of(partition))
            for origin in (*ASSETS, CHECKS, OTHER):
                if rows[origin]:
                    each = f"{sizes[origin] / rows[origin]:,.0f}"
                    table.add_row(origin, str(rows[origin]), f"{sizes[origin]:,}", each)
            keys = VideoKeys(str(settings.tenant_id), video_id_of(partition))
            pictures = [info.size for info in store.list(keys.pictures_prefix)]
            table.add_row("total", str(rows.total()), f"{sizes.total():,}", "")
            table.add_row("pictures in the bucket", str(len(pictures)), f"{sum(pictures):,}", "")
            console.print(table)
            largest = max(largest, sizes.total())
    if arguments.budget is not None and largest > arguments.budget:
        console.print(f"A video's rows have {largest:,} bytes, more than {arguments.budget:,}.")
        sys.exit(1)


if __name__ == "__main__":
    main()
