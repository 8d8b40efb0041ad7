"""The predecessor's tables and bucket, without any way to change them.

Three things keep the predecessor as it is: this code has no writing calls, a PostgreSQL session refuses
them (``default_transaction_read_only``), and an operator gives it a role and keys that may only read.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, Protocol

import psycopg
from obstore.store import LocalStore, S3Store
from psycopg_pool import ConnectionPool

from captionacc_dagster.adoption.errors import PredecessorError, ReadOnlyError
from captionacc_dagster.resources.catalog import CatalogAccessError
from captionacc_dagster.resources.catalog.postgres import PostgresTransport
from captionacc_dagster.resources.catalog.supabase import SupabaseTransport
from captionacc_dagster.resources.catalog.transport import Condition, Record
from modal_gpu.storage import ObjectStore


class Tables(Protocol):
    """Selects from the predecessor's tables."""

    def select(
        self, table: str, where: Sequence[Condition], order: Sequence[str], limit: int | None = None
    ) -> list[Record]:
        """Return the rows for which all of ``where`` holds."""

    def close(self) -> None:
        """Close the connections."""


class PostgresTables(PostgresTransport):
    """Tables through psycopg. Each session is read-only; the server refuses every change."""

    def call(self, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False) -> NoReturn:
        """Raise :class:`ReadOnlyError`: a function may write."""
        raise ReadOnlyError(f"the predecessor is only read; {function} was not called")

    def _open_pool(self) -> ConnectionPool[psycopg.Connection[Record]]:
        try:
            return super()._open_pool()
        except CatalogAccessError as error:
            raise PredecessorError(_renamed(error)) from None

    def _configure(self, connection: psycopg.Connection[Record]) -> None:
        super()._configure(connection)
        connection.execute("set default_transaction_read_only = on")

    def _error(self, error: psycopg.Error) -> Exception:
        if isinstance(error, psycopg.errors.ReadOnlySqlTransaction):
            return ReadOnlyError("the predecessor is only read; nothing was changed")
        translated = super()._error(error)
        return _missing(self._schema, error.diag.message_primary or "", translated)


class SupabaseTables(SupabaseTransport):
    """Tables through PostgREST: ``GET`` requests with the schema in ``Accept-Profile``."""

    def call(self, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False) -> NoReturn:
        """Raise :class:`ReadOnlyError`: a function may write."""
        raise ReadOnlyError(f"the predecessor is only read; {function} was not called")

    def _refusal(self, error: Any) -> Exception:
        return _missing(self._schema, str(error.message or ""), super()._refusal(error))


def _missing(schema: str, reason: str, error: Exception) -> Exception:
    """Return the error in the predecessor's terms: the platform's would advise to migrate it."""
    if not isinstance(error, CatalogAccessError):
        return error
    if "captionacc migrate" not in str(error):
        return PredecessorError(_renamed(error))
    return PredecessorError(
        f"the predecessor's schema {schema!r} does not have this table or does not show it ({reason}): set "
        "CAPTIONACC_ADOPT_SCHEMA to that of its table videos (captionacc, captionacc_production, public …)"
    )


def _renamed(error: Exception) -> str:
    """Return an error's message with the predecessor's settings in place of the platform's."""
    message = str(error).replace("the catalogue", "the predecessor")
    return re.sub("CAPTIONACC_DATABASE_URL|SUPABASE_URL|SUPABASE_SERVICE_ROLE_KEY", _own_setting, message)


def _own_setting(found: re.Match[str]) -> str:
    name = found.group().removeprefix("CAPTIONACC_").replace("SERVICE_ROLE_KEY", "KEY")
    return f"CAPTIONACC_ADOPT_{name}"


class ReadOnlyStore(ObjectStore):
    """The predecessor's bucket or folder. Every method that would change it raises :class:`ReadOnlyError`."""

    def _open(self, *, read_timeout: int, retry_timeout: int) -> LocalStore | S3Store:
        if self._root is not None:
            # The platform's own store makes its folder, and removes folders that become empty.
            return LocalStore(self._root, mkdir=False, automatic_cleanup=False)
        return super()._open(read_timeout=read_timeout, retry_timeout=retry_timeout)

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise ReadOnlyError(f"{self.name} is the predecessor's and is only read; nothing was changed")

    put = upload = put_stream = presigned_put = delete = delete_prefix = put_many = _refuse
