"""The clip after each run of the graph, made once and restored for each test."""

import shutil
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from modal_gpu.storage import ObjectStore
from tests.clip_fixtures import Clip
from tests.full_catalog import connected
from tests.line_fixtures import CONFIDENCE, Line
from tests.run_results import failure


@dataclass(frozen=True)
class Snapshot:
    """A catalogue's rows and a bucket's folder at one moment."""

    video_id: str
    rows: dict[str, str]
    bucket: Path

    def restore(self, line: Line, dsn: str, bucket: Path) -> VideoRow:
        shutil.copytree(self.bucket, bucket, dirs_exist_ok=True)
        with psycopg.connect(dsn) as connection:
            connection.execute("set session_replication_role = replica")
            for table, rows in self.rows.items():
                connection.execute(f"delete from captionacc.{table}")
                connection.execute(
                    f"insert into captionacc.{table} "
                    f"select * from jsonb_populate_recordset(null::captionacc.{table}, %s::jsonb)",
                    [rows],
                )
        row = line.row(self.video_id)
        line.instance.add_dynamic_partitions("videos", [row.partition_key])
        return row


_TABLES = (
    "tenants",
    "videos",
    "video_database_state",
    "cropped_frames_versions",
    "caption_frame_extents_inference_runs",
)


def _snapshot(dsn: str, video_id: str, bucket: Path, to: Path) -> Snapshot:
    shutil.copytree(bucket, to)
    with psycopg.connect(dsn) as connection:
        rows = {
            table: connection.execute(
                f"select coalesce(jsonb_agg(to_jsonb(t)), '[]')::text from captionacc.{table} t"
            ).fetchone()[0]
            for table in _TABLES
        }
    return Snapshot(video_id, rows, to)


def take_snapshots(server: EmbeddedPostgres, video: Path, folder: Path) -> dict[str, Snapshot]:
    """Return a video after each of its two runs: ``laid_out`` and ``finished``."""
    dsn = server.ensure_running(f"line_{video.stem}")
    migrate(dsn)
    bucket, taken = folder / "bucket", {}
    with closing(connected(dsn)) as catalog, dg.DagsterInstance.ephemeral() as instance:
        catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME, auto_approve_layout_confidence=CONFIDENCE)
        line = Line(catalog, ObjectStore.from_url(bucket.as_uri()), instance)
        video_id = line.upload(video).video_id
        for name, job in (("laid_out", "layout"), ("finished", "captions")):
            result = line.run(job, video_id)
            assert result.success, failure(result)
            taken[name] = _snapshot(dsn, video_id, bucket, folder / name)
    return taken


@pytest.fixture(scope="session")
def snapshots(
    clip: Clip, postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Snapshot]:
    """The clip after each of its two runs, made once: ``laid_out`` and ``finished``."""
    return take_snapshots(postgres_server, clip.path, tmp_path_factory.mktemp("snapshots"))


@pytest.fixture
def laid_out(line: Line, snapshots: dict[str, Snapshot], postgres_dsn: str, tmp_path: Path) -> VideoRow:
    """The clip with its layout found and approved automatically, in ``line``."""
    return snapshots["laid_out"].restore(line, postgres_dsn, tmp_path / "bucket")


@pytest.fixture
def finished(line: Line, snapshots: dict[str, Snapshot], postgres_dsn: str, tmp_path: Path) -> VideoRow:
    """The clip with everything made, in ``line``."""
    return snapshots["finished"].restore(line, postgres_dsn, tmp_path / "bucket")
