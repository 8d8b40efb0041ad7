"""A predecessor of 200 videos in all states, adopted by a process that is killed in the middle."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.assets.restoration import ASSETS
from captionacc_dagster.constants import LOCAL_TENANT_ID
from modal_gpu.storage import ObjectStore
from tests.adoption import old_videos
from tests.adoption.checks import lost_edits, statuses
from tests.adoption.old_world import OldWorld
from tests.full_catalog import FullCatalog
from tests.line_fixtures import Line

VIDEOS = 200
#: After so many videos the process is killed: in the middle of a batch whose events are not reported yet.
KILLED_AFTER = 90


class Command:
    """`captionacc adopt --apply --json` as a process of its own, on the test's catalogue and folders."""

    def __init__(self, folder: Path, dsn: str, world: OldWorld) -> None:
        self.home, self.bucket = folder / "home", folder / "bucket"
        named = {key: value for key, value in os.environ.items() if not key.startswith("CAPTIONACC_")}
        self.environment = named | {
            "CAPTIONACC_HOME": str(self.home),
            "CAPTIONACC_DATABASE_URL": dsn,
            "CAPTIONACC_STORAGE_URL": self.bucket.as_uri(),
            **world.environment,
        }
        self.environment.pop("DAGSTER_HOME", None)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "captionacc_dagster", "adopt", "--apply", "--json"]
        return subprocess.Popen(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self) -> dict:
        process = self.start()
        output, errors = process.communicate(timeout=900)
        assert process.returncode == 0, errors.decode()
        return json.loads(output)


def adopted(database: psycopg.Connection) -> int:
    return database.execute("select count(*) from captionacc.adoptions").fetchone()[0]


@pytest.mark.slow
def test_200_videos_lose_no_edit_though_the_process_is_killed(
    tmp_path: Path, postgres_dsn: str, catalog: FullCatalog, database: psycopg.Connection, world: OldWorld
):
    tenants = [world.tenant(f"Tenant {number}") for number in range(3)]
    made = old_videos.make_all(world, tenants, VIDEOS)
    before = world.snapshot()
    command = Command(tmp_path, postgres_dsn, world)
    command.home.mkdir()

    process = command.start()
    deadline = time.monotonic() + 900
    while adopted(database) < KILLED_AFTER and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    killed_at = adopted(database)
    expected = Counter(one.verdict for one in made)
    there = [one for one in made if one.verdict != "refused"]
    assert KILLED_AFTER <= killed_at < len(there)

    report = command.run()
    assert report["verdicts"] == expected
    assert report["states"] == {
        "unchanged": killed_at,
        "adopted": len(there) - killed_at,
        "refused": expected["refused"],
    }
    assert report["edits"] == sum(one.edits for one in there)
    with dg.DagsterInstance.from_config(str(command.home / "dagster")) as instance:
        line = Line(catalog, ObjectStore.from_url(command.bucket.as_uri()), instance)
        assert [loss for one in there for loss in lost_edits(one, line)] == []
        end = _end(line)
        again = command.run()
        assert again["states"] == {"unchanged": len(there), "refused": expected["refused"]}
        assert _end(line) == end
        assert [loss for one in there for loss in lost_edits(one, line)] == []
        complete = [one for one in there if one.kind == "captions_edited"]
        assert complete
        for one in complete:
            assert statuses(line, one, *ASSETS) == dict.fromkeys(ASSETS, "FRESH")
    assert world.snapshot() == before


def _end(line: Line) -> tuple:
    """All that an adoption leaves: rows, objects, and one event for each asset that a video has."""
    rows = [(row.video_id, row.updated_at) for row in line.catalog.list_videos(1000)]
    objects = sorted((info.key, info.etag) for info in line.store.list())
    events = {}
    for name in ASSETS:
        records = line.instance.fetch_materializations(dg.AssetKey(name), limit=5000).records
        partitions = Counter(record.partition_key for record in records)
        assert set(partitions.values()) <= {1}, name
        events[name] = sorted(partitions)
    assert LOCAL_TENANT_ID not in {row.tenant_id for row in line.catalog.list_videos(1000)}
    return sorted(rows), objects, events
