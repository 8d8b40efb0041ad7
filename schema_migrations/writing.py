"""Writes a migration: the difference between what the migrations give and what the schema files give."""

import difflib
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg

from captionacc_dagster.constants import DEFAULT_SCHEMA
from captionacc_dagster.resources.catalog.embedded_postgres import EmbeddedPostgres
from captionacc_dagster.resources.catalog.migrations import load_migrations, migrate
from schema_migrations.catalogue_objects import read_catalogue
from schema_migrations.drafting import draft
from schema_migrations.dump import PUBLICATION, dumped
from schema_migrations.schema_files import SUPABASE, apply_schema_files, function_texts, joined_files


@dataclass(frozen=True)
class WrittenMigration:
    """The file that was written, None without a difference, and what a person has to add to it.

    ``remaining`` is the unified difference of the two catalogues' dumps after the file was applied.
    """

    path: Path | None
    by_hand: list[str]
    remaining: str

    @property
    def complete(self) -> bool:
        return not self.by_hand and not self.remaining


@contextmanager
def scratch_server() -> Iterator[EmbeddedPostgres]:
    """Start an embedded server in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="captionacc-schema-") as folder:
        server = EmbeddedPostgres(Path(folder), settings={"fsync": "off"})
        try:
            yield server
        finally:
            server.stop()


def write_migration(
    name: str, *, behind_dsn: str, wanted_dsn: str, supabase: Path = SUPABASE, now: datetime | None = None
) -> WrittenMigration:
    """Write the migration that brings the migrations' catalogue to the schema files' one.

    The two databases must be empty. Without any migration the file is the first one: all schema files.

    Raises :class:`ValueError` for a name that is no file name, ``SchemaFilesError`` and ``MigrationError``.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ValueError(f"{name!r} is no name of a migration: lower-case letters, digits and _")
    folder = supabase / "migrations"
    by_hand: list[str] = []
    with _prepared(wanted_dsn) as wanted, _prepared(behind_dsn) as behind:
        apply_schema_files(wanted, supabase=supabase)
        if list(folder.glob("*.sql")):
            migrate(behind_dsn, directory=folder)
            drafted = draft(behind, read_catalogue(wanted), function_texts(supabase))
            text = "\n\n".join(drafted.statements)
            by_hand = drafted.by_hand
        else:
            text = joined_files(supabase)
            behind.execute(text.encode())
    path = _write(folder, name, text, now or datetime.now(UTC)) if text else None
    return WrittenMigration(path, by_hand, _difference(behind_dsn, wanted_dsn))


@contextmanager
def _prepared(dsn: str) -> Iterator[psycopg.Connection]:
    """Connect to a database that has Supabase's publication."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"create publication {PUBLICATION}".encode())
        yield connection


def _write(folder: Path, name: str, text: str, now: datetime) -> Path:
    """Write the file under the time, and a minute after the newest file at least.

    The seconds of its version are 00: migrations of other schemas have other seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    version = now.strftime("%Y%m%d%H%M00")
    if list(folder.glob("*.sql")):
        newest = datetime.strptime(load_migrations(folder)[-1].version, "%Y%m%d%H%M%S")
        version = max(version, (newest + timedelta(minutes=1)).strftime("%Y%m%d%H%M00"))
    path = folder / f"{version}_{name}.sql"
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    return path


def _difference(behind_dsn: str, wanted_dsn: str) -> str:
    behind, wanted = (dumped(dsn, DEFAULT_SCHEMA).splitlines() for dsn in (behind_dsn, wanted_dsn))
    return "\n".join(difflib.unified_diff(behind, wanted, "migrations", "schemas", n=2, lineterm=""))
