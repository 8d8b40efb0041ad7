"""Connections to PostgreSQL, and the catalogue's errors for its own. No message holds a password."""

import re
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from captionacc_dagster.resources.catalog.errors import (
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
    InvalidArgumentError,
)
from modal_gpu.disk_full import ADVICE
from modal_gpu.error_table import TABLE, Meaning, Row, look_up

#: The advice of the table's rows for a database without the catalogue.
MIGRATE = next(row.advice for row in TABLE if row.sign == "42P01")
_CONNECT_SECONDS = 5
#: Parameters that poolers and other clients put into a URL, and what replaces them here.
_FOREIGN = {
    "pgbouncer": "our connections work through PgBouncer as they are",
    "schema": "the schema is the setting CAPTIONACC_SCHEMA",
    "connection_limit": "the size of the pool is not set there",
    "pool_timeout": "the time-out of the pool is not set there",
    "ssl": "write sslmode=require instead",
}


def connection_parameters(dsn: str) -> dict[str, str]:
    """Return a DSN's parameters, with time-outs. Raises :class:`CatalogAccessError` for an unusable one."""
    try:
        parameters = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    except (psycopg.ProgrammingError, ValueError):
        # Its message may quote a part of the password.
        raise CatalogAccessError(_dsn_problem(dsn)) from None
    if "@" in parameters.get("host", ""):
        raise CatalogAccessError(
            "the catalogue's database URL has an '@' in its host: write one in a password as %40"
        ) from None
    parameters.setdefault("connect_timeout", str(_CONNECT_SECONDS))
    parameters.setdefault("application_name", "captionacc")
    return parameters


def _dsn_problem(dsn: str) -> str:
    """Return why libpq refuses a DSN, from its scheme and the names of its parameters, without a value."""
    scheme = re.match(r"([a-z][a-z0-9+.-]{0,30})://", dsn)
    if scheme and scheme.group(1) not in ("postgresql", "postgres"):
        return f"the catalogue's database URL begins with {scheme.group(1)}://: write postgresql://"
    if unknown := _unknown_parameters(dsn):
        names = [f"{name} ({_FOREIGN[name]})" if name in _FOREIGN else name for name in unknown]
        many = len(unknown) > 1
        return (
            f"the catalogue's database URL has {'parameters' if many else 'a parameter'} that PostgreSQL "
            f"does not know: remove {', '.join(names)} from CAPTIONACC_DATABASE_URL"
        )
    return (
        "the catalogue's database URL cannot be parsed: it should look like "
        "postgresql://user:password@host:5432/database, with %-encoded special characters"
    )


def _unknown_parameters(dsn: str) -> list[str]:
    """Return the names in a URL's query that libpq does not know, if they look like names."""
    known = {option.keyword.decode() for option in Conninfo.get_defaults()}
    # After the last '@', since a password may have a question mark.
    query = dsn.rpartition("@")[2].partition("?")[2]
    names = [unquote(part.partition("=")[0]) for part in query.split("&") if part]
    return [
        name
        for name in dict.fromkeys(names)
        if name not in known and re.fullmatch(r"[A-Za-z_]\w{0,39}", name)
    ]


def shown(dsn: str) -> str:
    """Return where a DSN points to, without its password."""
    try:
        parts = connection_parameters(dsn)
    except CatalogError:
        return "(unusable database URL)"
    return f"{parts.get('user', '')}@{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"


def connect(dsn: str) -> psycopg.Connection:
    """Open a connection in autocommit mode.

    Raises :class:`CatalogUnavailableError` if the server may answer later, and :class:`CatalogAccessError`
    if it refuses user, password or database.
    """
    parameters = connection_parameters(dsn)
    try:
        return psycopg.connect(make_conninfo(**parameters), autocommit=True)
    except psycopg.Error as error:
        raise translated(error, parameters) from None


def translated(error: psycopg.Error, parameters: dict[str, str]) -> CatalogError:
    """Return the catalogue's error for one of the database, except for those of our functions."""
    row = _row(error)
    reason = _without_password(plain_reason(error), parameters)
    if row is None:
        kind = InvalidArgumentError if isinstance(error, psycopg.DataError) else CatalogError
        return kind(f"the catalogue's database refused: {reason}")
    return by_row(row, reason, was_reached=error.sqlstate is not None)


def by_row(row: Row, reason: str, *, was_reached: bool = True) -> CatalogError:
    """Return the error for a row of the table. ``reason``: the server's message, without secrets."""
    if row.meaning is Meaning.SLOW:
        return CatalogUnavailableError(
            f"the catalogue's database stopped a statement that took too long ({reason})"
        )
    if row.meaning.passes:
        what = "is disturbed" if was_reached else "does not answer"
        advice = f": {row.advice}" if row.advice else ""
        return CatalogUnavailableError(f"the catalogue's database {what} ({reason}){advice}")
    if row.sign == "53100":
        full = f"the disk of the database is full: {ADVICE}"
        return CatalogAccessError(f"{full} (the catalogue's PostgreSQL: {reason})")
    if row.meaning.is_operators:
        return CatalogAccessError(f"{_refusal(row)} ({reason}): {row.advice}")
    if row.sign in ("22", "23"):
        return InvalidArgumentError(f"the catalogue refused a value: {reason}")
    return CatalogError(f"the catalogue's database refused: {reason}")


def is_not_migrated(error: psycopg.Error) -> bool:
    """Return whether the database lacks tables or functions that this version needs."""
    row = _row(error)
    return row is not None and row.advice == MIGRATE


def _refusal(row: Row) -> str:
    if row.advice == MIGRATE:
        return "the database does not have the catalogue that this version needs"
    return "the catalogue's database refuses"


def _row(error: psycopg.Error) -> Row | None:
    """Return the table's row for an error of the database, or of the client that connects to it."""
    if error.sqlstate:
        return look_up("PostgreSQL", error.sqlstate)
    if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return None
    # Errors while connecting have no code, only text.
    return look_up("PostgreSQL", text=str(error)) or look_up("PostgreSQL", "no-connection")


def _without_password(reason: str, parameters: dict[str, str]) -> str:
    password = parameters.get("password")
    return reason.replace(password, "***") if password else reason


def plain_reason(error: psycopg.Error) -> str:
    """Return the server's message in one line, with its hint; of several hosts the last one's."""
    said = (
        error.diag.message_primary
        or next(
            (line for line in reversed(str(error).splitlines()) if "FATAL" in line or "failed" in line), ""
        )
        or str(error).strip().partition("\n")[0]
    )
    parts = [said, error.diag.message_detail, error.diag.message_hint]
    return " ".join(" ".join(part.split()).rstrip(".") + "." for part in parts if part).rstrip(".")
