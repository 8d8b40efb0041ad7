"""Contract: of a demo video strangers read what describes it, and nothing else by any way."""

import psycopg
import pytest
from psycopg import sql

from captionacc_dagster.resources.catalog.migrations import migrate
from tests.full_catalog import FullCatalog
from tests.resources.catalog.world import OTHER_TENANT, STRANGER, World

#: Users whose only right to the demo video is that everyone may view it.
STRANGERS = ("anon", "member", "owner", "pending")
#: Supabase's guide to own schemas does so.
GRANT_ALL = "grant all on all tables in schema captionacc to anon, authenticated"
COLUMNS = {
    "demo_videos": {
        *("id", "display_path", "size_bytes", "created_at", "updated_at", "duration_seconds", "width"),
        *("height", "frame_count", "layout_status", "crop_region", "crop_region_version"),
        *("boundaries_status", "current_cropped_frames_version", "caption_count", "text_status"),
        *("text_caption_count", "caption_zones"),
    },
    "demo_cropped_frames_versions": {
        *("video_id", "version", "crop_region", "crop_region_version", "frame_rate", "status"),
        *("chunk_count", "total_frames", "caption_zones"),
    },
}


@pytest.fixture
def catalog(postgres_catalog: FullCatalog) -> FullCatalog:
    return postgres_catalog


@pytest.fixture
def secrets(world: World) -> list[str]:
    """Everything about the demo video and its owner that no stranger may read."""
    world.database.execute(
        "update captionacc.videos set boundaries_last_run_id = 'its-run', layout_last_run_id = 'its-run',"
        " layout_note = 'its-note' where id = %s",
        [world.videos["D"].video_id],
    )
    return [OTHER_TENANT, STRANGER, world.videos["D"].storage_key, "its-run", "its-note"]


def relations(world: World) -> list[str]:
    query = (
        "select relname from pg_class where relnamespace = 'captionacc'::regnamespace"
        " and relkind in ('r', 'p', 'v', 'm', 'f')"
    )
    return [name for (name,) in world.database.execute(query)]


def read(world: World, asker: str, relation: str) -> list[dict]:
    """The rows that an asker may read, each with the columns that they may read."""
    with world.asking(asker) as connection:
        columns = connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
            " and not attisdropped and has_column_privilege(attrelid, attnum, 'select')",
            [f"captionacc.{relation}"],
        ).fetchall()
        if not columns:
            return []
        names = [name for (name,) in columns]
        query = sql.SQL("select {} from {}").format(
            sql.SQL(", ").join(map(sql.Identifier, names)), sql.Identifier("captionacc", relation)
        )
        return [dict(zip(names, map(str, row), strict=True)) for row in connection.execute(query)]


@pytest.mark.parametrize("asker", STRANGERS)
def test_strangers_read_the_columns_that_describe_it(world, asker):
    for view, columns in COLUMNS.items():
        (row,) = read(world, asker, view)
        assert set(row) == columns
        assert row["id" if view == "demo_videos" else "video_id"] == world.videos["D"].video_id


@pytest.mark.parametrize("granted", [False, True], ids=["as migrated", "everything granted"])
@pytest.mark.parametrize("asker", STRANGERS)
def test_no_table_or_view_shows_a_stranger_more(world, secrets, asker, granted):
    with world.database.transaction(force_rollback=True):
        if granted:
            world.database.execute(GRANT_ALL)
        rows = [(relation, str(read(world, asker, relation))) for relation in relations(world)]
        assert [(name, secret) for name, text in rows for secret in secrets if secret in text] == []
        # The searched values do exist.
        everything = str([read(world, "admin", relation) for relation in relations(world)])
        assert [secret for secret in secrets if secret not in everything] == []


def test_realtime_publishes_no_table_in_which_a_stranger_sees_a_demo_video(world, empty_dsn):
    """Realtime sends a row of a published table to whom its policies let read it."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("create publication supabase_realtime")
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as connection:
        published = connection.execute(
            "select schemaname, tablename from pg_publication_tables where pubname = 'supabase_realtime'"
        ).fetchall()
    assert published == [("captionacc", "videos")]
    for asker in STRANGERS:
        assert world.videos["D"].video_id not in [row["id"] for row in read(world, asker, "videos")]
    assert world.videos["M"].video_id in [row["id"] for row in read(world, "member", "videos")]


def test_a_former_or_deleted_demo_video_is_hidden(world):
    video_id = world.videos["D"].video_id
    world.catalog.set_demo(video_id, False)
    assert [read(world, "anon", view) for view in COLUMNS] == [[], []]
    world.catalog.set_demo(video_id, True)
    assert [len(read(world, "anon", view)) for view in COLUMNS] == [1, 1]
    world.catalog.soft_delete_video(video_id)
    assert [read(world, "anon", view) for view in COLUMNS] == [[], []]


@pytest.mark.parametrize(
    "change", ["delete from {}", "update {} set version = 2", "insert into {} default values"]
)
@pytest.mark.parametrize("view", list(COLUMNS))
def test_the_views_do_not_allow_writes_whatever_was_granted(world, view, change):
    change = change.replace("version", "caption_count" if view == "demo_videos" else "version")
    query = sql.SQL(change).format(sql.Identifier("captionacc", view))
    with world.database.transaction(force_rollback=True):
        world.database.execute(GRANT_ALL)
        for asker in STRANGERS:
            with (
                world.asking(asker) as connection,
                pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState),
                connection.transaction(),
            ):
                connection.execute(query)
