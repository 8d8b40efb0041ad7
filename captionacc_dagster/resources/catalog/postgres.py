"""The transport over PostgreSQL connections: to the embedded server, or any other."""

import contextlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool, PoolTimeout

from captionacc_dagster.constants import DEFAULT_SCHEMA
from captionacc_dagster.resources.catalog.errors import (
    ERRORS_BY_SQLSTATE,
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
)
from captionacc_dagster.resources.catalog.postgres_errors import (
    connect,
    connection_parameters,
    is_not_migrated,
    plain_reason,
    shown,
    translated,
)
from captionacc_dagster.resources.catalog.schema_names import not_migrated
from captionacc_dagster.resources.catalog.transport import AnyOf, Condition, JsonArray, PerProcess, Record

# The pool logs a warning for every failed attempt; callers get an error that says more.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

_OPERATORS = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "is": "is", "is_not": "is not"}


class PostgresTransport:
    """A :class:`Transport` through psycopg, which connects at the first call.

    A statement that takes longer than ``statement_timeout_seconds``, and a server that does not answer
    within ``connect_timeout_seconds``, is a ``CatalogUnavailableError``. Behind a connection pooler use its
    session mode. Raises ``CatalogAccessError`` for an unusable ``dsn``.
    """

    max_rows: int | None = None

    def __init__(
        self,
        dsn: str,
        *,
        schema: str = DEFAULT_SCHEMA,
        max_connections: int = 4,
        statement_timeout_seconds: float = 15,
        connect_timeout_seconds: float = 10,
    ) -> None:
        self._dsn = dsn
        self._schema = schema
        self._max_connections = max_connections
        self._statement_timeout = statement_timeout_seconds
        self._connect_timeout = connect_timeout_seconds
        self._parameters = connection_parameters(dsn)
        self._pool = PerProcess(self._open_pool, ConnectionPool.close)

    def __repr__(self) -> str:
        return f"PostgresTransport({shown(self._dsn)})"

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._pool.close()

    def call(self, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False) -> list[Record]:
        """Return the rows of a function, which is called once whether ``repeatable`` or not."""
        named = sql.SQL(", ").join(
            sql.SQL("{} => {}").format(sql.Identifier(f"p_{name}"), sql.Placeholder(name))
            for name in arguments
        )
        query = sql.SQL("select * from {}({})").format(sql.Identifier(self._schema, function), named)
        adapted = {name: _adapted(value) for name, value in arguments.items()}
        with self.connection() as connection:
            return connection.execute(query, adapted).fetchall()

    def select(
        self, table: str, where: Sequence[Condition], order: Sequence[str], limit: int | None = None
    ) -> list[Record]:
        """Return rows of a table."""
        values: list[Any] = []
        conditions = [sql.SQL("true"), *(_condition(condition, values) for condition in where)]
        query = sql.SQL("select * from {} where {} order by {} limit {}").format(
            sql.Identifier(self._schema, table),
            sql.SQL(" and ").join(conditions),
            sql.SQL(", ").join(map(_order, order)),
            sql.Placeholder(),
        )
        with self.connection() as connection:
            return connection.execute(query, [*values, limit]).fetchall()

    def _open_pool(self) -> ConnectionPool[psycopg.Connection[Record]]:
        # One connection outside the pool, which would only time out and not say why.
        connect(self._dsn).close()
        return ConnectionPool(
            make_conninfo(**self._parameters),
            connection_class=psycopg.Connection[Record],
            min_size=0,
            max_size=self._max_connections,
            max_idle=60,
            timeout=self._connect_timeout,
            kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": None},
            configure=self._configure,
            check=ConnectionPool.check_connection,
            open=True,
        )

    def _configure(self, connection: psycopg.Connection[Record]) -> None:
        connection.execute(f"set statement_timeout = {int(self._statement_timeout * 1000)}")
        connection.execute(f"set lock_timeout = {int(self._statement_timeout * 1000)}")
        connection.execute("set timezone = 'UTC'")

    def as_user(self, token: str, claims: Mapping[str, Any]) -> "PostgresTransport":
        """Return a transport whose statements run as a user, as PostgREST runs them."""
        return _UserTransport(self, claims)

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Record]]:
        """Lend a connection in autocommit mode; its errors are translated into the catalogue's."""
        try:
            with self._pool.get().connection() as connection:
                yield connection
        except PoolTimeout:
            connect(self._dsn).close()  # raises with the reason, if it is the server
            raise CatalogUnavailableError(
                f"no connection to the catalogue's database became free within {self._connect_timeout:g} s"
            ) from None
        except psycopg.Error as error:
            raise self._error(error) from None

    def _error(self, error: psycopg.Error) -> Exception:
        if kind := ERRORS_BY_SQLSTATE.get(error.sqlstate or ""):
            return kind(plain_reason(error))
        if is_not_migrated(error):
            return CatalogAccessError(
                not_migrated(self._schema, plain_reason(error), self._other_catalogues())
            )
        return translated(error, self._parameters)

    def _other_catalogues(self) -> list[str]:
        """Return the other schemas of this database that hold a catalogue, for an error's advice."""
        with contextlib.suppress(psycopg.Error, CatalogError), connect(self._dsn) as connection:
            rows = connection.execute(
                "select schemaname from pg_tables where tablename = 'video_database_state'"
                " and schemaname <> %s order by 1",
                [self._schema],
            )
            return [schema for (schema,) in rows]
        return []


class _UserTransport(PostgresTransport):
    """Each statement is a transaction with the role and the claims of the user's token."""

    def __init__(self, platform: PostgresTransport, claims: Mapping[str, Any]) -> None:
        self.__dict__.update(vars(platform))
        self._claims = json.dumps(dict(claims))

    def close(self) -> None:
        """Do nothing: the connections are the platform's."""

    @contextlib.contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Record]]:
        """Lend a connection inside a transaction of the user."""
        with super().connection() as connection, connection.transaction():
            connection.execute(
                "select set_config('request.jwt.claims', %s, true),"
                " set_config('role', 'authenticated', true)",
                [self._claims],
            )
            yield connection


def _condition(condition: Condition, arguments: list[Any]) -> sql.Composable:
    if isinstance(condition, AnyOf):
        parts = [_condition(part, arguments) for part in condition.comparisons]
        return sql.SQL("({})").format(sql.SQL(" or ").join(parts))
    column = sql.Identifier(condition.column)
    if condition.operator in ("is", "is_not") and condition.value is None:
        return sql.SQL("{} {} null").format(column, sql.SQL(_OPERATORS[condition.operator]))
    arguments.append(condition.value)
    return sql.SQL("{} {} {}").format(column, sql.SQL(_OPERATORS[condition.operator]), sql.Placeholder())


def _order(column: str) -> sql.Composable:
    name = sql.Identifier(column.removeprefix("-"))
    return sql.SQL("{} desc").format(name) if column.startswith("-") else name


def _adapted(value: Any) -> Any:
    if isinstance(value, float):
        # As numeric, which every parameter takes, with the digits that Python shows.
        return Decimal(str(value))
    if isinstance(value, JsonArray):
        return Jsonb(value)
    if isinstance(value, list) and all(isinstance(item, int) for item in value):
        # Ids, as text: PostgreSQL reads them as whatever integers the function wants.
        return f"{{{','.join(map(str, value))}}}"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    return Jsonb(value) if isinstance(value, dict | list) else value
