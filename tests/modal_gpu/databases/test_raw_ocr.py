"""raw-ocr.db returns what was read, including frames without text and failures."""

import gzip
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modal_gpu.databases.raw_ocr import read_raw_ocr, write_raw_ocr
from modal_gpu.databases.sqlite_file import new_database, pack
from modal_gpu.errors import ContractError, DatabaseFileError
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

FRAMES = [
    FrameOcr(
        0,
        "ok",
        (
            OcrLine("Wo warst du?", 0.98765, Box(0.1, 0.8, 0.9, 0.86)),
            OcrLine("你听见了吗", 1.0, Box(0, 0.9, 1, 1)),
        ),
    ),
    FrameOcr(100, "empty"),
    FrameOcr(200, "failed", error="the image was unreadable"),
]


@st.composite
def boxes(draw) -> Box:
    left, right = sorted(draw(st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True)))
    top, bottom = sorted(draw(st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True)))
    return Box(left / 1000, top / 1000, right / 1000, bottom / 1000)


# SQLite's text has no lone surrogates, and ends at a NUL for some readers; OCR returns neither.
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
lines = st.builds(OcrLine, texts, st.floats(0, 1), boxes())


def test_every_status_is_read_back():
    assert read_raw_ocr(write_raw_ocr(FRAMES)) == FRAMES


@given(st.lists(st.lists(lines, max_size=3), max_size=4))
def test_whatever_was_read_is_read_back(read):
    frames = [FrameOcr.of(10 * index, found) for index, found in enumerate(read)]
    assert read_raw_ocr(write_raw_ocr(frames)) == frames


def test_the_tables_are_those_of_the_contract(tmp_path):
    path = tmp_path / "raw-ocr.db"
    path.write_bytes(gzip.decompress(write_raw_ocr(FRAMES)))
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT frame_index, box_index, text, bbox_top FROM full_frame_ocr"
        ).fetchall()
        statuses = connection.execute("SELECT frame_index, status, error FROM frames").fetchall()
    assert rows == [(0, 0, "Wo warst du?", 0.8), (0, 1, "你听见了吗", 0.9)]
    assert statuses == [(0, "ok", None), (100, "empty", None), (200, "failed", "the image was unreadable")]


def test_the_same_frames_give_the_same_bytes():
    assert write_raw_ocr(FRAMES, "2026-01-01") == write_raw_ocr(FRAMES, "2026-01-01")


def test_a_damaged_file_is_an_error():
    data = write_raw_ocr(FRAMES)
    with pytest.raises(DatabaseFileError, match=r"raw-ocr\.db is damaged"):
        read_raw_ocr(data[:-20])


def test_another_version_is_an_error():
    with new_database("", 99) as connection:
        data = pack(connection)
    with pytest.raises(DatabaseFileError, match="schema version 99"):
        read_raw_ocr(data)


def test_a_file_without_its_tables_is_an_error():
    with new_database("", 1) as connection:
        data = pack(connection)
    with pytest.raises(DatabaseFileError, match="no such table"):
        read_raw_ocr(data)


def test_a_box_outside_the_frame_is_an_error(tmp_path):
    path = tmp_path / "raw-ocr.db"
    path.write_bytes(gzip.decompress(write_raw_ocr(FRAMES)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE full_frame_ocr SET bbox_right = 640")
        connection.commit()
    with pytest.raises(ContractError, match="640"):
        read_raw_ocr(path.read_bytes())
