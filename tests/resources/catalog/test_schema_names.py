"""Contract: the catalogue lives in a schema of any name, and several live in one database."""

import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.constants import LOCAL_TENANT_ID
from captionacc_dagster.resources import opening
from captionacc_dagster.resources.catalog import CatalogError
from captionacc_dagster.resources.catalog.migrations import (
    DatabaseTooNewError,
    MigrationError,
    load_migrations,
    migrate,
    migrations_directory,
    write_migrations,
)
from captionacc_dagster.resources.catalog.schema_names import rendered, work_channel
from captionacc_dagster.resources.catalog.supabase import SupabaseTransport
from captionacc_dagster.settings import Settings
from captionacc_dagster.web.listeners import PostgresListener
from schema_migrations.dump import dumped
from tests.full_catalog import FullCatalog, connected
from tests.postgrest.server import PostgrestServer, make_key
from tests.resources.catalog.conftest import Videos

#: The web app's name, a reserved word, letters and a sign that need quotes, and the longest name.
NAMES = ["captionacc_production", "order", "Caption-Acc", "s" * 63]
PRODUCTION = NAMES[0]
TRANSPORTS = ["postgres", "supabase"]


@contextmanager
def opened(transport: str, dsn: str, schema: str) -> Iterator[FullCatalog]:
    """A catalogue over a transport, as the platform opens it."""
    if transport == "postgres":
        catalog = connected(dsn, schema=schema)
        yield catalog
        catalog.close()
        return
    with PostgrestServer(dsn, schemas=(schema,)).running() as server:
        transport = SupabaseTransport(
            server.url, make_key("service_role"), schema=schema, retry_pause_seconds=0.01
        )
        catalog = FullCatalog(transport)
        yield catalog
        catalog.close()


@pytest.mark.parametrize("schema", NAMES)
def test_a_schema_of_any_name_is_the_same_to_the_last_grant(published_dsn, schema_files_dsn, schema):
    assert len(migrate(published_dsn, schema=schema)) == len(load_migrations())
    assert dumped(published_dsn, schema) == dumped(schema_files_dsn, "captionacc")
    with psycopg.connect(published_dsn) as connection:
        # Nothing went to where the files say.
        assert connection.execute("select to_regnamespace('captionacc')").fetchone() == (None,)
    assert migrate(published_dsn, schema=schema) == []


def test_only_the_schema_has_the_schemas_name():
    """A new file that names the schema in yet another way would go to the wrong one."""
    left = []
    for migration in load_migrations():
        code = re.sub(r"--.*", "", rendered(migration.source, "elsewhere"))
        left += [
            f"{migration.file_name}: {line.strip()}"
            for line in code.splitlines()
            if re.search(r"(?<![\w`])captionacc\b(?!_)", line)
        ]
    assert left == []


def test_versions_leave_room_for_those_of_other_schemas():
    """The last two digits of a shipped version are 00; another schema's migrations have others there."""
    assert all(re.fullmatch(r"\d{12}00", migration.version) for migration in load_migrations())
    schemas = ["captionacc", *NAMES, "captionacc_staging"]
    versions = [migration.version for schema in schemas for migration in load_migrations(schema=schema)]
    assert len(set(versions)) == len(versions)
    # The Supabase CLI sorts its files by name and its records by version: they must agree.
    names = [migration.file_name for schema in schemas for migration in load_migrations(schema=schema)]
    assert [name.split("_")[0] for name in sorted(names)] == sorted(versions)


