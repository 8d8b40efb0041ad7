"""Validated reading of stored databases, against the schema that this program writes them with.

A file comes from a bucket that people and other programs write to, so its content is not trusted. A reader
gets a copy whose rows were inserted into this program's own tables, declared ``STRICT``: SQLite then rejects
text in a number column, a NULL, a duplicate key, a row without its parent and a value outside its ``CHECK``.
This module only checks what SQLite cannot: sizes, names, infinities and UTF-8. Tables and columns that are
not in the schema (a sync layer's) are ignored.
"""

import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from modal_gpu.databases.sqlite_file import UNREADABLE, connect, one_line, open_database, unpack
from modal_gpu.errors import DatabaseFileError

#: Upper limit of frame indices in a file: more than 48 hours at 10 Hz.
MAX_FRAMES = 2_000_000
#: Bytes of one text or blob.
_MAX_VALUE_BYTES = 16 * 2**20
_MIB = 2**20


@dataclass(frozen=True)
class FileKind:
    """A kind of database and its schema.

    In ``schema``, the DDL, each table ends with a line ``);``. ``earlier`` maps each older version that can
    still be read to the columns that it lacks; they get their defaults. A table of ``optional`` may be
    missing, and is then empty. ``max_mib`` limits the unpacked file.
    """

    name: str
    version: int
    schema: str
    earlier: Mapping[int, frozenset[str]] = field(default_factory=dict)
    max_mib: int = 256
    optional: frozenset[str] = frozenset()

    @contextmanager
    def read(self, data: bytes) -> Iterator[sqlite3.Connection]:
        """Open a validated copy of a packed (or plain) file.

        Raises :class:`DatabaseFileError`, one line with the kind of file, if the file is damaged, has an
        unknown version, is too large, or violates the schema.
        """
        with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
            path = Path(folder) / self.name
            unpack(data, path, max_bytes=self.max_mib * _MIB)
            with (
                closing(connect(Path(folder) / "checked")) as copy,
                open_database(path, [*self.earlier, self.version]) as file,
            ):
                try:
                    self._fill(copy, file)
                except UNREADABLE as error:
                    raise self._refused(one_line(error)) from None
                yield copy

    def _fill(self, copy: sqlite3.Connection, file: sqlite3.Connection) -> None:
        copy.execute("PRAGMA synchronous = OFF")
        copy.executescript(strict(self.schema))
        copy.execute("PRAGMA foreign_keys = ON")
        file.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        version = file.execute("SELECT schema_version FROM database_metadata").fetchone()[0]
        absent = self.optional - set(_tables(file))
        for table in _tables(copy):
            if table in absent:
                continue
            columns = _columns(copy, table)
            names = [name for name in columns if name in self._found(file, table, version, columns)]
            marks = ", ".join("?" * len(names))
            copy.executemany(
                f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                file.execute(f"SELECT {', '.join(names)} FROM {table}"),
            )
            self._refuse_infinity(copy, table, [name for name, kind in columns.items() if kind == "REAL"])
        copy.commit()

    def _found(
        self, file: sqlite3.Connection, table: str, version: int, columns: Mapping[str, str]
    ) -> set[str]:
        """Return a table's columns in the file. Raises if one is missing that the file's version has."""
        if table not in _tables(file):
            raise self._refused(f"no such table: {table}")
        found = set(_columns(file, table))
        missing = columns.keys() - found - self.earlier.get(version, frozenset())
        if missing:
            raise self._refused(f"table {table} has no column {', '.join(sorted(missing))}")
        return found

    def _refuse_infinity(self, copy: sqlite3.Connection, table: str, columns: list[str]) -> None:
        for name in columns:
            largest = copy.execute(f"SELECT max(abs({name})) FROM {table}").fetchone()[0]
            if largest == float("inf"):
                raise self._refused(f"{table}.{name} is infinite")

    def _refused(self, why: str) -> DatabaseFileError:
        return DatabaseFileError(f"database {self.name} is damaged or not ours: {why}")


def strict(schema: str) -> str:
    """Return the schema with all tables declared ``STRICT``, so that columns hold only their type."""
    return schema.replace("\n);", "\n) STRICT;")


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of ordinary tables (no views, no virtual tables) in the order of their creation."""
    rows = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    )
    return [row[0] for row in rows]


def _columns(connection: sqlite3.Connection, table: str) -> dict[str, str]:
    """Return the name and declared type of each column of a table."""
    return {row["name"]: row["type"] for row in connection.execute(f"PRAGMA table_info({table})")}
