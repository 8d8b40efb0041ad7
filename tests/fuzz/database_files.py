"""Damage to databases: rows, tables, pages and the packing around them."""

import gzip
import sqlite3
from contextlib import closing
from random import Random

from tests.modal_gpu.databases.test_damaged_databases import READERS, Reader, loose, tables_of

_VALUES = (
    "NULL", "-1", "0", "1", "2", "1e9", "9e999", "-9e999", "0.5", "1.5", "1.0000000001",
    "9223372036854775807", "-9223372036854775808", "'text'", "''", "'1'", "'predicted'", "'in'",
    "x'00ff'", "x''", "CAST(x'ff41' AS TEXT)", "CAST(x'c3280a' AS TEXT)", "'a' || char(0)",
    "'two' || char(10) || 'lines'", "printf('%.*c', 100000, 'x')", "char(1114111)",
)  # fmt: skip
_HEADER_BYTES = 100


def damaged_database(random: Random) -> tuple[str, bytes]:
    """Return the name of a reader, and a file for it after one to four changes of rows or bytes."""
    name = random.choice(list(READERS))
    reader = READERS[name]
    plain = _undated(loose(reader.make) if random.random() < 0.6 else gzip.decompress(reader.make()))
    how = random.random()
    if how < 0.55:
        plain = _change_rows(plain, reader, random)
    if how > 0.45:
        plain = _change_bytes(bytearray(plain), random)
    if random.random() < 0.5:
        return name, plain
    packed = bytearray(gzip.compress(plain, 1, mtime=0))
    if random.random() < 0.3:
        packed = bytearray(_change_bytes(packed, random))
    return name, bytes(packed)


def _undated(plain: bytes) -> bytes:
    """Return the file with a fixed creation time, so that a case is the same file every time."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(plain)
        connection.execute("UPDATE database_metadata SET created_at = '2026-01-01T00:00:00+00:00'")
        return connection.serialize()


def _change_rows(plain: bytes, reader: Reader, random: Random) -> bytes:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(plain)
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for _ in range(random.choice((1, 1, 2, 4))):
            try:
                connection.execute(_statement(reader, random))
            except sqlite3.Error:
                continue  # the file's own keys do not allow it, or the table is gone
        return connection.serialize()


def _statement(reader: Reader, random: Random) -> str:
    tables = tables_of(reader.kind)
    table = random.choice([*tables, "database_metadata"])
    columns = [row["name"] for row in tables.get(table, ())] or ["schema_version", "created_at", "id"]
    column, value = random.choice(columns), random.choice(_VALUES)
    where = random.choice(("", " WHERE rowid = 1", " WHERE rowid % 2"))
    change = f"UPDATE {table} SET {column} = {value}{where}"
    others = (
        f"DELETE FROM {table}{where}",
        f"INSERT INTO {table} SELECT * FROM {table}",
        f"ALTER TABLE {table} RENAME COLUMN {column} TO other",
        f"ALTER TABLE {table} DROP COLUMN {column}",
        f"ALTER TABLE {table} RENAME TO other",
        f"DROP TABLE {table}",
        f"ALTER TABLE {table} ADD COLUMN more TEXT DEFAULT 'x'",
        f"UPDATE {table} SET {column} = {column} + {random.choice((-1, 1, 1000))}",
        "PRAGMA user_version = 7",
    )
    return change if random.random() < 0.7 else random.choice(others)


def _change_bytes(data: bytearray, random: Random) -> bytes:
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        if not data:
            break
        at = random.randrange(len(data) if random.random() < 0.6 else min(len(data), _HEADER_BYTES))
        how = random.random()
        if how < 0.6:
            data[at] = random.choice((0, 1, 2, 127, 128, 255, data[at] ^ 1 << random.randrange(8)))
        elif how < 0.7:
            del data[at:]
        elif how < 0.8:
            page, size = at // 4096 * 4096, 4096
            data[page : page + size] = data[:size]
        elif how < 0.9:
            data[at : at + 64] = bytes([random.choice((0, 255))]) * len(data[at : at + 64])
        else:
            data[at:at] = data[at : at + random.choice((1, 16, 4096))]
    return bytes(data)