@pytest.mark.parametrize(
    ("schema", "transport"),
    [*((name, "postgres") for name in NAMES), *((name, "supabase") for name in NAMES[:3])],
)
def test_a_video_goes_the_whole_way_in_a_schema_of_any_name(empty_dsn, make_outcome, schema, transport):
    migrate(empty_dsn, schema=schema)
    with opened(transport, empty_dsn, schema) as catalog:
        tenant = catalog.ensure_tenant(LOCAL_TENANT_ID, "a tenant")
        videos = Videos(catalog, tenant, make_outcome)
        waiting = videos.uploaded()
        assert [video.video_id for video in catalog.claim_new_videos()] == [waiting.video_id]
        video_id = videos.read().video_id
        lock = catalog.take_lock(video_id, "captions", "ann", 60)
        assert catalog.release_lock(lock)
        catalog.request_caption_ocr(video_id)
        assert [request.video_id for request in catalog.claim_caption_ocr_requests()] == [video_id]
        stopped = catalog.cancel_stage(videos.cropping().video_id, "boundaries", "ann").video_id
        assert catalog.retry_stage(stopped, "boundaries").boundaries.status == "wait"
        assert len(catalog.list_videos()) == 3
        catalog.soft_delete_video(waiting.video_id)


def test_the_embedded_platform_has_its_catalogue_in_the_schema_of_the_setting(
    empty_dsn, monkeypatch, tmp_path
):
    monkeypatch.setattr(opening, "database_dsn", lambda settings: empty_dsn)
    settings = Settings(
        CAPTIONACC_SCHEMA=PRODUCTION,
        CAPTIONACC_HOME=tmp_path,
        CAPTIONACC_DATABASE_URL=None,
        SUPABASE_URL=None,
    )
    catalog = opening.open_catalog(settings)
    assert catalog.get_tenant(LOCAL_TENANT_ID).tenant_id == LOCAL_TENANT_ID
    catalog.close()
    assert migrate(empty_dsn, schema=PRODUCTION) == []
    assert len(migrate(empty_dsn)) == len(load_migrations())


def test_two_schemas_of_one_database_are_independent(empty_dsn):
    schemas = [PRODUCTION, "captionacc", "captionacc_staging"]
    for number, schema in enumerate(schemas):
        assert [migrate(empty_dsn, schema=name) for name in schemas[:number]] == [[]] * number
        assert len(migrate(empty_dsn, schema=schema)) == len(load_migrations())
    for schema in schemas:
        assert migrate(empty_dsn, schema=schema) == []
    with opened("postgres", empty_dsn, PRODUCTION) as one, opened("postgres", empty_dsn, schemas[2]) as other:
        one.ensure_tenant(LOCAL_TENANT_ID, "a tenant")
        with pytest.raises(CatalogError):
            other.get_tenant(LOCAL_TENANT_ID)


def test_a_listener_hears_its_own_schema_only(empty_dsn, make_outcome):
    schema = "s" * 63
    migrate(empty_dsn, schema=schema)
    migrate(empty_dsn)
    heard: list[str] = []
    stop, hinted = threading.Event(), threading.Event()

    def on_work(stage: str, video_id: str) -> None:
        heard.append(video_id)
        hinted.set()

    listener = PostgresListener(empty_dsn, on_work, schema=schema)
    thread = threading.Thread(target=listener.run, args=[stop])
    thread.start()
    try:
        assert listener.listening.wait(15)
        ids = []
        # The other schema's first: it would arrive first.
        for name in ("captionacc", schema):
            with opened("postgres", empty_dsn, name) as catalog:
                tenant = catalog.ensure_tenant(LOCAL_TENANT_ID, "a tenant")
                ids.append(Videos(catalog, tenant, make_outcome).uploaded().video_id)
        assert hinted.wait(15)
        assert heard == ids[1:]
    finally:
        stop.set()
        thread.join(15)
    assert len(work_channel(schema).encode()) <= 63


