"""What the database modules share: making, packing and opening one SQLite file.

A file is made in a temporary folder, written whole, and stored gzipped::

    with new_database(SCHEMA, SCHEMA_VERSION) as connection:
        connection.executemany("INSERT INTO …", rows)
        data = pack(connection)

    with read_database(data, SCHEMA_VERSION) as connection:
        rows = connection.execute("SELECT …").fetchall()

Rows are :class:`sqlite3.Row`. Every file carries ``database_metadata(schema_version, created_at)``.
"""

import gzip
import io
import shutil
import sqlite3
import tempfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from modal_gpu.errors import DatabaseFileError

GZIP_MAGIC = b"\x1f\x8b"
SQLITE_MAGIC = b"SQLite format 3\x00"
#: Largest database that is unpacked, unless its kind says otherwise; a gzip of 1 MB may hold 1 GB.
MAX_BYTES = 512 * 2**20
_PIECE_BYTES = 2**20
#: What Python's sqlite3 raises over a damaged file; UnicodeError where SQLite's own message quotes its bytes.
UNREADABLE = (sqlite3.DatabaseError, UnicodeError, MemoryError)

_METADATA = """
CREATE TABLE database_metadata (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    schema_version INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL DEFAULT ''
);
"""


def utc_now() -> str:
    """This moment as ISO 8601 in UTC, to the second: how all files store times."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def new_database(
    schema: str, schema_version: int, created_at: str | None = None
) -> Iterator[sqlite3.Connection]:
    """An empty database of ``schema`` in a temporary folder, gone when the context ends.

    ``created_at`` is ISO 8601 and defaults to now; give it to get the same bytes for the same rows.
    """
    with (
        tempfile.TemporaryDirectory(prefix="captionacc-") as folder,
        closing(connect(Path(folder) / "new.db")) as connection,
    ):
        # Nothing is kept if the process dies, so no need to wait for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_METADATA + schema)
        connection.execute(
            "INSERT INTO database_metadata (id, schema_version, created_at) VALUES (1, ?, ?)",
            (schema_version, created_at or utc_now()),
        )
        connection.commit()
        yield connection


def pack(source: Path | sqlite3.Connection) -> bytes:
    """A database as deterministic gzip bytes, everything committed and checkpointed.

    ``source`` is a file's path or an open connection to one, whose pending transaction is committed.
    """
    if isinstance(source, sqlite3.Connection):
        source.commit()
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = Path(source.execute("PRAGMA database_list").fetchone()["file"])
    else:
        path = source
        if not path.is_file():
            raise DatabaseFileError(f"database {path.name} is not there")
        try:
            with closing(connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.DatabaseError as error:
            raise DatabaseFileError(f"database {path.name} is damaged: {one_line(error)}") from None
    packed = io.BytesIO()
    # mtime=0 and no file name: the same database gives the same bytes.
    with path.open("rb") as plain, gzip.GzipFile("", "wb", 6, packed, mtime=0) as zipped:
        shutil.copyfileobj(plain, zipped)
    return packed.getvalue()


def unpack(data: bytes, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Write a packed database to ``path``; a plain SQLite file is taken as it is.

    Raises :class:`DatabaseFileError` when the bytes are neither, damaged, or more than ``max_bytes`` when
    unpacked; nothing is left at ``path`` then.
    """
    if data.startswith(GZIP_MAGIC):
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as zipped, path.open("wb") as plain:
                written = 0
                while piece := zipped.read(_PIECE_BYTES):
                    written += len(piece)
                    if written > max_bytes:
                        raise _too_large(path, max_bytes)
                    plain.write(piece)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            path.unlink(missing_ok=True)
            raise DatabaseFileError(f"database {path.name} is damaged: {one_line(error)}") from None
        except DatabaseFileError:
            path.unlink(missing_ok=True)
            raise
    elif data.startswith(SQLITE_MAGIC):
        if len(data) > max_bytes:
            raise _too_large(path, max_bytes)
        path.write_bytes(data)
    else:
        raise DatabaseFileError(f"database {path.name} is neither gzip nor SQLite ({len(data)} bytes)")


def _too_large(path: Path, max_bytes: int) -> DatabaseFileError:
    return DatabaseFileError(
        f"database {path.name} holds more than {max_bytes // 2**20} MiB: it is not one that this program made"
    )


@contextmanager
def open_database(path: Path, schema_version: int | Collection[int]) -> Iterator[sqlite3.Connection]:
    """A connection to an existing database, closed when the context ends (uncommitted work is lost).

    ``schema_version``: the one that the caller reads, or all of them, the newest last.
    Raises :class:`DatabaseFileError` when the file is missing, is damaged, or has another version.
    """
    if not path.is_file():
        raise DatabaseFileError(f"database {path.name} is not there")
    with closing(connect(path)) as connection:
        try:
            # quick_check reads each page once and leaves out the index cross-checks.
            problem = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            row = connection.execute("SELECT schema_version FROM database_metadata").fetchone()
        except UNREADABLE as error:
            raise DatabaseFileError(
                f"database {path.name} is damaged or not ours: {one_line(error)}"
            ) from None
        if problem != "ok":
            raise DatabaseFileError(f"database {path.name} is damaged: {one_line(problem)}")
        found = row["schema_version"] if row else None
        readable = [schema_version] if isinstance(schema_version, int) else list(schema_version)
        if found not in readable:
            raise DatabaseFileError(
                f"database {path.name} has schema version {one_line(found)}, this program reads version "
                f"{readable[-1]}: update the program, or make the file again"
            )
        try:
            yield connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # the caller's own mistake
        except sqlite3.DatabaseError as error:  # a table or column that is not there, a damaged page
            raise DatabaseFileError(
                f"database {path.name} is damaged or not ours: {one_line(error)}"
            ) from error


@contextmanager
def read_database(
    data: bytes, schema_version: int | Collection[int], name: str = "data.db"
) -> Iterator[sqlite3.Connection]:
    """A connection to a temporary copy of a packed (or plain) database; ``name`` is for messages.

    The copy may be changed and packed again. Raises :class:`DatabaseFileError` as :func:`unpack` and
    :func:`open_database` do.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / name
        unpack(data, path)
        with open_database(path, schema_version) as connection:
            yield connection


def connect(path: Path) -> sqlite3.Connection:
    """A connection whose rows are :class:`sqlite3.Row`; functions in a file's schema are not trusted."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def one_line(what: object) -> str:
    """What SQLite says, or a value of a file, on one line of at most 200 characters."""
    text = " ".join(str(what).split()) or type(what).__name__
    return "".join(c if c.isprintable() else "�" for c in text)[:200]
