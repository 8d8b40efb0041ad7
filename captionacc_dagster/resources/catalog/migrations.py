"""Applies ``supabase/migrations`` to any PostgreSQL and records them as the Supabase CLI does.

The CLI and this module share ``supabase_migrations.schema_migrations``, so either can continue
where the other stopped. The checksums of the files are kept in a table of their own: a file that changed
after it was applied would leave two databases of one version with different contents. A database may hold
catalogues in several schemas and a web app's own migrations; each schema is judged by its own records.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import psycopg

from captionacc_dagster.constants import DEFAULT_SCHEMA
from captionacc_dagster.resources.catalog.former_migrations import (
    BASELINE,
    IncompleteFormerError,
    replace_former,
)
from captionacc_dagster.resources.catalog.postgres_errors import connect, plain_reason
from captionacc_dagster.resources.catalog.schema_names import rendered, schema_version, version_suffix
from modal_gpu.errors import CaptionAccError

_FILE_NAME = re.compile(r"(\d+)_(.*)\.sql")
#: Any constant will do, if all processes that migrate one database use the same.
_ADVISORY_LOCK = 0x43415054494F4E
_BOOKKEEPING = """
create schema if not exists supabase_migrations;
create table if not exists supabase_migrations.schema_migrations (version text not null primary key);
alter table supabase_migrations.schema_migrations add column if not exists statements text[];
alter table supabase_migrations.schema_migrations add column if not exists name text;
create table if not exists supabase_migrations.captionacc_checksums (
    version text not null primary key, sha256 text not null, recorded_at timestamptz not null default now()
);
alter table supabase_migrations.captionacc_checksums
    add column if not exists schema_name text not null default 'captionacc';
"""


class MigrationError(CaptionAccError):
    """A migration failed, or the database does not match the files; nothing of the migration was applied."""


class MigrationChangedError(MigrationError):
    """A file has changed since it was applied."""


class DatabaseTooNewError(MigrationError):
    """The database has migrations that this version of the code does not know."""


class FormerDatabaseError(MigrationError):
    """The database is older than the baseline and cannot be brought to it."""


@dataclass(frozen=True)
class Migration:
    """One file: ``version`` is the digits before the first underscore, ``name`` the rest of its name.

    ``text`` is the SQL for the schema, ``source`` the file's own text, for ``captionacc``.
    """

    version: str
    name: str
    text: str
    source: str

    @property
    def file_name(self) -> str:
        return f"{self.version}_{self.name}.sql"

    @property
    def sha256(self) -> str:
        """Checksum of the source: the way in which another schema's name is put in may change."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def in_schema(self, schema: str) -> "Migration":
        """Return the same migration for a catalogue in another schema."""
        if schema == DEFAULT_SCHEMA:
            return self
        version, name = schema_version(self.version, schema), f"{schema}_{self.name}"
        return Migration(version, name, rendered(self.source, schema), self.source)


def migrations_directory() -> Path:
    """Return the checkout's ``supabase/migrations``, or the copy inside an installed package."""
    package = Path(str(resources.files("captionacc_dagster")))
    for candidate in (package.parent / "supabase" / "migrations", package / "_migrations"):
        if candidate.is_dir():
            return candidate
    raise MigrationError(f"no migrations beside {package}: reinstall the package, or run from a checkout")


def load_migrations(directory: Path | None = None, schema: str = DEFAULT_SCHEMA) -> list[Migration]:
    """Load all migrations of a folder for a schema, ordered by version.

    Raises :class:`MigrationError` for an empty folder, two files of one version, and a refused schema name.
    """
    directory = directory or migrations_directory()
    found: dict[str, Migration] = {}
    for path in sorted(directory.glob("*.sql")):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None:
            raise MigrationError(f"{path}: a migration is named <timestamp>_<name>.sql")
        # Universal newlines: a checkout on Windows has the same checksums.
        text = path.read_text(encoding="utf-8")
        migration = Migration(match[1], match[2], text, text)
        if other := found.get(migration.version):
            raise MigrationError(f"{path}: version {migration.version} is also {other.file_name}")
        found[migration.version] = migration
    if not found:
        raise MigrationError(f"{directory} holds no migrations")
    ordered = sorted(found.values(), key=lambda migration: int(migration.version))
    try:
        return [migration.in_schema(schema) for migration in ordered]
    except ValueError as error:
        raise MigrationError(str(error)) from None


def write_migrations(
    folder: Path, schema: str = DEFAULT_SCHEMA, *, directory: Path | None = None
) -> list[Path]:
    """Write a schema's migrations into a folder for ``supabase db push`` and return the files that are new.

    Raises :class:`MigrationError` when a file of the same name has other contents, before it writes any.
    """
    files = {folder / migration.file_name: migration.text for migration in load_migrations(directory, schema)}
    present = {path: path.read_text(encoding="utf-8") for path in files if path.exists()}
    for path, text in present.items():
        if text != files[path]:
            raise MigrationError(f"{path} has other contents: move it away, then write again")
    folder.mkdir(parents=True, exist_ok=True)
    new = [path for path in files if path not in present]
    for path in new:
        path.write_text(files[path], encoding="utf-8")
    return new


