"""The predecessor's rows and files, read through both of its interfaces."""

import contextlib
from collections.abc import Iterator

import hypothesis
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionacc_dagster.adoption.errors import PredecessorError, ReadOnlyError, RefusedVideoError
from captionacc_dagster.adoption.old_extents import read_old_extents
from captionacc_dagster.adoption.predecessor import Predecessor, open_predecessor
from captionacc_dagster.adoption.read_only import PostgresTables, ReadOnlyStore, SupabaseTables, Tables
from captionacc_dagster.adoption.rows import OldTenant, OldVideo
from captionacc_dagster.settings import Settings
from modal_gpu.contracts import CropRegion
from modal_gpu.errors import ContractError, DatabaseFileError
from modal_gpu.frame_index import ChunkRef, chunks
from modal_gpu.storage import StorageSettings
from tests.adoption import old_captions, old_videos
from tests.adoption import old_databases as old
from tests.adoption.old_captions import RANGES
from tests.adoption.old_layouts import CROP
from tests.adoption.old_videos import TAILS, WHOLE
from tests.adoption.old_world import OldWorld
from tests.postgrest.server import PostgrestServer, make_key


@pytest.fixture(params=["postgres", "postgrest"])
def tables(request: pytest.FixtureRequest, world: OldWorld) -> Iterator[Tables]:
    """The same tables through PostgreSQL and through PostgREST."""
    if request.param == "postgres":
        opened: Tables = PostgresTables(world.reader_dsn, schema=world.schema)
        yield opened
        opened.close()
        return
    world.grant("service_role")
    with PostgrestServer(world.dsn, schemas=(world.schema,)).running() as server:
        opened = SupabaseTables(server.url, make_key("service_role"), schema=world.schema)
        yield opened
        assert {method for method, _ in server.requests} <= {"GET"}
        opened.close()


@pytest.fixture
def both(tables: Tables, world: OldWorld) -> Predecessor:
    return Predecessor(tables, ReadOnlyStore(StorageSettings(world.storage_url)))


def test_rows_have_defaults_for_what_is_unknown(both: Predecessor, world: OldWorld):
    tenant = world.tenant("Acme", tier="active")
    made = old_videos.layout_failed(world, tenant, "holiday.mov")
    (video,) = both.videos(tenant_id=tenant)
    assert (video.video_id, video.name) == (made.video_id, "holiday.mov")
    assert (video.width, video.height, video.duration_seconds, video.frame_count) == (None,) * 4
    assert video.statuses == {"layout": "error", "boundaries": "wait", "text": "wait"}
    assert video.errors == {"layout": "extract failed: CUDA out of memory"}
    assert both.tenants()[tenant].tier == "premium"


def test_locks_and_versions_are_by_video(both: Predecessor, world: OldWorld):
    tenant = world.tenant("Acme")
    edited = old_videos.being_edited(world, tenant, "a.mp4")
    world.insert("video_database_state", video_id=edited.video_id, database_name="layout", tenant_id=tenant)
    world.insert(
        "cropped_frames_versions",
        video_id=edited.video_id,
        tenant_id=tenant,
        version=2,
        storage_prefix="p/",
        crop_region={"left": 0.1, "top": 0.8, "right": 0.9, "bottom": 0.96},
        status="active",
    )
    ((lock,),) = both.locks(tenant).values()
    assert (lock.video_id, lock.database_name, lock.lock_type) == (edited.video_id, "captions", "client")
    ((version,),) = both.versions().values()
    assert (version.version, version.status, version.crop_region["top"]) == (2, "active", 0.8)


def test_a_table_that_does_not_exist_counts_as_empty_and_is_reported(both: Predecessor, world: OldWorld):
    with world.connection() as connection:
        connection.execute(f"drop table {world.schema}.cropped_frames_versions")
    assert both.versions() == {}
    assert "cropped_frames_versions" in both.notes[0]


def test_the_wrong_schema_is_one_sentence_that_names_the_setting(world: OldWorld):
    tables = PostgresTables(world.reader_dsn, schema="captionacc_prod")
    with contextlib.closing(tables), pytest.raises(PredecessorError, match="CAPTIONACC_ADOPT_SCHEMA"):
        Predecessor(tables, ReadOnlyStore(StorageSettings(world.storage_url))).videos()


