"""Contract: migrations are ordered, applied once and atomically, and recorded as the CLI does."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from captionacc_dagster.resources.catalog import CatalogError, CatalogUnavailableError
from captionacc_dagster.resources.catalog.former_migrations import (
    BASELINE,
    FORMER,
    former_versions,
    repeatable_statements,
)
from captionacc_dagster.resources.catalog.migrations import (
    DatabaseTooNewError,
    FormerDatabaseError,
    MigrationChangedError,
    MigrationError,
    load_migrations,
    migrate,
    migrations_directory,
)
from captionacc_dagster.resources.catalog.users import ACTIONS, READS
from schema_migrations.dump import dumped
from tests.full_catalog import FullCatalog, connected

REPOSITORY = Path(__file__).resolve().parents[3]
SHIPPED = [migration.file_name for migration in load_migrations()]


@pytest.fixture
def catalog(postgres_catalog: FullCatalog) -> FullCatalog:
    """A catalogue on PostgreSQL only: these tests concern the connection."""
    return postgres_catalog


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped files, to be changed."""
    return Path(shutil.copytree(migrations_directory(), tmp_path / "migrations"))


#: What later releases may bring.
LATER = [
    ("29990101000000_future.sql", "create table captionacc.future ();"),
    ("29990102000000_future_name.sql", "alter table captionacc.future add column name text;"),
    (
        "29990103000000_future_view.sql",
        "create view captionacc.futures as select name from captionacc.future;",
    ),
]


def query(dsn: str, text: str) -> list[tuple]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text).fetchall()


def test_an_empty_database_gets_all_files_in_order_and_a_second_time_none(empty_dsn):
    assert migrate(empty_dsn) == SHIPPED
    assert migrate(empty_dsn) == []


def test_the_record_is_the_supabase_clis(empty_dsn):
    migrate(empty_dsn)
    rows = query(
        empty_dsn,
        "select version, name, statements from supabase_migrations.schema_migrations order by version",
    )
    assert [f"{version}_{name}.sql" for version, name, _ in rows] == SHIPPED
    assert [statements for _, _, statements in rows] == [[migration.text] for migration in load_migrations()]


@pytest.mark.parametrize("steps", range(len(LATER)))
def test_a_database_of_an_earlier_release_gets_the_rest(empty_dsn, folder, steps):
    for name, text in LATER[:steps]:
        (folder / name).write_text(text)
    names = [name for name, _ in LATER]
    assert migrate(empty_dsn, directory=folder) == SHIPPED + names[:steps]
    for name, text in LATER[steps:]:
        (folder / name).write_text(text)
    assert migrate(empty_dsn, directory=folder) == names[steps:]


def test_a_database_that_the_supabase_cli_migrated_is_up_to_date(empty_dsn):
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("drop table supabase_migrations.captionacc_checksums")
    assert migrate(empty_dsn) == []
    assert len(query(empty_dsn, "select from supabase_migrations.captionacc_checksums")) == len(SHIPPED)


def test_a_changed_file_is_reported_by_name_but_not_other_line_endings(empty_dsn, folder):
    migrate(empty_dsn, directory=folder)
    file = folder / SHIPPED[0]
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(empty_dsn, directory=folder) == []
    file.write_text(file.read_text() + "\n-- another thought\n")
    with pytest.raises(MigrationChangedError, match=SHIPPED[0]):
        migrate(empty_dsn, directory=folder)


def test_a_database_newer_than_the_code_is_refused(empty_dsn, folder):
    name, text = LATER[0]
    (folder / name).write_text(text)
    migrate(empty_dsn, directory=folder)
    with pytest.raises(DatabaseTooNewError, match="29990101000000"):
        migrate(empty_dsn)


def test_a_failing_file_leaves_nothing_and_reports_where(empty_dsn, folder):
    broken = folder / "29990101000000_broken.sql"
    broken.write_text("create table captionacc.half ();\n\nselect nonsense;\n")
    with pytest.raises(MigrationError, match=r"29990101000000_broken\.sql, line 3.*nonsense.*nothing of it"):
        migrate(empty_dsn, directory=folder)
    assert query(empty_dsn, "select to_regclass('captionacc.half')") == [(None,)]
    broken.write_text("create table captionacc.half ();")
    assert migrate(empty_dsn, directory=folder) == [broken.name]


@pytest.mark.parametrize("name", ["no_number.sql", f"{BASELINE}_again.sql"])
def test_files_with_unusable_names_are_refused(folder, name):
    (folder / name).write_text("select 1")
    with pytest.raises(MigrationError):
        load_migrations(folder)


