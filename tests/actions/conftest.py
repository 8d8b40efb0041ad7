"""The UI of the test's own platform."""

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from captionacc_dagster.resources.catalog import VideoRow
from captionacc_dagster.settings import get_settings
from tests.dagster_page import DagsterPage, dagster_page
from tests.line_fixtures import Line

#: Runs are executed by whoever launches them.
AT_ONCE = {
    "run_launcher": {
        "module": "dagster._core.launcher.sync_in_memory_run_launcher",
        "class": "SyncInMemoryRunLauncher",
    },
    "run_coordinator": {"module": "dagster._core.run_coordinator", "class": "DefaultRunCoordinator"},
}


@pytest.fixture(scope="session")
def dagster_side() -> Iterator[DagsterPage]:
    """Dagster's side of the tests, made once: an instance on disk, because the UI's side opens no other."""
    with dg.instance_for_test(overrides=AT_ONCE) as instance, dagster_page(instance) as page:
        yield page


@pytest.fixture
def line(line: Line, dagster_side: DagsterPage) -> Line:
    """A line with that instance."""
    line.instance = dagster_side.context.instance
    return line


@pytest.fixture
def ui(
    line: Line,
    dagster_side: DagsterPage,
    postgres_dsn: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[DagsterPage]:
    """Dagster's GraphQL, whose runs open the catalogue and the bucket of ``line`` from the settings."""
    for name, value in {
        "CAPTIONACC_HOME": str(tmp_path / "home"),
        "CAPTIONACC_DATABASE_URL": postgres_dsn,
        "CAPTIONACC_STORAGE_URL": (tmp_path / "bucket").as_uri(),
    }.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    yield dagster_side
    get_settings.cache_clear()


@pytest.fixture
def waiting(line: Line, laid_out: VideoRow, postgres_dsn: str) -> VideoRow:
    """The clip with its layout found, which waits for a person."""
    with psycopg.connect(postgres_dsn) as database:
        database.execute(
            "update captionacc.videos set layout_status = 'annotate', crop_region = null, "
            "layout_approved_at = null, layout_approved_by = null, crop_region_version = 0"
        )
    return line.row(laid_out.video_id)
