"""A real PostgreSQL for tests: one embedded server a session, a migrated database without rows a test."""

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.constants import LOCAL_TENANT_ID, LOCAL_TENANT_NAME
from captionacc_dagster.resources.catalog import TenantRow
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import migrate
from tests.full_catalog import FullCatalog, connected

MIGRATED = "migrated"
# Emptying takes a few milliseconds, making a database up to a second on a busy disk.
_EMPTY = """
do $$
declare
    name text;
begin
    set local session_replication_role = replica;
    for name in
        select tablename from pg_tables where schemaname = 'captionacc' and tablename <> 'access_tiers'
    loop
        execute format('delete from captionacc.%I', name);
    end loop;
end
$$
"""
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """The session's server, without the fsync that only a power cut would miss."""
    # Not under pytest's own folder, which revokes all permissions granted on it.
    home = Path(tempfile.mkdtemp(prefix="captionacc-test-"))
    server = EmbeddedPostgres(home, settings={"fsync": "off", "max_connections": "100"})
    try:
        migrate(server.ensure_running(MIGRATED))
        yield server
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def empty_dsn(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database with nothing in it, this test's own."""
    name = f"test_{next(_numbers)}"
    quoted = sql.Identifier(name)
    with psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template template0").format(quoted))
        yield postgres_server.dsn(name)
        connection.execute(sql.SQL("drop database {} with (force)").format(quoted))


@pytest.fixture
def postgres_dsn(postgres_server: EmbeddedPostgres) -> str:
    """A migrated database without rows."""
    dsn = postgres_server.dsn(MIGRATED)
    with psycopg.connect(dsn) as connection:
        connection.execute(_EMPTY)
    return dsn


@pytest.fixture
def database(postgres_dsn: str) -> Iterator[psycopg.Connection]:
    """Behind the catalogue's back: to look at rows, and to move their times."""
    with psycopg.connect(postgres_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def catalog(postgres_dsn: str) -> Iterator[FullCatalog]:
    """A catalogue without tenants and videos."""
    catalog = connected(postgres_dsn, max_connections=16)
    yield catalog
    catalog.close()


@pytest.fixture
def tenant(catalog: FullCatalog) -> TenantRow:
    """The embedded platform's tenant, whose layouts a person approves."""
    return catalog.ensure_tenant(LOCAL_TENANT_ID, LOCAL_TENANT_NAME)