def migrate(dsn: str, *, schema: str = DEFAULT_SCHEMA, directory: Path | None = None) -> list[str]:
    """Bring a schema of a database up to date and return the names of the applied files, in order.

    Idempotent. Each file and its record are one transaction; concurrent callers wait for each other.
    A missing file is applied even if it is older than the newest applied one. A database of the migrations
    before the baseline gets the baseline's record, and its texts of functions and comments.

    Raises :class:`MigrationError` (and its subclasses), and ``CatalogUnavailableError``.
    """
    migrations = load_migrations(directory, schema)
    applied = []
    with connect(dsn) as connection:
        connection.execute("set statement_timeout = '10min'")
        connection.execute("set lock_timeout = '2min'")
        connection.execute("set client_min_messages = warning")
        try:
            connection.execute("select pg_advisory_lock(%s)", [_ADVISORY_LOCK])
        except psycopg.errors.LockNotAvailable:
            raise MigrationError("another process has been migrating this database for 2 minutes") from None
        try:
            for migration in _pending(connection, migrations, schema):
                _apply(connection, migration, schema)
                applied.append(migration.file_name)
        finally:
            if not connection.closed:
                connection.execute("select pg_advisory_unlock(%s)", [_ADVISORY_LOCK])
    return applied


def _applied(connection: psycopg.Connection) -> set[str]:
    rows = connection.execute("select version from supabase_migrations.schema_migrations")
    return {version for (version,) in rows}


def _pending(connection: psycopg.Connection, migrations: list[Migration], schema: str) -> list[Migration]:
    try:
        with connection.transaction():
            connection.execute(_BOOKKEEPING)
    except psycopg.Error as error:
        raise MigrationError(f"the record of migrations cannot be created: {plain_reason(error)}") from None
    _replace_former(connection, migrations, schema)
    applied = _applied(connection)
    recorded = connection.execute(
        "select version, sha256 from supabase_migrations.captionacc_checksums where schema_name = %s",
        [schema],
    )
    checksums: dict[str, str] = dict(recorded)
    _check_not_too_new(applied, set(checksums), migrations, schema)
    for migration in migrations:
        if migration.version not in applied:
            continue
        if migration.version not in checksums:
            # Applied by the Supabase CLI, which keeps no checksums.
            _record_checksum(connection, migration, schema)
        elif checksums[migration.version] != migration.sha256:
            raise MigrationChangedError(
                f"{migration.file_name} changed after it was applied: restore it, and put the change in a "
                "new file"
            )
    return [migration for migration in migrations if migration.version not in applied]


def _replace_former(connection: psycopg.Connection, migrations: list[Migration], schema: str) -> None:
    """Turn a database of the migrations before the baseline into one of the baseline."""
    baseline = next((step for step in migrations if step.version[:12] == BASELINE[:12]), None)
    applied = _applied(connection)
    if baseline is None or baseline.version in applied:
        return
    try:
        with connection.transaction():
            if replace_former(connection, baseline.text, schema, applied):
                _record(connection, baseline, schema)
    except IncompleteFormerError as error:
        raise FormerDatabaseError(
            f"the schema {schema} is too old to be upgraded: {error}; start with an empty database (for the "
            "embedded one, move CAPTIONACC_HOME away), or migrate it with the release that made it first"
        ) from None
    except psycopg.Error as error:
        raise FormerDatabaseError(
            f"the schema {schema} cannot be brought to {baseline.file_name}: {plain_reason(error)}; nothing "
            "of it was changed"
        ) from None


def _check_not_too_new(
    applied: set[str], recorded: set[str], migrations: list[Migration], schema: str
) -> None:
    """Raise for an applied version of this schema that is newer than all files.

    For ``captionacc`` only versions with a checksum count: a web app's own migrations look the same in the
    Supabase CLI's record.
    """
    ours = recorded & applied
    if schema != DEFAULT_SCHEMA:
        ours |= {
            version for version in applied if len(version) == 18 and version[12:] == version_suffix(schema)
        }
    newest = max(int(migration.version) for migration in migrations)
    known = {migration.version for migration in migrations}
    if unknown := sorted(version for version in ours - known if int(version) > newest):
        raise DatabaseTooNewError(
            f"the database has migrations that this version does not know ({', '.join(unknown)}): "
            "upgrade captionacc-dagster, or restore a backup"
        )


def _apply(connection: psycopg.Connection, migration: Migration, schema: str) -> None:
    try:
        with connection.transaction():
            # Without parameters psycopg sends the file at once, with all of its statements.
            connection.execute(migration.text.encode())
            # A file that sets its search path must not change where the next one lands.
            connection.execute("reset search_path")
            _record(connection, migration, schema)
    except psycopg.Error as error:
        line = _line(error, migration)
        raise MigrationError(
            f"{migration.file_name}{line}: {plain_reason(error)}; nothing of it was applied"
        ) from None


def _record(connection: psycopg.Connection, migration: Migration, schema: str) -> None:
    connection.execute(
        "insert into supabase_migrations.schema_migrations (version, name, statements) values (%s, %s, %s)",
        [migration.version, migration.name, [migration.text]],
    )
    _record_checksum(connection, migration, schema)


def _record_checksum(connection: psycopg.Connection, migration: Migration, schema: str) -> None:
    connection.execute(
        "insert into supabase_migrations.captionacc_checksums (version, sha256, schema_name)"
        " values (%s, %s, %s)",
        [migration.version, migration.sha256, schema],
    )


def _line(error: psycopg.Error, migration: Migration) -> str:
    position = error.diag.statement_position
    return f", line {migration.text.count(chr(10), 0, int(position) - 1) + 1}" if position else ""
