"""Files that are not as this program writes them: one line that names the file, for each reader."""

import gzip
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from modal_gpu.contracts import CaptionZone, CropRegion
from modal_gpu.databases import captions, extents, layout, raw_ocr
from modal_gpu.databases.captions import Caption, read_captions, write_captions
from modal_gpu.databases.checked import FileKind, strict
from modal_gpu.databases.extents import (
    ExtentsRun,
    SegmentScores,
    read_change_seconds,
    read_extents,
    read_segment,
    write_extents,
    write_segment,
)
from modal_gpu.databases.layout import LayoutBox, LayoutFile, read_layout, write_layout
from modal_gpu.databases.raw_ocr import read_raw_ocr, write_raw_ocr
from modal_gpu.errors import CaptionAccError, DatabaseFileError
from modal_gpu.extents.predictor import predictions
from modal_gpu.layout.zones import LayoutZone
from modal_gpu.ocr.engine import Box, FrameOcr, OcrLine

BOX = Box(0.3, 0.8, 0.7, 0.9)


def captions_file() -> bytes:
    mine = Caption(12, 20, 1.2, 2.0, text="mine", zone=1)
    return write_captions([Caption(2, 9, 0.15, 0.9, confidence=0.9), mine])


def raw_ocr_file() -> bytes:
    return write_raw_ocr([FrameOcr.of(0, [OcrLine("Where?", 0.9, BOX)]), FrameOcr.of(10, [])])


def layout_file() -> bytes:
    boxes = (LayoutBox(0, 0, BOX, "Where?", "in", 0.9), LayoutBox(10, 0, BOX, "There!", "in", 0.9))
    zones = (LayoutZone(CaptionZone(1, CropRegion(0, 0, 1, 0.2), "de"), "center", 0.5, 0.1, 0.05, 0.9),)
    layout = LayoutFile(1280, 720, CropRegion(0, 0.7, 1, 1), boxes, 0.85, 0.05, "center", 0.5)
    return write_layout(replace(layout, ignore_boxes=(BOX,), zones=zones))


def extents_file() -> bytes:
    found = predictions(np.array([0, 1, 1, 0], np.float32), np.array([0, 1, 0], np.float32))
    return write_extents(ExtentsRun("r", 1, "m", "ab", "t", "t", 3, 1.5), found, np.array([0.1, np.nan, 0.3]))


def segment_file() -> bytes:
    ones = np.ones(3)
    return write_segment(SegmentScores(512, ones.astype("f4"), ones.astype("f4"), ones, "m", "ab"))


@dataclass(frozen=True)
class Reader:
    kind: FileKind
    make: Callable[[], bytes]
    read: Callable[[bytes], object]


READERS = {
    "captions": Reader(captions.KIND, captions_file, read_captions),
    "raw ocr": Reader(raw_ocr.KIND, raw_ocr_file, read_raw_ocr),
    "layout": Reader(layout.KIND, layout_file, read_layout),
    "extents": Reader(extents.KIND, extents_file, read_extents),
    "change seconds": Reader(extents.KIND, extents_file, read_change_seconds),
    "segment": Reader(extents.PART_KIND, segment_file, read_segment),
}


@pytest.fixture(params=[name for name in READERS if name != "change seconds"])
def reader(request: pytest.FixtureRequest) -> Reader:
    return READERS[request.param]


def tables_of(kind: FileKind) -> dict[str, list[sqlite3.Row]]:
    """Columns of each table of a kind, as SQLite describes them."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory = sqlite3.Row
        connection.executescript(kind.schema)
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: connection.execute(f"PRAGMA table_info({name})").fetchall()
            for name in names
            if not name.startswith("sqlite_")
        }


@cache
def loose(make: Callable[[], bytes]) -> bytes:
    """Copy the rows into tables without types, keys and checks, as another program may create them."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(gzip.decompress(make()))
        names = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in names:
            if not name.startswith("sqlite_") and name != "database_metadata":
                connection.execute(f"CREATE TABLE copy_of_it AS SELECT * FROM {name}")
                connection.execute(f"DROP TABLE {name}")
                connection.execute(f"ALTER TABLE copy_of_it RENAME TO {name}")
        return connection.serialize()


