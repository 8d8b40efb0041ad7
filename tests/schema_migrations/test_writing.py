"""Contract: ``make migration`` writes one file that brings the migrations to the schema files."""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from captionacc_dagster.resources.catalog.former_migrations import BASELINE
from captionacc_dagster.resources.catalog.migrations import load_migrations, migrate
from schema_migrations.schema_files import SUPABASE
from schema_migrations.writing import WrittenMigration, write_migration

LATE = datetime(2031, 2, 3, 4, 5, 59, tzinfo=UTC)


@pytest.fixture
def supabase(tmp_path: Path) -> Path:
    """A copy of the folder, to be changed."""
    return Path(shutil.copytree(SUPABASE, tmp_path / "supabase"))


@pytest.fixture
def write(postgres_server, supabase):
    """Writes a migration with the help of two databases, which are new each time."""
    made = []

    def call(name: str, now: datetime | None = None) -> WrittenMigration:
        made.append(name)
        dsns = [
            postgres_server.ensure_running(f"{part}_{len(made)}_{id(made)}") for part in ("behind", "wanted")
        ]
        return write_migration(name, behind_dsn=dsns[0], wanted_dsn=dsns[1], supabase=supabase, now=now)

    return call


def test_without_a_change_nothing_is_written(write, supabase):
    written = write("nothing")
    assert written == WrittenMigration(None, [], "")
    assert len(list((supabase / "migrations").iterdir())) == len(load_migrations())


def test_a_changed_function_and_a_new_column_are_the_next_migration(write, supabase, empty_dsn):
    function = next(supabase.glob("schemas/functions/*/release_lock.sql"))
    function.write_text(function.read_text().replace("begin\n", "begin\n    -- Only by its owner.\n", 1))
    table = supabase / "schemas" / "tables" / "backfills.sql"
    table.write_text(
        table.read_text() + "\nalter table captionacc.backfills add column reason text not null default '';\n"
    )
    written = write("give_reasons", LATE)
    assert written.complete
    assert written.path == supabase / "migrations" / "20310203040500_give_reasons.sql"
    text = written.path.read_text()
    assert (
        function.read_text().strip() in text and "add column reason text default ''::text not null;" in text
    )
    assert migrate(empty_dsn, schema="captionacc_production", directory=supabase / "migrations")[-1].endswith(
        "_captionacc_production_give_reasons.sql"
    )
    assert write("again") == WrittenMigration(None, [], "")


def test_the_version_follows_the_newest_file_even_when_the_clock_is_behind(write, supabase):
    newest = supabase / "migrations" / "20990101005900_later.sql"
    newest.write_text("select 1;\n")
    (supabase / "schemas" / "views.sql").open("a").write(
        "\ncomment on view captionacc.demo_videos is 'Else.';\n"
    )
    written = write("else", LATE)
    assert written.path is not None and written.path.name == "20990101010000_else.sql"


def test_the_first_migration_is_the_schema_files_in_their_order(write, supabase):
    shutil.rmtree(supabase / "migrations")
    written = write("baseline", LATE)
    assert written.complete and written.path is not None
    (shipped, *_) = load_migrations()
    if len(load_migrations()) == 1:
        assert written.path.read_text() == shipped.source
    assert re.findall(r"^-- schemas/(\S+)$", written.path.read_text(), re.MULTILINE)[:2] == [
        "platform.sql",
        "schema.sql",
    ]


def test_what_is_left_to_a_person_is_printed_with_the_difference(write, supabase):
    table = supabase / "schemas" / "tables" / "stage_outcomes.sql"
    table.write_text(table.read_text() + "\nalter table captionacc.stage_outcomes drop column seconds;\n")
    written = write("no_seconds")
    assert not written.complete
    assert written.by_hand == [
        "column seconds of captionacc.stage_outcomes is gone: its values would be lost"
    ]
    assert re.search(r"^-    seconds double precision", written.remaining, re.MULTILINE)


@pytest.mark.parametrize("name", ["", "Two Words", "../up", "1st"])
def test_a_name_that_is_no_file_name_is_refused(write, name):
    with pytest.raises(ValueError, match="is no name of a migration"):
        write(name)


def test_the_baseline_is_the_first_migration():
    assert load_migrations()[0].version == BASELINE