def test_a_catalogue_of_this_platform_is_not_taken_for_the_predecessors(postgres_dsn, tenant, catalog, world):
    catalog.register_video(
        tenant.tenant_id,
        "7b1f7a3e-58c3-4b7a-8f6a-111111111111",
        f"{tenant.tenant_id}/client/videos/7b1f7a3e-58c3-4b7a-8f6a-111111111111/video.mp4",
        5,
        "a.mp4",
    )
    tables = PostgresTables(postgres_dsn, schema="captionacc")
    with contextlib.closing(tables), pytest.raises(PredecessorError, match="of this platform"):
        Predecessor(tables, ReadOnlyStore(StorageSettings(world.storage_url))).videos()


def test_the_older_schema_has_one_status_for_everything():
    row = {"id": "7b1f7a3e-58c3-4b7a-8f6a-111111111111", "tenant_id": "t", "video_path": "a.mp4"}
    ready = OldVideo.of(row | {"status": "active", "caption_status": "ready"})
    assert ready.statuses == {"layout": "annotate", "boundaries": "annotate", "text": "wait"}
    failed = OldVideo.of(row | {"status": "error", "error_message": "no space"})
    assert failed.errors == {"layout": "no space"}
    assert OldVideo.of(row | {"status": "uploading"}).is_uploading


def test_an_unknown_tier_is_free():
    assert OldTenant("t", "Acme", frozenset({"demo", "trial"})).tier == "free"
    assert OldTenant("t", "Acme").tier == "free"


# Nothing can be changed.


def test_the_role_the_session_and_the_code_refuse_to_write(predecessor: Predecessor, world: OldWorld):
    tenant = world.tenant("Acme")
    made = old_videos.waiting(world, tenant, "a.mp4")
    before = world.snapshot()
    with psycopg.connect(world.reader_dsn) as reader, pytest.raises(psycopg.errors.InsufficientPrivilege):
        reader.execute(f"delete from {world.schema}.videos")
    # Also with a role that could.
    owner = PostgresTables(world.dsn, schema=world.schema)
    with contextlib.closing(owner), pytest.raises(ReadOnlyError), owner.connection() as connection:
        connection.execute(f"delete from {world.schema}.videos")
    with pytest.raises(ReadOnlyError):
        owner.call("soft_delete_video", {"video_id": made.video_id})
    store, key = predecessor.store, f"{tenant}/client/videos/{made.video_id}/video.mp4"
    for write in (
        lambda: store.put(key, b""),
        lambda: store.upload(__file__, key),
        lambda: store.delete(key),
        lambda: store.delete_prefix(f"{tenant}/"),
        lambda: store.put_many([(key, b"", "video/mp4")]),
        lambda: store.presigned_put(key, 60),
        lambda: store.put_stream(key, None),
    ):
        with pytest.raises(ReadOnlyError):
            write()
    assert world.snapshot() == before


def test_a_folder_that_does_not_exist_is_not_made(tmp_path):
    folder = tmp_path / "nowhere"
    with pytest.raises(Exception, match="nowhere"):
        list(ReadOnlyStore(StorageSettings(folder.as_uri())).list("a/"))
    assert not folder.exists()


def test_the_settings_name_the_predecessor(world: OldWorld, monkeypatch):
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    opened = open_predecessor(Settings())
    assert opened.videos() == []
    opened.close()
    for name in world.environment:
        monkeypatch.delenv(name)
    with pytest.raises(PredecessorError, match="CAPTIONACC_ADOPT_DATABASE_URL"):
        open_predecessor(Settings())
    monkeypatch.setenv("CAPTIONACC_ADOPT_DATABASE_URL", world.reader_dsn)
    with pytest.raises(PredecessorError, match="CAPTIONACC_ADOPT_STORAGE_URL"):
        open_predecessor(Settings())


# Files.


