"""One SQLite file: the same bytes for the same rows, and a clear error for anything else."""

import gzip
import sqlite3
from contextlib import closing

import pytest

from modal_gpu.databases.sqlite_file import (
    SQLITE_MAGIC,
    new_database,
    open_database,
    pack,
    read_database,
    unpack,
)
from modal_gpu.errors import DatabaseFileError

SCHEMA = "CREATE TABLE words (id INTEGER PRIMARY KEY NOT NULL, word TEXT NOT NULL DEFAULT '');"


def make_database(*words: str, version: int = 1) -> bytes:
    with new_database(SCHEMA, version, "2026-01-01T00:00:00+00:00") as connection:
        connection.executemany("INSERT INTO words (word) VALUES (?)", [(word,) for word in words])
        return pack(connection)


def words_of(data: bytes, version: int = 1) -> list[str]:
    with read_database(data, version) as connection:
        return [row["word"] for row in connection.execute("SELECT word FROM words ORDER BY id")]


def test_what_was_packed_is_read_back():
    assert words_of(make_database("eins", "二")) == ["eins", "二"]


def test_the_same_rows_give_the_same_bytes():
    assert make_database("a", "b") == make_database("a", "b") != make_database("a")


def test_a_plain_sqlite_file_is_read_too():
    plain = gzip.decompress(make_database("plain"))
    assert plain.startswith(SQLITE_MAGIC)
    assert words_of(plain) == ["plain"]


def test_rows_still_in_the_write_ahead_log_are_packed(tmp_path):
    path = tmp_path / "wal.db"
    unpack(make_database("first"), path)
    with open_database(path, 1) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("INSERT INTO words (word) VALUES ('second')")
        assert words_of(pack(connection)) == ["first", "second"]
    assert words_of(pack(path)) == ["first", "second"]


def test_a_cut_off_file_is_an_error_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "cut.db"
    data = make_database(*"abcdefgh")
    with pytest.raises(DatabaseFileError, match=r"cut\.db is damaged"):
        unpack(data[: len(data) // 2], path)
    assert not path.exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x1f\x8bnot gzip at all"])
def test_bytes_that_are_not_a_database_are_an_error(data):
    with pytest.raises(DatabaseFileError), read_database(data, 1):
        pass


def test_a_damaged_page_is_an_error():
    plain = bytearray(gzip.decompress(make_database(*(f"word {i}" for i in range(2000)))))
    plain[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    with pytest.raises(DatabaseFileError, match="damaged"), read_database(bytes(plain), 1):
        pass


def test_another_schema_version_is_named():
    with pytest.raises(DatabaseFileError, match="version 7, this program reads version 1"):
        words_of(make_database(version=7))


def test_someone_elses_database_is_an_error(tmp_path):
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.commit()
    with pytest.raises(DatabaseFileError, match="not ours"), open_database(path, 1):
        pass


def test_a_missing_file_is_an_error_and_is_not_created(tmp_path):
    path = tmp_path / "none.db"
    with pytest.raises(DatabaseFileError, match="does not exist"), open_database(path, 1):
        pass
    with pytest.raises(DatabaseFileError, match="does not exist"):
        pack(path)
    assert not path.exists()
