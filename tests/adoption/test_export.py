"""What goes back to the predecessor is what it would have written."""

import gzip
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captionacc_dagster.adoption.adopting import Adoption
from captionacc_dagster.adoption.export import export_video, old_captions_db, old_layout_db, write_exported
from captionacc_dagster.adoption.old_captions import read_old_captions
from captionacc_dagster.adoption.old_layout import read_old_layout
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.databases.layout import read_layout
from modal_gpu.keys import VideoKeys
from tests.adoption import old_databases as old
from tests.adoption import old_videos
from tests.adoption.checks import lost_edits
from tests.adoption.old_world import OldWorld
from tests.line_fixtures import Line

TEXTS = st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
#: Columns that both have.
KEPT = (
    *("start_index", "end_index", "id", "state", "text", "text_pending", "text_status", "text_notes"),
    *("ocr_text", "ocr_status", "image_needs_regen"),
)


def columns(schema: str) -> dict[str, set[str]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(schema)
        tables = [
            name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")
        ]
        return {
            table: {row[1] for row in connection.execute(f"pragma table_info({table})")}
            for table in tables
            if not table.startswith("sqlite_")
        }


def schema_of(data: bytes, folder: Path) -> dict[str, set[str]]:
    path = folder / "back.db"
    path.write_bytes(gzip.decompress(data))
    with closing(sqlite3.connect(path)) as connection:
        statements = [
            sql for (sql,) in connection.execute("select sql from sqlite_master where sql is not null")
        ]
        statements = [sql for sql in statements if "sqlite_sequence" not in sql]
    return columns(";\n".join(statements) + ";")


def test_the_tables_are_the_documented_ones(adoption: Adoption, world: OldWorld, line: Line, tmp_path: Path):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    files = export_video(line.catalog.get_video(made.video_id), line.store).files
    captions, layout = (files[key] for key in sorted(files))
    assert schema_of(captions, tmp_path) == columns(old.CAPTIONS)
    assert schema_of(layout, tmp_path) == columns(old.LAYOUT)


@settings(max_examples=25)
@given(
    st.lists(
        st.builds(
            Caption,
            start_index=st.just(0),
            end_index=st.integers(1, 50),
            start_seconds=st.just(0.0),
            end_seconds=st.just(1.0),
            state=st.sampled_from(["predicted", "confirmed", "gap", "issue"]),
            pending=st.booleans(),
            text=TEXTS,
            text_status=st.sampled_from([None, "valid_caption", "ocr_error"]),
            text_notes=TEXTS,
            ocr_text=TEXTS,
            ocr_status=st.sampled_from(["queued", "completed", "error"]),
        ),
        max_size=8,
    )
)
def test_captions_come_back_as_they_went(captions: list[Caption]):
    placed = [
        replace(c, id=place + 1, start_index=60 * place, end_index=60 * place + c.end_index)
        for place, c in enumerate(captions)
    ]
    stored = read_captions(write_captions(placed))
    returned = read_old_captions(old_captions_db(stored)).captions
    assert len(returned) == len(stored)
    for before, after in zip(stored, returned, strict=True):
        wanted = before
        if before.ocr_status == "completed" and before.ocr_text is None:
            wanted = replace(before, ocr_status="queued")  # nothing was read
        assert {name: getattr(after, name) for name in KEPT} == {name: getattr(wanted, name) for name in KEPT}
        assert after.belongs_to_person == before.belongs_to_person


@pytest.mark.parametrize("make", [old_videos.labelled, old_videos.labelled_in_pixels, old_videos.approved])
def test_layouts_come_back_as_they_went(make, adoption: Adoption, world: OldWorld, line: Line):
    made = make(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    layout = read_layout(line.store.get(VideoKeys(made.folder.tenant_id, made.video_id).layout_db))
    returned = read_old_layout(old_layout_db(layout), convention="bottom-left")
    assert returned.crop_region == layout.crop_region
    assert returned.is_approved == layout.layout_approved
    assert [(b.frame_index, b.text.replace(" ", ""), b.label) for b in returned.file.boxes] == [
        (b.frame_index, b.text.replace(" ", ""), b.label) for b in layout.boxes
    ]
    for before, after in zip(layout.boxes, returned.file.boxes, strict=True):
        assert after.box.overlap(before.box) == pytest.approx(1)


def test_a_tenant_goes_back_and_comes_again(adoption: Adoption, world: OldWorld, line: Line, tmp_path: Path):
    tenant = world.tenant("Acme")
    made = [
        old_videos.captions_edited(world, tenant, "a.mp4"),
        old_videos.captions_reviewed(world, tenant, "b.mp4"),
    ]
    list(adoption.run(adoption.planner.plans()))
    rows = [line.catalog.get_video(one.video_id) for one in made]
    for row in rows:
        paths = write_exported(export_video(row, line.store), tmp_path / "back")
        assert len(paths) == 2
        # As an operator copies them.
        for path in paths:
            world.put(str(path.relative_to(tmp_path / "back")), path.read_bytes())
    results = list(adoption.run(adoption.planner.plans()))
    assert [result.state for result in results] == ["adopted", "adopted"]
    assert [loss for one in made for loss in lost_edits(one, line)] == []


def test_captions_of_further_zones_are_left_out(adoption: Adoption, world: OldWorld, line: Line):
    made = old_videos.captions_edited(world, world.tenant("Acme"), "a.mp4")
    list(adoption.run(adoption.planner.plans()))
    row = line.catalog.get_video(made.video_id)
    keys = VideoKeys(row.tenant_id, row.video_id)
    captions = read_captions(line.store.get(keys.captions_db))
    line.store.put(keys.captions_db, write_captions([*captions, replace(captions[0], id=99, zone=1)]))
    exported = export_video(row, line.store)
    assert exported.notes == ("1 captions of further zones are left out",)
    assert len(read_old_captions(exported.files[keys.captions_db]).captions) == len(captions)
