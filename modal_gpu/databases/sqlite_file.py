"""Creation, packing and opening of SQLite files, shared by the database modules.

A file is created in a temporary folder, written completely, and stored gzipped::

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
#: Default limit on the unpacked size; 1 MB of gzip may unpack to 1 GB.
MAX_BYTES = 512 * 2**20
_PIECE_BYTES = 2**20
#: What Python's sqlite3 raises on a damaged file; UnicodeError if SQLite's message quotes its bytes.
UNREADABLE = (sqlite3.DatabaseError, UnicodeError, MemoryError)

_METADATA = """
CREATE TABLE database_metadata (
    id INTEGER PRIMARY KEY NOT NULL CHECK (id = 1),
    schema_version INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL DEFAULT ''
);
"""


def utc_now() -> str:
    """Return the current time as ISO 8601 in UTC, to the second: the format of times in all files."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def new_database(
    schema: str, schema_version: int, created_at: str | None = None
) -> Iterator[sqlite3.Connection]:
    """Create an empty database of ``schema`` in a temporary folder; it is deleted when the context ends.

    ``created_at`` is ISO 8601 and defaults to now; set it to get equal bytes for equal rows.
    """
    with (
        tempfile.TemporaryDirectory(prefix="captionacc-") as folder,
        closing(connect(Path(folder) / "new.db")) as connection,
    ):
        # The file does not outlive the process, so there is no need to wait for the disk.
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_METADATA + schema)
        connection.execute(
            "INSERT INTO database_metadata (id, schema_version, created_at) VALUES (1, ?, ?)",
            (schema_version, created_at or utc_now()),
        )
        connection.commit()
        yield connection


def pack(source: Path | sqlite3.Connection) -> bytes:
    """Commit and checkpoint a database and return it as deterministic gzip bytes.

    ``source`` is a file's path or an open connection to one. Raises :class:`DatabaseFileError` for a file
    that is missing or damaged.
    """
    if isinstance(source, sqlite3.Connection):
        source.commit()
        source.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        path = Path(source.execute("PRAGMA database_list").fetchone()["file"])
    else:
        path = source
        if not path.is_file():
            raise DatabaseFileError(f"database {path.name} does not exist")
        try:
            with closing(connect(path)) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.DatabaseError as error:
            raise DatabaseFileError(f"database {path.name} is damaged: {one_line(error)}") from None
    packed = io.BytesIO()
    # mtime=0 and no file name, so that equal databases become equal bytes.
    with path.open("rb") as plain, gzip.GzipFile("", "wb", 6, packed, mtime=0) as zipped:
        shutil.copyfileobj(plain, zipped)
    return packed.getvalue()


def unpack(data: bytes, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Unpack a gzipped database to ``path``; a plain SQLite file is written unchanged.

    Raises :class:`DatabaseFileError`, leaving no file at ``path``, if the bytes are neither, are damaged, or
    are more than ``max_bytes`` when unpacked.
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
        f"database {path.name} is larger than {max_bytes // 2**20} MiB: this program did not write it"
    )


@contextmanager
def open_database(path: Path, schema_version: int | Collection[int]) -> Iterator[sqlite3.Connection]:
    """Open an existing database; it is closed when the context ends, without a commit.

    ``schema_version`` is the version that the caller reads, or all of them with the newest last.
    Raises :class:`DatabaseFileError` if the file is missing, is damaged, or has another version.
    """
    if not path.is_file():
        raise DatabaseFileError(f"database {path.name} does not exist")
    with closing(connect(path)) as connection:
        try:
            # quick_check reads each page once and skips the index cross-checks.
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
                f"{readable[-1]}: update the program, or create the file again"
            )
        try:
            yield connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # an error in the caller
        except sqlite3.DatabaseError as error:  # a missing table or column, a damaged page
            raise DatabaseFileError(
                f"database {path.name} is damaged or not ours: {one_line(error)}"
            ) from error


@contextmanager
def read_database(
    data: bytes, schema_version: int | Collection[int], name: str = "data.db"
) -> Iterator[sqlite3.Connection]:
    """Open a temporary copy of a packed (or plain) database; ``name`` is used in messages.

    The copy may be changed and packed again. Raises the errors of :func:`unpack` and
    :func:`open_database`.
    """
    with tempfile.TemporaryDirectory(prefix="captionacc-") as folder:
        path = Path(folder) / name
        unpack(data, path)
        with open_database(path, schema_version) as connection:
            yield connection


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection with :class:`sqlite3.Row` rows that does not trust functions in a file's schema."""
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA trusted_schema = OFF")
    return connection


def one_line(what: object) -> str:
    """Return SQLite's message, or a value of a file, on one line of at most 200 characters."""
    text = " ".join(str(what).split()) or type(what).__name__
    return "".join(c if c.isprintable() else "�" for c in text)[:200]
