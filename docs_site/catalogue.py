"""A catalogue on an embedded PostgreSQL with all migrations, for as long as the site is built."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate


@cache
def migrated_dsn() -> str:
    """Return the address of the catalogue, which ends with this process."""
    home = Path(tempfile.mkdtemp(prefix="captionacc-docs-"))
    server = EmbeddedPostgres(home, settings={"fsync": "off"})

    def remove() -> None:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)

    atexit.register(remove)
    dsn = server.ensure_running("docs")
    migrate(dsn)
    return dsn


def rows(query: str) -> list[dict[str, Any]]:
    """Return the rows of a query on the catalogue."""
    with psycopg.connect(migrated_dsn(), row_factory=dict_row) as connection:
        return connection.execute(query.encode()).fetchall()
