"""Connecting to PostgreSQL, and what its errors say, without passwords in any message."""

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from captionacc_dagster.resources.catalog import CatalogError, CatalogUnavailableError
from modal_gpu.disk_full import disk_full

_CONNECT_SECONDS = 5


def connection_parameters(dsn: str) -> dict[str, str]:
    """A DSN taken apart and checked, with time-outs; :class:`CatalogError` says what is wrong with it."""
    try:
        parameters = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        # Its message may quote a part of the password.
        raise CatalogError(
            "the catalogue's database URL cannot be parsed: it should look like "
            "postgresql://user:password@host:5432/database, with %-encoded special characters"
        ) from None
    if "@" in parameters.get("host", ""):
        raise CatalogError(
            "the catalogue's database URL has an '@' in its host: write one in a password as %40"
        ) from None
    parameters.setdefault("connect_timeout", str(_CONNECT_SECONDS))
    parameters.setdefault("application_name", "captionacc")
    return parameters


def shown(dsn: str) -> str:
    """A DSN for people: where it points to, never its password."""
    try:
        parts = connection_parameters(dsn)
    except CatalogError:
        return "(unusable database URL)"
    return f"{parts.get('user', '')}@{parts.get('host', 'localhost')}/{parts.get('dbname', '')}"


def connect(dsn: str) -> psycopg.Connection:
    """One connection in autocommit mode. Raises :class:`CatalogUnavailableError`, without the password."""
    parameters = connection_parameters(dsn)
    try:
        return psycopg.connect(make_conninfo(**parameters), autocommit=True)
    except psycopg.OperationalError as error:
        raise unavailable(error, parameters) from None


def unavailable(error: Exception, parameters: dict[str, str]) -> CatalogUnavailableError:
    """The error for a server that does not answer."""
    reason = str(error).strip().split("\n")[0]
    if full := disk_full(error):
        return CatalogUnavailableError(f"{full} (the catalogue's PostgreSQL: {reason})")
    if password := parameters.get("password"):
        reason = reason.replace(password, "***")
    return CatalogUnavailableError(
        f"the catalogue's database does not answer ({reason}): check that PostgreSQL runs and that "
        "CAPTIONACC_DATABASE_URL is right"
    )


def plain_reason(error: psycopg.Error) -> str:
    """The server's words in one line, with its hint."""
    parts = [
        error.diag.message_primary or str(error).strip(),
        error.diag.message_detail,
        error.diag.message_hint,
    ]
    return " ".join(part.strip().rstrip(".") + "." for part in parts if part).rstrip(".")
