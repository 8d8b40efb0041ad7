"""The page on disaster recovery: its commands restore a catalogue from a dump, with the bucket as it is."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.resources.catalog.embedded_files import binaries
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.sensors.restorations import restorations
from schema_migrations.catalogue_objects import read_catalogue
from tests.docs_site.recipes import HOW_TO, commands
from tests.full_catalog import connected
from tests.line_fixtures import Line

(PAGE,) = [page.read_text() for page in HOW_TO if page.stem == "disaster-recovery"]


@pytest.fixture
def second_server() -> Iterator[EmbeddedPostgres]:
    """A server that has never seen the catalogue."""
    home = Path(tempfile.mkdtemp(prefix="captionacc-test-"))
    server = EmbeddedPostgres(home, settings={"fsync": "off"})
    yield server
    server.stop()
    shutil.rmtree(home, ignore_errors=True)


def command_of(tool: str) -> str:
    """Return the page's command for databases with an address, not the one for the embedded server."""
    (found,) = [line for line in commands(PAGE) if line.startswith(f"{tool} ")]
    assert "$CAPTIONACC_DATABASE_URL" in found
    return found


class Shell:
    """The page's commands in a folder, against one database and the bucket."""

    def __init__(self, folder: Path, dsn: str) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        programs = f"{binaries()}:{Path(sys.executable).parent}"
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(folder),
            "CAPTIONACC_HOME": str(folder / "home"),
            "CAPTIONACC_DATABASE_URL": dsn,
            "CAPTIONACC_STORAGE_URL": (folder.parent / "bucket").as_uri(),
        }

    def __call__(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", command], cwd=self.folder, env=self.environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout


@pytest.mark.slow
def test_a_catalogue_comes_back_from_its_dump(
    line: Line, finished: VideoRow, postgres_dsn: str, second_server: EmbeddedPostgres, tmp_path: Path
):
    before = Shell(tmp_path / "before", postgres_dsn)
    before(command_of("pg_dump"))
    row = line.row(finished.video_id)
    # After the dump a person corrects a caption: the bucket has it, the dump does not.
    first, *_ = json.loads(before(f"captionacc captions show {row.video_id} --json"))
    before(f"captionacc captions set {row.video_id} {first['id']} --text 'Corrected after the dump.'")

    dsn = second_server.ensure_running("restored")
    after = Shell(tmp_path / "after", dsn)
    shutil.copy(before.folder / "captionacc.dump", after.folder)
    assert "applied" in after("captionacc migrate")
    after(command_of("pg_restore"))
    assert "up to date" in after("captionacc migrate")

    captions = json.loads(after(f"captionacc captions show {row.video_id} --json"))
    assert captions[0]["text"] == "Corrected after the dump." and len(captions) > 1
    after(f"captionacc captions set {row.video_id} {first['id']} --text 'Corrected again.'")
    assert "Corrected again." in after(f"captionacc export {row.video_id} --format srt")
    with closing(connected(dsn)) as catalog, dg.DagsterInstance.ephemeral() as instance:
        restored = catalog.get_video(row.video_id)
        assert restored.layout_approved_by == row.layout_approved_by is not None
        assert restored.text.status == row.text.status == "annotate"
        # Dagster's storage is empty: the sensor finds partition and materializations to add.
        result = Line(catalog, line.store, instance).tick(restorations, "")
        added = [key for request in result.dynamic_partitions_requests for key in request.partition_keys]
        assert added == [row.partition_key]
    with psycopg.connect(dsn) as new, psycopg.connect(postgres_dsn) as old:
        assert read_catalogue(new) == read_catalogue(old)