def test_two_processes_at_once_apply_each_file_once(empty_dsn):
    module = "captionacc_dagster.resources.catalog.migrations"
    code = f"import sys; from {module} import migrate; print(*migrate(sys.argv[1]))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, empty_dsn], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    applied = [process.communicate(timeout=60)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(applied, key=len) == [[], SHIPPED]


def test_every_table_denies_by_default_and_functions_are_not_public(postgres_dsn):
    tables = query(
        postgres_dsn,
        "select relname, relrowsecurity from pg_class"
        " where relnamespace = 'captionacc'::regnamespace and relkind = 'r'",
    )
    assert len(tables) == 21
    assert all(protected for _, protected in tables)
    reading = {"current_tenant_id", "is_tenant_owner", "is_platform_admin"}
    # The HTTP API reads and acts for users through these, and two checks that read nothing.
    actions = {action.function for action in ACTIONS.values()} | READS | {"app_acknowledge_rejection"}
    actions |= {"clean_name", "_check_text", "_check_claim"}
    for role, expected in (("anon", reading), ("authenticated", reading | actions)):
        functions = query(
            postgres_dsn, "select proname from pg_proc where pronamespace = 'captionacc'::regnamespace"
            f" and has_function_privilege('{role}', oid, 'execute')",
        )  # fmt: skip
        assert {name for (name,) in functions} == expected


def test_the_service_role_may_do_everything_that_the_platform_does(postgres_dsn, catalog, videos, database):
    video_id = videos.uploaded().video_id
    database.execute("set role service_role")
    assert database.execute("select id::text from captionacc.claim_new_videos()").fetchall() == [(video_id,)]
    database.execute("set role authenticated")
    assert database.execute("select * from captionacc.videos").fetchall() == []
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        database.execute("select captionacc.claim_new_videos()")


def test_every_table_is_commented(postgres_dsn):
    bare = query(
        postgres_dsn,
        "select relname from pg_class c where relnamespace = 'captionacc'::regnamespace and relkind = 'r'"
        " and obj_description(c.oid) is null",
    )
    assert bare == []


def test_every_function_pins_its_search_path(postgres_dsn):
    loose = query(
        postgres_dsn,
        "select proname from pg_proc where pronamespace = 'captionacc'::regnamespace"
        " and not coalesce(array_to_string(proconfig, ' '), '') like '%search_path=%'",
    )
    assert loose == []


