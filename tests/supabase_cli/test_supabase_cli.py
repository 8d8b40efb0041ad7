"""Contract: ``supabase db push`` and ``captionacc migrate`` make one catalogue and keep one record."""

import pytest

from captionacc_dagster.resources.catalog.migrations import (
    load_migrations,
    migrate,
    pending_migrations,
    write_migrations,
)
from tests.resources.catalog.schema_dump import dumped
from tests.supabase_cli.conftest import Project

pytestmark = pytest.mark.system("supabase-cli")

SCHEMAS = ["captionacc", "captionacc_production"]
#: A table of the web app's own, between the catalogue's files and after them all.
OWN = {
    "20261122090000_own_table.sql": "create table public.mine (id integer);",
    "29990101000000_own_later.sql": "alter table public.mine add column name text;",
}


def names(schema: str) -> list[str]:
    return [migration.file_name for migration in load_migrations(schema=schema)]


def half_written(project: Project, schema: str) -> int:
    """The first half of the files in the project's folder, as an earlier release had them."""
    write_migrations(project.migrations, schema)
    half = len(names(schema)) // 2
    for name in names(schema)[half:]:
        (project.migrations / name).unlink()
    return half


@pytest.mark.parametrize("schema", SCHEMAS)
def test_what_the_cli_pushed_is_the_same_catalogue_and_is_not_migrated_again(
    project, empty_dsn, postgres_dsn, schema
):
    write_migrations(project.migrations, schema)
    assert project.push() == names(schema)
    assert dumped(empty_dsn, schema) == dumped(postgres_dsn, "captionacc")
    assert pending_migrations(empty_dsn, schema=schema) == []
    assert migrate(empty_dsn, schema=schema) == []
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
def test_either_goes_on_where_the_other_stopped(
    project, empty_dsn, postgres_dsn, tmp_path, schema, cli_first
):
    half = half_written(project, schema)
    if cli_first:
        assert project.push() == names(schema)[:half]
        assert migrate(empty_dsn, schema=schema) == names(schema)[half:]
    else:
        earlier = tmp_path / "earlier"
        write_migrations(earlier)
        for name in names("captionacc")[half:]:
            (earlier / name).unlink()
        assert migrate(empty_dsn, schema=schema, directory=earlier) == names(schema)[:half]
        write_migrations(project.migrations, schema)
        assert project.push() == names(schema)[half:]
    assert dumped(empty_dsn, schema) == dumped(postgres_dsn, "captionacc")


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
