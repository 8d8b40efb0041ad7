"""Reading of the predecessor's SQLite files, whose content is not trusted.

Names do not say whether a file is gzipped: its first bytes do. There is no ``user_version``, tables have had
several shapes, and a sync layer may have added tables and triggers. Only ordinary tables are read.
"""

import math
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from modal_gpu.databases.checked import MAX_FRAMES
from modal_gpu.databases.sqlite_file import UNREADABLE, connect, one_line, unpack
from modal_gpu.errors import DatabaseFileError

Values = dict[str, Any]


@contextmanager
def old_database(data: bytes, name: str) -> Iterator[sqlite3.Connection]:
    """Open a temporary copy of a file, gzipped or plain.

    Raises :class:`DatabaseFileError`, one line, if it is neither or is damaged.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / name
        unpack(data, path)
        with closing(connect(path)) as connection:
            try:
                problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
                if problem != "ok":
                    raise DatabaseFileError(f"database {name} is damaged: {one_line(problem)}")
                yield connection
            except UNREADABLE as error:
                raise DatabaseFileError(f"database {name} is damaged: {one_line(error)}") from None


def rows_of(connection: sqlite3.Connection, *tables: str, order: str = "rowid") -> list[Values] | None:
    """Return the rows of the first of ``tables`` that exists; ``None`` if none does.

    ``order`` is a column, ignored where the table lacks it.
    """
    for table in tables:
        found = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        if found:
            known = {row["name"] for row in connection.execute(f"PRAGMA table_info({table})")}
            ordered = f" ORDER BY {order}" if order in known else ""
            return [dict(row) for row in connection.execute(f"SELECT * FROM {table}{ordered}")]
    return None


def text(row: Values, *columns: str) -> str | None:
    """Return the first of the columns that is not NULL, as text."""
    value = next((row[column] for column in columns if row.get(column) is not None), None)
    return None if value is None else str(value)


def number(row: Values, *columns: str) -> float | None:
    """Return the first of the columns that is a finite number."""
    for column in columns:
        try:
            value = float(row[column])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            return value
    return None


def flag(row: Values, column: str, *, default: bool) -> bool:
    """Return a 0/1 column; ``default`` for NULL and for a missing column."""
    value = row.get(column)
    return default if value is None else bool(value)


def frame(row: Values, *columns: str) -> int | None:
    """Return a frame index; ``None`` for one that no video has."""
    value = number(row, *columns)
    return int(value) if value is not None and 0 <= value < MAX_FRAMES else None