class TestConnecting:
    def test_the_error_for_a_database_without_the_catalogue_says_what_to_do(self, empty_dsn):
        catalog = connected(empty_dsn)
        with pytest.raises(CatalogError, match="captionacc migrate"):
            catalog.list_videos()
        catalog.close()

    def test_a_server_that_is_not_there_is_a_retryable_error_without_the_password(self):
        catalog = connected("postgresql://ann:S3cret!pw@127.0.0.1:9/captionacc")
        with pytest.raises(CatalogUnavailableError) as refused:
            catalog.list_videos()
        assert refused.value.retryable
        assert "refused" in str(refused.value)
        for text in (str(refused.value), repr(refused.value), repr(catalog)):
            assert "S3cret" not in text
        assert refused.value.__cause__ is None
        assert refused.value.__suppress_context__

    @pytest.mark.parametrize(
        "dsn",
        ["postgresql://ann:S3c@ret@localhost/x", "postgresql://ann:S3c%ret@localhost/x", "host=a S3cret"],
    )
    def test_an_unusable_url_is_explained_without_the_password(self, dsn):
        with pytest.raises(CatalogError) as refused:
            connected(dsn)
        assert "S3c" not in str(refused.value)
        assert "ret@" not in str(refused.value)
        assert refused.value.__suppress_context__

    def test_a_lost_connection_is_replaced(self, catalog, tenant, database):
        assert catalog.get_tenant(tenant.tenant_id) == tenant
        database.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        assert catalog.get_tenant(tenant.tenant_id) == tenant

    def test_a_statement_that_takes_too_long_is_stopped(self, postgres_dsn, videos, database):
        catalog = connected(postgres_dsn, statement_timeout_seconds=0.2)
        video_id = videos.uploaded().video_id
        with database.transaction():
            database.execute("select from captionacc.videos where id = %s for update", [video_id])
            with pytest.raises(CatalogUnavailableError):
                catalog.begin_stage(video_id, "layout", "run")
        assert catalog.begin_stage(video_id, "layout", "run").layout.run_id == "run"
        catalog.close()

    def test_importing_the_catalogue_loads_neither_dagster_nor_models(self):
        code = (
            "import sys, captionacc_dagster.resources.catalog.postgres,"
            " captionacc_dagster.resources.catalog.embedded_postgres,"
            " captionacc_dagster.resources.catalog.migrations;"
            "print([name for name in ('dagster', 'torch', 'onnxruntime', 'modal') if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=REPOSITORY,
            env=os.environ,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "[]"


class TestFormerDatabases:
    """Databases of the migrations before the baseline, such as embedded homes of the last version."""

    TENANT = "22222222-2222-4222-8222-222222222222"

    def make_former(self, dsn: str, schema: str, versions: set[str]) -> None:
        """Make a database as the former migrations left it: their records, and some older texts."""
        with tempfile.TemporaryDirectory() as folder:
            shutil.copy(migrations_directory() / SHIPPED[0], folder)
            migrate(dsn, schema=schema, directory=Path(folder))
        with psycopg.connect(dsn) as connection:
            for table in ("schema_migrations", "captionacc_checksums"):
                connection.execute(f"delete from supabase_migrations.{table}")
            for version in sorted(versions):
                connection.execute(
                    "insert into supabase_migrations.schema_migrations (version, name) values (%s, 'old')",
                    [version],
                )
                connection.execute(
                    "insert into supabase_migrations.captionacc_checksums (version, sha256, schema_name)"
                    " values (%s, '', %s)",
                    [version, schema],
                )
            connection.execute(
                f"create or replace function {schema}._usd(p_amount numeric) returns text"
                f" language sql immutable set search_path = {schema}, pg_temp as $$ select 'older' $$"
            )
            connection.execute(f"comment on table {schema}.videos is 'an older comment'")
            connection.execute(f"select {schema}.ensure_tenant(%s, 'kept')", [self.TENANT])

    @pytest.mark.parametrize("schema", ["captionacc", "captionacc_production"])
    def test_one_of_the_last_version_becomes_one_of_the_baseline_and_keeps_its_rows(
        self, published_dsn, schema_files_dsn, schema
    ):
        self.make_former(published_dsn, schema, former_versions(schema))
        later = [migration.file_name for migration in load_migrations(schema=schema)][1:]
        assert migrate(published_dsn, schema=schema) == later
        assert dumped(published_dsn, schema) == dumped(schema_files_dsn, "captionacc")
        assert query(published_dsn, f"select name from {schema}.tenants") == [("kept",)]
        versions = [(migration.version,) for migration in load_migrations(schema=schema)]
        for table in ("schema_migrations", "captionacc_checksums"):
            assert query(published_dsn, f"select version from supabase_migrations.{table}") == versions
        assert migrate(published_dsn, schema=schema) == []

    def test_one_older_than_the_last_version_is_refused_with_what_to_do(self, empty_dsn):
        self.make_former(empty_dsn, "captionacc", set(FORMER[:-1]))
        before = dumped(empty_dsn, "captionacc")
        with pytest.raises(FormerDatabaseError, match=r"20 of the 21 .*CAPTIONACC_HOME"):
            migrate(empty_dsn)
        assert dumped(empty_dsn, "captionacc") == before

    def test_one_that_cannot_be_brought_to_the_baseline_stays_as_it_is(self, empty_dsn):
        self.make_former(empty_dsn, "captionacc", set(FORMER))
        with psycopg.connect(empty_dsn) as connection:
            connection.execute("drop view captionacc.demo_videos")
        before = dumped(empty_dsn, "captionacc")
        with pytest.raises(FormerDatabaseError, match=r"demo_videos.*nothing of it was changed"):
            migrate(empty_dsn)
        assert dumped(empty_dsn, "captionacc") == before

    def test_another_schema_beside_a_former_one_is_migrated_as_usual(self, empty_dsn):
        self.make_former(empty_dsn, "captionacc", set(FORMER))
        assert len(migrate(empty_dsn, schema="captionacc_production")) == len(SHIPPED)
        assert migrate(empty_dsn) == SHIPPED[1:]

    def test_statements_that_may_be_repeated_end_where_they_end(self):
        text = """-- a file; it's the first
create table captionacc.t (a text default ';');
-- lead
create or replace function captionacc.f() returns text language sql as $$ select ';' -- it's; so
$$;
comment on function captionacc.f() is 'it''s; this';
create index i on captionacc.t (a);
"""
        assert [statement.replace("\n", " ") for statement in repeatable_statements(text)] == [
            "create or replace function captionacc.f() returns text language sql"
            " as $$ select ';' -- it's; so $$;",
            "comment on function captionacc.f() is 'it''s; this';",
        ]
