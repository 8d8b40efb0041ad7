"""Contract: ``supabase db push`` and ``captionacc migrate`` make one catalogue and keep one record."""

import shutil
from pathlib import Path

import psycopg
import pytest

from captionacc_dagster.resources.catalog.former_migrations import BASELINE, former_versions
from captionacc_dagster.resources.catalog.migrations import (
    load_migrations,
    migrate,
    migrations_directory,
    write_migrations,
)
from schema_migrations.dump import dumped

pytestmark = pytest.mark.system("supabase-cli")

SCHEMAS = ["captionacc", "captionacc_production"]
#: A table of the web app's own, between the catalogue's files and after them all.
OWN = {
    "20261122090000_own_table.sql": "create table public.mine (id integer);",
    "29990101000000_own_later.sql": "alter table public.mine add column name text;",
}


def names(schema: str) -> list[str]:
    return [migration.file_name for migration in load_migrations(schema=schema)]


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a later release: one more."""
    folder = Path(shutil.copytree(migrations_directory(), tmp_path / "later"))
    (folder / "29980101000000_later.sql").write_text("create table captionacc.later (id integer);\n")
    return folder


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_the_cli_pushed_is_what_the_schema_files_describe_and_is_not_migrated_again(
    project, published_dsn, schema_files_dsn, schema
):
    write_migrations(project.migrations, schema)
    assert project.push() == names(schema)
    assert dumped(published_dsn, schema) == dumped(schema_files_dsn, "captionacc")
    assert migrate(published_dsn, schema=schema) == []
    assert project.push() == []


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_was_migrated_is_not_pushed_again(project, empty_dsn, schema):
    migrate(empty_dsn, schema=schema)
    write_migrations(project.migrations, schema)
    assert project.push() == []
    versions = [migration.version for migration in load_migrations(schema=schema)]
    assert project.listed() == [(version, version) for version in versions]


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("cli_first", [True, False], ids=["cli first", "migrate first"])
def test_each_tool_continues_where_the_other_stopped(project, empty_dsn, later, schema, cli_first):
    added = [migration.file_name for migration in load_migrations(later, schema)][len(names(schema)) :]
    if cli_first:
        write_migrations(project.migrations, schema)
        assert project.push() == names(schema)
        assert migrate(empty_dsn, schema=schema, directory=later) == added
        write_migrations(project.migrations, schema, directory=later)
    else:
        assert migrate(empty_dsn, schema=schema) == names(schema)
        write_migrations(project.migrations, schema, directory=later)
        assert project.push() == added
    assert migrate(empty_dsn, schema=schema, directory=later) == []
    assert project.push() == []


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_former_database_is_pushed_to_after_it_was_migrated(project, empty_dsn, schema, tmp_path):
    baseline = tmp_path / "baseline"
    baseline.mkdir()
    shutil.copy(next(migrations_directory().glob(f"{BASELINE}_*")), baseline)
    migrate(empty_dsn, schema=schema, directory=baseline)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(
            "truncate supabase_migrations.schema_migrations, supabase_migrations.captionacc_checksums"
        )
        connection.cursor().executemany(
            "insert into supabase_migrations.schema_migrations (version, name) values (%s, 'old')",
            [(version,) for version in former_versions(schema)],
        )
    assert migrate(empty_dsn, schema=schema) == names(schema)[1:]
    write_migrations(project.migrations, schema)
    assert project.push() == []


def test_a_web_apps_own_migrations_and_several_schemas_share_one_record(project, empty_dsn):
    for name, text in OWN.items():
        (project.migrations / name).write_text(text)
    assert project.push() == list(OWN)
    for schema in SCHEMAS:
        write_migrations(project.migrations, schema)
    assert migrate(empty_dsn, schema=SCHEMAS[0]) == names(SCHEMAS[0])
    assert project.push("--include-all") == names(SCHEMAS[1])
    assert [migrate(empty_dsn, schema=schema) for schema in SCHEMAS] == [[], []]
    assert project.push() == []
    assert len(project.listed()) == len(OWN) + sum(len(names(schema)) for schema in SCHEMAS)