def changed(reader: Reader, *statements: str) -> bytes:
    """A reader's loose file after some statements."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(loose(reader.make))
        for statement in statements:
            connection.execute(statement)
        return connection.serialize()


def assert_refused(reader: Reader, data: bytes, why: str | None = None) -> None:
    with pytest.raises(CaptionAccError, match=why) as raised:
        reader.read(data)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 400


def test_every_table_is_checked_strictly(reader: Reader):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(strict(reader.kind.schema))
        kinds = {row[1]: row[5] for row in connection.execute("PRAGMA table_list")}
    assert {kinds[name] for name in tables_of(reader.kind)} == {1}


def test_rows_are_what_counts_and_not_how_the_tables_were_declared(reader: Reader):
    """A sync layer keeps tables of its own beside these, and may drop what it cannot keep."""
    other = changed(reader, "CREATE TABLE crsql_site_id (id BLOB, ordinal INTEGER)")
    assert repr(reader.read(other)) == repr(reader.read(reader.make()))


def test_a_missing_table_is_named(reader: Reader):
    for table in tables_of(reader.kind).keys() - reader.kind.optional:
        data = changed(reader, f"DROP TABLE {table}")
        assert_refused(reader, data, f"no such table: {table}")
        view = changed(
            reader,
            f"ALTER TABLE {table} RENAME TO other",
            f"CREATE VIEW {table} AS SELECT * FROM other",
        )
        assert_refused(reader, view, f"no such table: {table}")


def test_a_missing_or_renamed_column_is_named(reader: Reader):
    for table, columns in tables_of(reader.kind).items():
        for column in columns:
            name = column["name"]
            renamed = changed(reader, f"ALTER TABLE {table} RENAME COLUMN {name} TO other")
            assert_refused(reader, renamed, f"{table} has no column {name}")


@pytest.mark.parametrize("value", ["'twelve'", "9e999", "-9e999", "x'00ff'", "'1e5\n2'"])
def test_a_number_column_holds_finite_numbers(reader: Reader, value: str):
    for table, columns in tables_of(reader.kind).items():
        for column in columns:
            if column["type"] != "TEXT" and "prob_" not in column["name"]:
                data = changed(reader, f"UPDATE {table} SET {column['name']} = {value}")
                assert_refused(reader, data)


@pytest.mark.parametrize("value", ["-1", "1000000000", "9223372036854775807", "-9223372036854775808"])
def test_an_index_or_count_lies_in_what_a_video_can_have(reader: Reader, value: str):
    named = ("frame_index", "frame1_index", "frame2_index", "total_pairs", "start_index", "frame_width")
    for table, columns in tables_of(reader.kind).items():
        for column in columns:
            if column["name"].endswith(named):
                data = changed(reader, f"UPDATE {table} SET {column['name']} = {value}")
                assert_refused(reader, data)


@pytest.mark.parametrize(
    "value", ["CAST(x'ff41' AS TEXT)", "CAST(x'c3280a' AS TEXT)", "CAST(x'eda080' AS TEXT)", "x'41'"]
)
def test_text_is_utf8(reader: Reader, value: str):
    """Neither Latin-1, nor a lone surrogate, nor a blob is accepted."""
    for table, columns in tables_of(reader.kind).items():
        for column in columns:
            if column["type"] == "TEXT":
                data = changed(reader, f"UPDATE {table} SET {column['name']} = {value}")
                assert_refused(reader, data)


def test_required_rows_are_required(reader: Reader):
    for table, columns in tables_of(reader.kind).items():
        for column in columns:
            # For a NULL row id, SQLite chooses one.
            if column["notnull"] and not (column["pk"] and column["type"] == "INTEGER"):
                data = changed(reader, f"UPDATE {table} SET {column['name']} = NULL")
                assert_refused(reader, data, f"{table}.{column['name']}")


def test_duplicate_rows_are_refused(reader: Reader):
    for table in tables_of(reader.kind):
        data = changed(reader, f"INSERT INTO {table} SELECT * FROM {table}")
        assert_refused(reader, data, "UNIQUE constraint failed")


@pytest.mark.parametrize("count", [-1, 4, 1_000_000_000])
@pytest.mark.parametrize("name", ["extents", "change seconds"])
def test_a_run_that_claims_other_pairs_than_there_are_is_refused(name: str, count: int):
    data = changed(READERS[name], f"UPDATE run_metadata SET total_pairs = {count}")
    assert_refused(READERS[name], data)


def test_a_line_without_its_frame_is_refused():
    data = changed(READERS["raw ocr"], "DELETE FROM frames WHERE frame_index = 0")
    assert_refused(READERS["raw ocr"], data, "FOREIGN KEY")


def test_damage_that_sqlite_describes_on_two_lines_is_one(reader: Reader):
    plain = bytearray(gzip.decompress(reader.make()))
    page = int.from_bytes(plain[16:18], "big")
    for start in range(page, len(plain) - page, page):
        damaged = plain.copy()
        damaged[start : start + 8] = b"\x0d\xff\xff\xff\xff\xff\xff\xff"
        assert_refused(reader, bytes(damaged), r"\.db")


def test_a_small_gzip_of_zeros_is_not_unpacked_to_the_end(reader: Reader, monkeypatch: pytest.MonkeyPatch):
    """The limit is lowered so that the test is quick: 16 MiB of zeros in 16 kB."""
    monkeypatch.setattr("modal_gpu.databases.checked._MIB", 2**10)
    bomb = gzip.compress(b"SQLite format 3\0" + bytes(16 * 2**20))
    assert len(bomb) < 2**15
    with pytest.raises(DatabaseFileError, match=r"\.db is larger than 0 MiB"):
        reader.read(bomb)
    assert_refused(reader, gzip.decompress(bomb), "is larger than")


def test_a_version_may_be_anything_in_a_damaged_file(reader: Reader):
    for value in ("'two\nlines'", "x'00'", "9e999", "CAST(x'ff' AS TEXT)", "-1"):
        data = changed(reader, f"UPDATE database_metadata SET schema_version = {value}")
        assert_refused(reader, data)
