"""A database made from ``supabase/schemas``, and copies of it for tests that change it."""

import itertools
from collections.abc import Callable

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from schema_migrations.dump import PUBLICATION
from schema_migrations.schema_files import apply_schema_files

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def schema_files_dsn(postgres_server: EmbeddedPostgres) -> str:
    """A database that has Supabase's publication and what the schema files describe; not to be changed."""
    dsn = postgres_server.ensure_running("schema_files")
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create publication {PUBLICATION}".encode())
        apply_schema_files(connection)
    return dsn


@pytest.fixture
def published_dsn(empty_dsn: str) -> str:
    """An empty database that has Supabase's publication."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(f"create publication {PUBLICATION}".encode())
    return empty_dsn


@pytest.fixture(scope="session")
def copied(postgres_server: EmbeddedPostgres, schema_files_dsn: str) -> Callable[[], str]:
    """Make a copy of that database and return its DSN; it stays until the server ends."""

    def copy() -> str:
        name = f"copied_{next(_numbers)}"
        with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as connection:
            query = sql.SQL("create database {} template schema_files")
            connection.execute(query.format(sql.Identifier(name)))
        return postgres_server.dsn(name)

    return copy