class TestRecords:
    """``supabase_migrations.schema_migrations`` is shared: with the Supabase CLI, schemas, and web apps."""

    def test_what_the_supabase_cli_pushed_into_a_schema_is_not_applied_again(self, empty_dsn, tmp_path):
        migrate(empty_dsn, schema=PRODUCTION)
        with psycopg.connect(empty_dsn) as connection:
            connection.execute("drop table supabase_migrations.captionacc_checksums")
        assert migrate(empty_dsn, schema=PRODUCTION) == []
        assert len(migrate(empty_dsn)) == len(load_migrations())

    def test_a_web_apps_own_migrations_are_ignored(self, empty_dsn):
        migrate(empty_dsn)
        with psycopg.connect(empty_dsn) as connection:
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name)"
                " values ('20200101000000', 'old'), ('29990101000000', 'app'), ('not_a_number', 'odd')"
            )
        assert migrate(empty_dsn) == []
        assert len(migrate(empty_dsn, schema=PRODUCTION)) == len(load_migrations())

    def test_a_schema_newer_than_the_code_is_refused_whoever_migrated_it(self, empty_dsn):
        migrate(empty_dsn, schema=PRODUCTION)
        last = load_migrations(schema=PRODUCTION)[-1]
        with psycopg.connect(empty_dsn) as connection:
            connection.execute(
                "insert into supabase_migrations.schema_migrations (version, name) values (%s, 'future')",
                [f"29990101{last.version[8:]}"],
            )
        with pytest.raises(DatabaseTooNewError, match="29990101"):
            migrate(empty_dsn, schema=PRODUCTION)
        assert len(migrate(empty_dsn)) == len(load_migrations())

    def test_records_without_schemas_are_those_of_the_first_schema(self, empty_dsn):
        migrate(empty_dsn)
        with psycopg.connect(empty_dsn) as connection:
            connection.execute("alter table supabase_migrations.captionacc_checksums drop column schema_name")
        assert migrate(empty_dsn) == []
        assert len(migrate(empty_dsn, schema=PRODUCTION)) == len(load_migrations())

    def test_written_files_are_those_that_are_applied_and_others_stay(self, tmp_path):
        folder, shipped = tmp_path / "supabase" / "migrations", tmp_path / "shipped"
        shutil.copytree(migrations_directory(), shipped)
        (shipped / "29990101000000_future.sql").write_text("create table captionacc.future ();")
        written = write_migrations(folder, PRODUCTION, directory=shipped)
        migrations = load_migrations(shipped, PRODUCTION)
        assert [path.name for path in written] == [migration.file_name for migration in migrations]
        assert [m.text for m in load_migrations(folder)] == [migration.text for migration in migrations]
        assert len(write_migrations(folder)) == len(load_migrations())
        written[-1].unlink()
        assert write_migrations(folder, PRODUCTION, directory=shipped) == written[-1:]
        written[0].write_text("select 1")
        written[1].unlink()
        with pytest.raises(MigrationError, match=f"{written[0].name} has other contents"):
            write_migrations(folder, PRODUCTION, directory=shipped)
        assert not written[1].exists()


@pytest.mark.parametrize(
    "name",
    [
        *("", "1st", "two words", 'quo"te', "semi;colon", "s" * 64, "schéma", "-dash"),
        *("public", "auth", "storage", "pg_catalog", "PG_mine", "information_schema", "Realtime"),
    ],
)
def test_an_unusable_schema_name_is_refused_with_the_setting(name):
    with pytest.raises(ValueError, match="CAPTIONACC_SCHEMA"):
        Settings(CAPTIONACC_SCHEMA=name)
    with pytest.raises(MigrationError):
        load_migrations(schema=name)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("there", [False, True], ids=["no schema", "empty schema"])
def test_the_error_for_an_unmigrated_schema_says_what_to_do(empty_dsn, transport, there):
    migrate(empty_dsn)
    if there:
        query = sql.SQL("create schema {0}; grant usage on schema {0} to service_role")
        with psycopg.connect(empty_dsn) as connection:
            connection.execute(query.format(sql.Identifier(PRODUCTION)))
    with opened(transport, empty_dsn, PRODUCTION) as catalog:
        for call in (catalog.list_videos, catalog.claim_new_videos, catalog.list_locks):
            with pytest.raises(CatalogError) as refused:
                call()
            said = str(refused.value)
            assert (
                f"run `captionacc migrate` with CAPTIONACC_SCHEMA={PRODUCTION}" in said and "\n" not in said
            )
            if transport == "postgres":
                assert "set CAPTIONACC_SCHEMA to one that was migrated: captionacc" in said
