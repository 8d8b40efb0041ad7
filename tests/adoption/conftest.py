"""A synthetic predecessor for each test, and it opened as `captionacc adopt` opens it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from captionacc_dagster.adoption.adopting import Adoption
from captionacc_dagster.adoption.apply import Adopter
from captionacc_dagster.adoption.plan import Planner
from captionacc_dagster.adoption.predecessor import Predecessor
from captionacc_dagster.adoption.read_only import PostgresTables, ReadOnlyStore
from captionacc_dagster.costs.ledger import cost_policy
from captionacc_dagster.resources.compute import FanOut
from captionacc_dagster.settings import Settings
from modal_gpu.storage import StorageSettings
from tests.adoption.old_world import OldWorld
from tests.line_fixtures import Line


@pytest.fixture
def world(empty_dsn: str, tmp_path: Path) -> Iterator[OldWorld]:
    """A predecessor without videos."""
    world = OldWorld(empty_dsn, tmp_path / "old-bucket")
    yield world
    world.close()


@pytest.fixture
def predecessor(world: OldWorld) -> Iterator[Predecessor]:
    """The predecessor, through a role that has only SELECT."""
    tables = PostgresTables(world.reader_dsn, schema=world.schema)
    opened = Predecessor(tables, ReadOnlyStore(StorageSettings(world.storage_url)))
    yield opened
    opened.close()


@pytest.fixture
def planner(predecessor: Predecessor) -> Planner:
    settings = Settings()
    return Planner(predecessor, cost_policy(settings), FanOut())


@pytest.fixture
def adoption(planner: Planner, line: Line) -> Adoption:
    """The adoption into the test's own catalogue, bucket and Dagster instance."""
    adopter = Adopter(planner.old, line.catalog, line.store, "fold")
    return Adoption(planner, adopter, line.instance)
