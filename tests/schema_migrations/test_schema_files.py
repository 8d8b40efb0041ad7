"""Contract: ``supabase/schemas`` is the schema as it is, and the migrations give the same catalogue."""

import re
import shutil
from pathlib import Path

import psycopg
import pytest

from captionacc_dagster.resources.catalog.migrations import load_migrations, migrate
from schema_migrations.dump import dumped
from schema_migrations.schema_files import (
    SUPABASE,
    SchemaFilesError,
    apply_schema_files,
    function_texts,
    schema_files,
)

FUNCTION = re.compile(r"^create (?:or replace )?function captionacc\.(\w+)", re.MULTILINE)


@pytest.fixture
def supabase(tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    for part in ("schemas", "migrations"):
        shutil.copytree(SUPABASE / part, tmp_path / "supabase" / part)
    return Path(shutil.copy(SUPABASE / "config.toml", tmp_path / "supabase")).parent


@pytest.mark.parametrize("schema", ["captionacc", "captionacc_production"])
def test_the_migrations_give_the_catalogue_of_the_schema_files(published_dsn, schema_files_dsn, schema):
    migrate(published_dsn, schema=schema)
    migrated, described = dumped(published_dsn, schema), dumped(schema_files_dsn, "captionacc")
    assert migrated == described
    # What the dump must see to be worth comparing.
    for part in (
        "CREATE FUNCTION captionacc.begin_stage",
        "GRANT SELECT",
        "CREATE POLICY",
        "-- published: videos",
    ):
        assert part in described


def test_the_schema_files_make_a_schema_of_any_name(published_dsn, schema_files_dsn):
    with psycopg.connect(published_dsn, autocommit=True) as connection:
        apply_schema_files(connection, "Caption-Acc")
    assert dumped(published_dsn, "Caption-Acc") == dumped(schema_files_dsn, "captionacc")


def test_the_dump_sees_a_difference_of_each_kind(copied, schema_files_dsn):
    described = dumped(schema_files_dsn, "captionacc")
    dsn = copied()
    with psycopg.connect(dsn, autocommit=True) as connection:
        for change in (
            "alter table captionacc.videos alter column damage set default 'none'",
            "alter publication supabase_realtime drop table captionacc.videos",
            "comment on table captionacc.videos is 'else'",
            "grant execute on function captionacc.begin_stage to anon",
            "insert into captionacc.access_tiers (id, base_priority) values ('other', 1)",
        ):
            before = dumped(dsn, "captionacc")
            connection.execute(change)
            assert dumped(dsn, "captionacc") not in (before, described), change


def test_a_function_has_a_file_of_its_own_with_its_name():
    for path in schema_files():
        names = FUNCTION.findall(path.read_text(encoding="utf-8"))
        if "functions" in path.parts:
            assert names == [path.stem], path
        else:
            assert names == [], path


def test_a_function_stands_once_in_the_baseline():
    (baseline, *_) = load_migrations()
    names = FUNCTION.findall(baseline.source)
    assert len(names) == len(set(names))
    assert {"begin_stage", "claim_new_videos"} <= set(names)
    assert set(function_texts()) >= {"begin_stage", "claim_new_videos"}


def test_a_file_outside_the_order_and_an_order_without_a_file_are_refused(supabase):
    (supabase / "schemas" / "forgotten.sql").write_text("select 1;")
    with pytest.raises(SchemaFilesError, match=r"does not name .*forgotten\.sql"):
        schema_files(supabase)
    (supabase / "schemas" / "forgotten.sql").unlink()
    (supabase / "schemas" / "views.sql").unlink()
    with pytest.raises(SchemaFilesError, match=r"nothing matches \./schemas/views\.sql"):
        schema_files(supabase)


def test_a_file_that_cannot_be_applied_is_named_and_nothing_of_the_schema_is_made(empty_dsn, supabase):
    (supabase / "schemas" / "views.sql").write_text("create view captionacc.broken as select nonsense;")
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        with pytest.raises(SchemaFilesError, match=r"schemas/views\.sql: .*nonsense"):
            apply_schema_files(connection, supabase=supabase)
        assert connection.execute("select to_regnamespace('captionacc')").fetchone() == (None,)
