"""Contract: the drafted statements bring one catalogue to another, or say what a person has to write."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from schema_migrations.catalogue_objects import read_catalogue
from schema_migrations.drafting import Draft, draft
from schema_migrations.dump import dumped

TABLE = """
create table captionacc.notes (
    id bigint generated always as identity primary key,
    video_id uuid not null references captionacc.videos (id) on delete cascade,
    body text not null default 'it''s empty' check (length(body) < 100),
    size integer generated always as (length(body)) stored,
    note_key text collate "C" unique
);
alter table captionacc.notes enable row level security;
create index notes_by_video on captionacc.notes (video_id) where body <> '';
create policy notes_read on captionacc.notes for select to anon, authenticated using (body <> '');
create policy notes_add on captionacc.notes as restrictive for insert to public with check (body <> 'no');
grant select on captionacc.notes to authenticated;
grant select (id, body), update (body) on captionacc.notes to anon;
comment on table captionacc.notes is 'Notes of people; it''s new.';
comment on column captionacc.notes.body is 'Text.';
comment on policy notes_read on captionacc.notes is 'All but empty ones.';
create function captionacc.note_of(p_id bigint default 1) returns setof captionacc.notes
language sql stable set search_path = captionacc, pg_temp as $$ select * from notes where id = p_id $$;
comment on function captionacc.note_of(bigint) is 'A note.';
revoke execute on function captionacc.note_of(bigint) from public;
create function captionacc.touch() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger notes_touch before update on captionacc.notes for each row execute function captionacc.touch();
create view captionacc.short_notes with (security_barrier) as select id from captionacc.notes where size < 9;
grant select on captionacc.short_notes to anon;
"""
#: One a change that is written in full: what happened to the schema, and what stands in the migration.
WRITTEN = {
    "a function's body": (
        "create or replace function captionacc._usd(p_amount numeric) returns text language sql immutable"
        " set search_path = captionacc, pg_temp as $$ select 'usd ' || p_amount $$",
        "select 'usd '",
    ),
    "a function's result": (
        "drop function captionacc.release_lock(uuid); create function captionacc.release_lock(p_token uuid)"
        " returns integer language sql as 'select 1';"
        " revoke execute on function captionacc.release_lock from public",
        "drop function captionacc.release_lock(uuid);",
    ),
    "a function less": ("drop function captionacc.cost_report", "drop function captionacc.cost_report("),
    "a function's overload": (
        "create function captionacc.release_lock(p_number integer) returns text"
        " language sql as 'select 1::text'",
        "p_number integer",
    ),
    "a policy": (
        "drop policy tenants_read on captionacc.tenants;"
        " create policy tenants_read on captionacc.tenants for all to authenticated using (false)",
        "create policy tenants_read on captionacc.tenants to authenticated",
    ),
    "a policy less": ("drop policy tenants_read on captionacc.tenants", "drop policy tenants_read"),
    "row-level security": ("alter table captionacc.tenants disable row level security", "disable row level"),
    "a view": (
        "drop view captionacc.demo_videos; create view captionacc.demo_videos as"
        " select id from captionacc.videos where is_demo; grant select on captionacc.demo_videos to anon",
        "drop view captionacc.demo_videos;",
    ),
    "a trigger": (
        "drop trigger videos_notify_inserted on captionacc.videos; create trigger videos_notify_inserted"
        " after insert on captionacc.videos for each row when (new.is_demo)"
        " execute function captionacc._notify_work()",
        "create trigger videos_notify_inserted",
    ),
    "a trigger less": ("drop trigger videos_notify_inserted on captionacc.videos", "drop trigger videos"),
    "an index": (
        "create index videos_by_size on captionacc.videos (size_bytes)",
        "create index videos_by_size",
    ),
    "another index of that name": (
        "drop index captionacc.videos_by_age; create index videos_by_age on captionacc.videos (created_at)",
        "drop index captionacc.videos_by_age;",
    ),
    "a constraint": (
        "alter table captionacc.videos drop constraint videos_size_bytes_check;"
        " alter table captionacc.videos add constraint videos_size_bytes_check check (size_bytes > 0)",
        "check ((size_bytes > 0))",
    ),
    "a constraint that calls a new function": (
        "create function captionacc.fits(p_size bigint) returns boolean language sql immutable as"
        " 'select p_size > 0'; alter table captionacc.videos add constraint videos_fit"
        " check (captionacc.fits(size_bytes))",
        "add constraint videos_fit",
    ),
    "columns": (
        "alter table captionacc.videos add column zones jsonb not null default '[]' check (zones <> '{}'),"
        " add column language text; grant select (zones) on captionacc.videos to anon;"
        " comment on column captionacc.videos.language is 'BCP 47.'",
        "alter table captionacc.videos add column zones jsonb default '[]'::jsonb not null;",
    ),
    "a default": (
        "alter table captionacc.videos alter column damage set default 'none',"
        " alter column layout_note drop default",
        "alter table captionacc.videos alter column layout_note drop default;",
    ),
    "nullability": (
        "alter table captionacc.videos alter column damage drop not null,"
        " alter column layout_found set not null",
        "alter column layout_found set not null;",
    ),
    "a table with all that belongs to it": (TABLE, "create table captionacc.notes ("),
    "rights on a table": (
        "revoke select on captionacc.tenants from authenticated;"
        " grant select (id, name) on captionacc.tenants to authenticated;"
        " grant truncate on captionacc.tenants to service_role",
        "grant select (id, name) on table captionacc.tenants to authenticated;",
    ),
    "rights on a function": (
        "grant execute on function captionacc.release_lock(uuid) to public;"
        " revoke execute on function captionacc.app_retry from authenticated",
        "grant execute on function captionacc.release_lock(uuid) to public;",
    ),
    "rights on the schema": (
        "revoke usage on schema captionacc from anon",
        "revoke usage on schema captionacc",
    ),
    "comments": (
        "comment on table captionacc.videos is null; comment on schema captionacc is 'Else.';"
        " comment on view captionacc.demo_videos is 'Else, it''s.'",
        "comment on table captionacc.videos is null;",
    ),
    "a table published": (
        "alter publication supabase_realtime add table captionacc.tenants",
        "alter publication supabase_realtime add table captionacc.tenants;",
    ),
    "a table not published": (
        "alter publication supabase_realtime drop table captionacc.videos",
        "alter publication supabase_realtime drop table captionacc.videos;",
    ),
}
#: What would lose or invent data, or what the tool does not know, and what it says then.
BY_HAND = {
    "a table less": (
        "drop table captionacc.stage_outcomes cascade",
        "table captionacc.stage_outcomes is gone",
    ),
    "a column less": (
        "alter table captionacc.videos drop column damage",
        "column damage of captionacc.videos is gone",
    ),
    "another type": (
        "alter table captionacc.tenants alter column accepted_video_count type bigint",
        "from integer to bigint",
    ),
    "a column that rows have no value for": (
        "alter table captionacc.videos add column owner text not null",
        "column owner of captionacc.videos is not null and has no default",
    ),
    "a view that something rests on": (
        "drop view captionacc.demo_videos; create view captionacc.demo_videos as select 1 as id",
        "drop view captionacc.demo_videos; … cannot be applied",
    ),
}


@dataclass(frozen=True)
class Pair:
    """Two databases of the schema files in transactions that are rolled back."""

    behind: psycopg.Connection
    wanted: psycopg.Connection

    def drafted(self, texts: dict[str, str] | None = None) -> Draft:
        return draft(self.behind, read_catalogue(self.wanted), texts or {})

    def is_equal(self) -> bool:
        return read_catalogue(self.behind) == read_catalogue(self.wanted)


@pytest.fixture(scope="module")
def connections(copied: Callable[[], str]) -> Iterator[Pair]:
    with psycopg.connect(copied()) as behind, psycopg.connect(copied()) as wanted:
        yield Pair(behind, wanted)


@pytest.fixture
def pair(connections: Pair) -> Iterator[Pair]:
    # Begins the transaction that is rolled back: those of the draft are inside it.
    connections.behind.execute("select")
    yield connections
    connections.behind.rollback()
    connections.wanted.rollback()


@pytest.mark.parametrize("change", WRITTEN)
def test_what_is_drafted_is_complete(pair, change):
    statements, expected = WRITTEN[change]
    pair.wanted.execute(statements)
    written = pair.drafted()
    assert written.by_hand == []
    assert pair.is_equal()
    assert expected.lower() in "\n".join(written.statements).lower()
    # Once more there is nothing to do.
    assert pair.drafted().statements == []


def test_all_changes_together_are_complete_to_the_dump(copied):
    together = [statements for change, (statements, _) in WRITTEN.items() if change != "a policy less"]
    behind, wanted = copied(), copied()
    with psycopg.connect(behind, autocommit=True) as old, psycopg.connect(wanted, autocommit=True) as new:
        for statements in together:
            new.execute(statements.replace("drop trigger videos", "drop trigger if exists videos"))
        assert draft(old, read_catalogue(new), {}).by_hand == []
    assert dumped(behind, "captionacc") == dumped(wanted, "captionacc")


def test_the_way_back_is_drafted_too_and_loses_no_data(pair):
    for change, (statements, _) in WRITTEN.items():
        if not change.endswith(" less"):
            pair.behind.execute(statements)
    assert sorted(pair.drafted().by_hand) == [
        "column language of captionacc.videos is gone: its values would be lost",
        "column zones of captionacc.videos is gone: its values would be lost",
        "table captionacc.notes is gone: its rows would be lost",
    ]
    pair.behind.execute("alter table captionacc.videos drop column language, drop column zones")
    pair.behind.execute("drop table captionacc.notes cascade")
    assert pair.drafted().statements == [] and pair.is_equal()


def test_equal_catalogues_need_no_statement(pair):
    written = pair.drafted()
    assert (written.statements, written.by_hand) == ([], [])


@pytest.mark.parametrize("change", BY_HAND)
def test_what_a_person_has_to_write_is_said_and_not_tried(pair, change):
    statements, expected = BY_HAND[change]
    pair.wanted.execute(statements)
    if change == "a view that something rests on":
        pair.behind.execute("create view public.own as select * from captionacc.demo_videos")
    written = pair.drafted()
    assert any(expected in line for line in written.by_hand), written.by_hand
    assert not pair.is_equal()


def test_a_function_is_written_as_its_file_has_it(pair):
    text = (
        "-- Rounds to cents.\n"
        "create or replace function captionacc._usd(p_amount numeric) returns text language sql immutable\n"
        "set search_path = captionacc, pg_temp\nas $$\n    select '$' || round(p_amount, 2) -- cents\n$$;\n"
        "comment on function captionacc._usd(numeric) is 'An amount.';"
    )
    pair.wanted.execute(text)
    assert pair.drafted({"_usd": text}).statements == [text]
    assert pair.is_equal()