def test_chunks_are_found_under_both_prefixes(predecessor: Predecessor, world: OldWorld):
    tenant = world.tenant("Acme")
    made = old_videos.captions_predicted(world, tenant, "a.mp4")
    (video,) = predecessor.videos()
    files = predecessor.files(video)
    assert set(files.chunks) == {1}
    assert set(files.chunks[1]) == set(chunks(WHOLE))
    assert (files.missing_chunks(1, WHOLE), files.foreign_chunks) == ([], {})
    # The intended key wins.
    made.folder.client(old_captions.chunk_name(ChunkRef(16, 0)), b"newer")
    again = predecessor.files(video)
    assert predecessor.chunk(again, 1, ChunkRef(16, 0)) == b"newer"
    assert predecessor.chunk(again, 2, ChunkRef(16, 0)) is None


def test_lost_tails_are_missing_chunks(predecessor: Predecessor, world: OldWorld):
    old_videos.tails_lost(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    files = predecessor.files(video)
    missing = files.missing_chunks(1, video.frame_count or 0)
    lost = sum(len(ref.members(TAILS)) for ref in missing)
    assert (video.frame_count, lost) == (TAILS, 24)


def test_chunks_of_overlapping_levels_are_none_of_ours(predecessor: Predecessor, world: OldWorld):
    old_videos.chunks_overlap(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    files = predecessor.files(video)
    assert files.foreign_chunks[1] > 0


def test_captions_have_half_open_ranges_and_keep_what_people_did(predecessor: Predecessor, world: OldWorld):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    read = predecessor.captions(video)
    assert read is not None
    found = {(c.start_index, c.end_index): c for c in read.captions if c.belongs_to_person}
    assert {(edit.start, edit.end) for edit in made.captions} == set(found)
    for edit in made.captions:
        caption = found[edit.start, edit.end]
        assert (caption.text, caption.state) == (edit.text, edit.state)
        assert (caption.text_status, caption.text_notes) == (edit.status, edit.notes)
    assert [(c.start_index, c.end_index) for c in read.captions if not c.belongs_to_person] == [(165, 180)]
    assert all(c.start_seconds < c.end_seconds for c in read.captions)


@pytest.mark.parametrize(
    ("columns", "status"),
    [
        ({"caption_ocr_status": "processing"}, "queued"),
        ({"caption_ocr_status": "completed", "caption_ocr": "A"}, "completed"),
        ({"caption_ocr_status": "completed"}, "queued"),
        ({"caption_ocr_status": "completed", "caption_ocr": "A", "image_needs_regen": 1}, "queued"),
        ({"caption_ocr_status": "error", "caption_ocr_error": "no credits"}, "error"),
        ({"caption_ocr_status": None}, "queued"),
    ],
)
def test_texts_that_were_not_read_to_the_end_are_read_again(columns, status):
    from captionacc_dagster.adoption.old_captions import read_old_captions

    data = old.database(old.CAPTIONS, captions=[old_captions.caption(0, 5, **columns)])
    (caption,) = read_old_captions(data).captions
    assert caption.ocr_status == status


def test_the_older_columns_of_texts_are_known(predecessor: Predecessor, world: OldWorld):
    old_videos.captions_reviewed(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    read = predecessor.captions(video)
    assert read is not None
    assert {c.ocr_status for c in read.captions if c.ocr_text} == {"completed"}
    assert {c.state for c in read.captions} == {"confirmed", "gap", "predicted", "issue"}


def test_a_persons_caption_without_frames_is_refused_and_a_predicted_one_dropped(
    world: OldWorld, predecessor
):
    from captionacc_dagster.adoption.old_captions import read_old_captions

    backwards = old.database(old.CAPTIONS, captions=[old_captions.caption(9, 5)])
    assert read_old_captions(backwards).captions == ()
    assert read_old_captions(backwards).notes
    with pytest.raises(RefusedVideoError, match="caption 1"):
        read_old_captions(old.database(old.CAPTIONS, captions=[old_captions.caption(9, 5, text="")]))


@pytest.mark.parametrize(
    "make",
    [
        old_videos.labelled,
        old_videos.labelled_in_pixels,
        old_videos.labels_in_their_own_table,
        old_videos.approved,
    ],
)
def test_labels_are_on_lines_where_their_characters_are(make, predecessor: Predecessor, world: OldWorld):
    made = make(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    layout = predecessor.layout(video)
    assert layout is not None
    boxes = layout.file.boxes
    assert {box.text for box in boxes} == {"HELLO WORLD", "12 04"}
    for edit in made.labels:
        assert any(
            box.frame_index == edit.frame
            and box.label == edit.label
            and box.box.left <= edit.x <= box.box.right
            and box.box.top <= edit.y <= box.box.bottom
            for box in boxes
        )


def test_a_crop_region_may_be_pixels_or_nonsense(predecessor: Predecessor, world: OldWorld):
    tenant = world.tenant("Acme")
    old_videos.approved_in_pixels(world, tenant, "a.mp4")
    old_videos.labelled_in_pixels(world, tenant, "b.mp4")
    first, second = predecessor.videos()
    layout = predecessor.layout(first)
    assert layout is not None
    assert (layout.crop_region, layout.is_approved) == (CropRegion(0.1, 0.8, 0.9, 0.95), True)
    broken = predecessor.layout(second)
    assert broken is not None
    assert (broken.crop_region, broken.is_approved) == (None, False)
    assert any("-312.5" in note for note in broken.notes)


def test_frames_without_rows_were_read_and_are_empty(predecessor: Predecessor, world: OldWorld):
    old_videos.labelled_in_pixels(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    ocr = predecessor.ocr(video)
    assert ocr is not None
    assert [(f.frame_index, f.status) for f in ocr.frames] == [
        *((index, "ok") for index in (0, 100, 200, 300)),
        (400, "empty"),
    ]
    caption = ocr.frames[0].lines[-1]
    assert caption.text == "HELLO WORLD"
    assert CROP.crop_top < caption.box.center_y < CROP.crop_bottom


def test_extents_are_plain_in_spite_of_their_name_and_complete(predecessor: Predecessor, world: OldWorld):
    made = old_videos.captions_missing(world, world.tenant("Acme"), "a.mp4")
    (video,) = predecessor.videos()
    extents = predecessor.extents(video)
    assert extents is not None
    assert (extents.frame_count, extents.is_mock, extents.run.model_version) == (
        WHOLE,
        False,
        "mrn0fkfd_a4b1a61c",
    )
    from modal_gpu.captions.decoded import DecodedExtents

    decoded = DecodedExtents.of(extents.packed(3))
    assert decoded.run.cropped_frames_version == 3
    # A caption of one frame is below what the decoder believes.
    assert {(e.start, e.end) for e in decoded.extents} >= {r for r in RANGES if r[1] - r[0] > 1}
    made.folder.server("caption_frame_extents.db.gz", old.extents(WHOLE, RANGES, without=(77,)))
    with pytest.raises(DatabaseFileError, match=r"no pair \(76, 77\)"):
        predecessor.extents(video)


def test_damaged_and_foreign_files_are_one_sentence():
    from captionacc_dagster.adoption.old_captions import read_old_captions
    from captionacc_dagster.adoption.old_layout import read_old_layout
    from captionacc_dagster.adoption.old_ocr import read_old_ocr

    for read, name in (
        (read_old_captions, "captions"),
        (read_old_layout, "layout"),
        (read_old_ocr, "raw-ocr"),
    ):
        for data in (b"", b"not a database", old.database(old.LAYOUT)[:100]):
            with pytest.raises(DatabaseFileError, match=name):
                read(data)
    with pytest.raises(DatabaseFileError, match="no such table"):
        read_old_captions(old.database(old.LAYOUT))


@hypothesis.settings(max_examples=40)
@given(st.data())
def test_a_damaged_byte_is_one_sentence_or_another_value(data):
    from captionacc_dagster.adoption.old_captions import read_old_captions
    from captionacc_dagster.adoption.old_layout import read_old_layout

    rows, _ = old_captions.edited(**old_captions.READ)
    files = (
        (read_old_captions, old.database(old.CAPTIONS, gzipped=False, captions=rows)),
        (read_old_layout, old.database(old.LAYOUT, gzipped=False, layout_config=[{"id": 1}])),
        (read_old_extents, old.extents(3, ((1, 2),))),
    )
    read, content = data.draw(st.sampled_from(files))
    place = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:place] + bytes([data.draw(st.integers(0, 255))]) + content[place + 1 :]
    with contextlib.suppress(DatabaseFileError, RefusedVideoError, ContractError):
        read(damaged)
