"""captions.db: the inclusive end, ids, and OCR results that leave people's text alone."""

import pytest

from modal_gpu.databases.captions import (
    SCHEMA,
    SCHEMA_VERSION,
    ZONES_VERSION,
    Caption,
    OcrOutcome,
    mark_ocr,
    read_captions,
    store_ocr,
    waiting_for_ocr,
    write_captions,
)
from modal_gpu.databases.sqlite_file import read_database
from modal_gpu.errors import DatabaseFileError


def make_caption(start, end, **changes):
    return Caption(start, end, start / 10, end / 10, **changes)


def test_the_file_stores_the_last_frame_and_code_sees_half_open_ranges():
    data = write_captions([make_caption(3, 4), make_caption(4, 9)])
    with read_database(data, SCHEMA_VERSION) as connection:
        rows = connection.execute("SELECT start_frame_index, end_frame_index FROM captions").fetchall()
    assert [tuple(row) for row in rows] == [(3, 3), (4, 8)]
    assert [(c.start_index, c.end_index) for c in read_captions(data)] == [(3, 4), (4, 9)]


def test_every_field_survives_the_file():
    full = make_caption(
        5, 9, id=7, state="issue", pending=False, updated_at="u", confidence=0.5, text="a\nb",
        text_pending=False,
        text_status="valid_caption", text_notes="n", text_updated_at="t", ocr_text="o", ocr_confidence=0.25,
        ocr_status="error", ocr_error="e", ocr_processed_at="p", image_needs_regen=True, created_at="c",
    )  # fmt: skip
    assert read_captions(write_captions([full])) == [full]


def test_required_columns_have_defaults_so_that_a_sync_layer_can_adopt_the_table():
    with read_database(write_captions([]), SCHEMA_VERSION) as connection:
        columns = connection.execute("PRAGMA table_info(captions)").fetchall()
    bare = [c["name"] for c in columns if c["notnull"] and c["dflt_value"] is None and not c["pk"]]
    assert bare == []


def test_an_empty_range_is_refused():
    with pytest.raises(ValueError, match="empty"):
        write_captions([make_caption(4, 4)])


def test_new_captions_never_take_an_id_that_is_in_use():
    read = read_captions(write_captions([make_caption(0, 2), make_caption(8, 9, id=5)]))
    assert [c.id for c in read] == [6, 5]


def test_ocr_results_and_errors_go_to_their_captions():
    captions = read_captions(write_captions([make_caption(0, 4), make_caption(4, 8, text="mine")]))
    captions = mark_ocr(captions, [1, 2], "processing")
    assert [c.ocr_status for c in captions] == ["processing"] * 2
    captions = store_ocr(captions, [OcrOutcome(1, "read", 0.75), OcrOutcome(2, error="no frames")])
    assert (captions[0].ocr_text, captions[0].ocr_confidence, captions[0].ocr_status) == (
        "read",
        0.75,
        "completed",
    )
    assert (captions[1].text, captions[1].ocr_status, captions[1].ocr_error) == ("mine", "error", "no frames")
    assert captions[0].best_text == "read" and captions[1].best_text == "mine"
    with pytest.raises(DatabaseFileError, match="99"):
        store_ocr(captions, [OcrOutcome(99, "x", 1.0)])


def test_queued_captions_and_those_of_a_run_that_died_wait_for_ocr():
    states = ["queued", "processing", "completed", "error"]
    captions = [make_caption(i, i + 1, ocr_status=status) for i, status in enumerate(states)]
    captions.append(make_caption(9, 12, state="gap"))
    assert [c.ocr_status for c in waiting_for_ocr(captions)] == ["queued", "processing"]
    assert [c.ocr_status for c in waiting_for_ocr(captions, errors_too=True)] == [
        "queued",
        "processing",
        "error",
    ]


def test_only_captions_with_text_that_are_no_gaps_are_shown():
    assert make_caption(0, 1, ocr_text="x").is_shown
    assert not make_caption(0, 1, ocr_text="x", text="").is_shown
    assert not make_caption(0, 1, ocr_text="x", state="gap").is_shown
    assert not make_caption(0, 1).is_shown


def schema_of(data: bytes, version: int) -> dict[str, str]:
    with read_database(data, version) as connection:
        return dict(map(tuple, connection.execute("SELECT name, sql FROM sqlite_master")))


def test_a_file_of_one_zone_has_the_schema_that_all_clients_know():
    schema = schema_of(write_captions([make_caption(1, 4)]), SCHEMA_VERSION)
    assert schema["captions"] + ";" in SCHEMA
    assert "zone" not in schema["captions"]


def test_captions_of_another_zone_bring_the_column_and_may_overlap():
    captions = [make_caption(1, 9, id=1), make_caption(3, 5, id=2, zone=1)]
    data = write_captions(captions)
    assert "zone INTEGER NOT NULL DEFAULT 0" in schema_of(data, ZONES_VERSION)["captions"]
    assert read_captions(data) == captions
    # Without them it is a file of one zone again.
    assert write_captions(captions[:1]) == write_captions([make_caption(1, 9, id=1)])


def test_a_file_without_the_column_is_read_as_zone_0():
    assert [c.zone for c in read_captions(write_captions([make_caption(1, 4)]))] == [0]
