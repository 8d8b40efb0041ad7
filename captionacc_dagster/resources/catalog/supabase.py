"""The transport over a Supabase project's API, with its service-role key.

The key goes into the client's headers and nowhere else: no message, ``repr`` or log holds it.
"""

import base64
import binascii
import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from captionacc_dagster.constants import DEFAULT_SCHEMA
from captionacc_dagster.resources.catalog.errors import (
    ERRORS_BY_SQLSTATE,
    CatalogAccessError,
    CatalogError,
    CatalogUnavailableError,
    NotPermittedError,
)
from captionacc_dagster.resources.catalog.postgres_errors import MIGRATE, by_row
from captionacc_dagster.resources.catalog.schema_names import not_migrated
from captionacc_dagster.resources.catalog.transport import AnyOf, Condition, PerProcess, Record, Where
from modal_gpu.error_table import Meaning, Row, look_up

if TYPE_CHECKING:
    from postgrest import APIError, SyncPostgrestClient

    from supabase import Client

# It would log a line for every request, in every run's log.
logging.getLogger("httpx").setLevel(logging.WARNING)

#: Supabase's limit of rows in one answer, unless a project is set otherwise.
_MAX_ROWS = 1000
_ATTEMPTS = 4


class _RetryableError(Exception):
    """An error that may pass. ``done``: whether the call may have been carried out."""

    def __init__(self, error: CatalogUnavailableError, done: bool) -> None:
        self.error, self.done = error, done


class SupabaseTransport:
    """A :class:`Transport` through supabase-py.

    ``url`` is the project's (``https://<ref>.supabase.co``), ``key`` its service-role or secret key;
    ``schema`` must be among the project's exposed schemas. Raises ``CatalogAccessError`` for others.

    An answer that takes longer than ``timeout_seconds``, and a server that cannot be reached within
    ``connect_timeout_seconds``, is a ``CatalogUnavailableError``. Before that a call is repeated, with
    growing pauses, if it certainly was not carried out, or is repeatable.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        schema: str = DEFAULT_SCHEMA,
        timeout_seconds: float = 20,
        connect_timeout_seconds: float = 5,
        retry_pause_seconds: float = 0.25,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise CatalogAccessError("SUPABASE_URL should look like https://<project>.supabase.co")
        _check_key(key)
        self._url = f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/").removesuffix("/rest/v1")
        self._key = key
        self._schema = schema
        self._timeout = httpx.Timeout(timeout_seconds, connect=connect_timeout_seconds)
        self._pause = retry_pause_seconds
        self._client: PerProcess[Client] = PerProcess(
            self._open_client, lambda client: client.postgrest.session.close()
        )
        self._user_token: str | None = None

    def __repr__(self) -> str:
        return f"SupabaseTransport({self._url!r}, schema={self._schema!r})"

    def __reduce__(self) -> Any:
        raise TypeError("a transport that holds a key must not be pickled")

    def close(self) -> None:
        """Close the connections; a later call opens new ones. A user's are the platform's."""
        if self._user_token is None:
            self._client.close()

    @property
    def max_rows(self) -> int | None:
        """The API's limit of rows, beyond which it truncates an answer."""
        return _MAX_ROWS

    def as_user(self, token: str, claims: Mapping[str, Any]) -> "SupabaseTransport":
        """Return a transport whose requests carry a user's token beside the project's key."""
        user = object.__new__(SupabaseTransport)
        user.__dict__.update(vars(self))
        user._user_token = token
        return user

    def call(self, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False) -> list[Record]:
        """Return the rows of a function."""
        parameters = {f"p_{name}": _plain(value) for name, value in arguments.items()}
        answer = self._send(lambda client: client.rpc(function, parameters).execute().data, repeatable)
        if isinstance(answer, Mapping):
            return [dict(answer)]
        if isinstance(answer, list) and all(isinstance(row, Mapping) for row in answer):
            return answer
        return [{function: answer}]

    def select(
        self, table: str, where: Sequence[Condition], order: Sequence[str], limit: int | None = None
    ) -> list[Record]:
        """Return rows of a table, in as many requests as they need."""
        rows: list[Record] = []
        while limit is None or len(rows) < limit:
            size = _MAX_ROWS if limit is None else min(_MAX_ROWS, limit - len(rows))
            page = self._send(functools.partial(_page, table, where, order, len(rows), size), True)
            rows += page
            if len(page) < size:
                break
        return rows

    def _open_client(self) -> "Client":
        from supabase.lib.client_options import SyncClientOptions

        from supabase import create_client

        options = SyncClientOptions(
            schema=self._schema,
            httpx_client=httpx.Client(timeout=self._timeout),
            # supabase-py repeats reads only, and gives up on time-outs; see _send.
            postgrest_client_retry=False,
            auto_refresh_token=False,
            persist_session=False,
        )
        return create_client(self._url, self._key, options=options)

    def _api(self) -> "SyncPostgrestClient":
        """Return the client of the REST API, with the platform's rights or the user's."""
        platform = self._client.get().postgrest
        if self._user_token is None:
            return platform
        user = platform.schema(self._schema)
        user.headers["Authorization"] = f"Bearer {self._user_token}"
        return user

    def _send(self, request: Callable[["SyncPostgrestClient"], Any], repeatable: bool) -> Any:
        def may_be_repeated(error: BaseException) -> bool:
            return isinstance(error, _RetryableError) and (repeatable or not error.done)

        try:
            for attempt in Retrying(
                retry=retry_if_exception(may_be_repeated),
                wait=wait_random_exponential(multiplier=self._pause, max=5),
                stop=stop_after_attempt(_ATTEMPTS),
                reraise=True,
            ):
                with attempt:
                    return self._send_once(request)
        except _RetryableError as error:
            raise error.error from None

    def _send_once(self, request: Callable[["SyncPostgrestClient"], Any]) -> Any:
        from postgrest import APIError

        try:
            answer = request(self._api())
        except APIError as error:
            raise self._refusal(error) from None
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise self._lost(f"cannot be reached ({self._without_key(str(error))})", done=False) from None
        except httpx.TimeoutException:
            raise self._lost(f"did not answer within {self._timeout.read:g} s", done=True) from None
        except httpx.TransportError as error:
            raise self._lost(f"broke off ({self._without_key(str(error))})", done=True) from None
        if isinstance(answer, str) and answer.lstrip().startswith("<"):
            raise self._not_supabase("a page of HTML")
        return answer

    def _refusal(self, error: "APIError") -> Exception:
        code, reason = str(error.code or ""), self._reason(error)
        if kind := ERRORS_BY_SQLSTATE.get(code):
            return kind(reason)
        if row := look_up("PostgreSQL", code):
            return self._by_database(row, code, reason)
        row = look_up("PostgREST", code, text=reason)
        if row is None:
            return CatalogError(f"the catalogue's database refused: {reason}")
        if row.meaning.passes:
            return self._lost(f"is disturbed ({code}: {reason})", done=row.meaning is Meaning.UNHEARD)
        if row.meaning.is_operators:
            return CatalogAccessError(self._what_to_set(row, code, reason))
        if code.isdigit() and len(code) == 3:
            return self._not_supabase(f"HTTP status {code}")
        return CatalogError(f"the catalogue's database refused: {reason}")

    def _what_to_set(self, row: Row, code: str, reason: str) -> str:
        """Return the message for an error of the API that an operator has to resolve."""
        project = f"the Supabase project at {self._url}"
        if row.sign == "PGRST106":
            problem = f"does not expose the schema {self._schema!r} ({reason})"
            return f"{project} {problem}: migrate it and {row.advice}"
        if row.sign.startswith("PGRST2"):
            return not_migrated(self._schema, reason)
        if row.advice.endswith("service-role key"):
            return f"{project} does not take the key ({reason}): {row.advice}"
        if row.advice.endswith("SUPABASE_URL"):
            return str(self._not_supabase(f"HTTP status {code}"))
        return f"{project} does not answer (HTTP status {code}): {row.advice}"

    def _by_database(self, row: Row, code: str, reason: str) -> Exception:
        """Return the error for a SQLSTATE, which came from the database behind the API."""
        if row.advice == MIGRATE:
            return CatalogAccessError(not_migrated(self._schema, reason))
        if code == "42501" and self._user_token is not None:
            return NotPermittedError(f"the token's user may not do this ({reason})")
        if code == "42501":
            return CatalogAccessError(
                f"the key may not do this ({reason}): set SUPABASE_SERVICE_ROLE_KEY to the service-role key"
            )
        error = by_row(row, reason)
        if isinstance(error, CatalogUnavailableError) and row.meaning is not Meaning.SLOW:
            return _RetryableError(error, row.meaning is Meaning.UNHEARD)
        return error

    def _lost(self, what: str, *, done: bool) -> _RetryableError:
        message = f"the Supabase project at {self._url} {what}: check SUPABASE_URL and the project's state"
        return _RetryableError(CatalogUnavailableError(message), done)

    def _not_supabase(self, answer: str) -> CatalogAccessError:
        return CatalogAccessError(
            f"{self._url} does not answer as a Supabase project does ({answer}): check SUPABASE_URL"
        )

    def _reason(self, error: "APIError") -> str:
        # The details of an error without a code of its own are a page of HTML: the server is no PostgREST.
        details = error.details if str(error.code)[:3] != error.code else None
        parts = [str(part).strip().rstrip(".") + "." for part in (error.message, details, error.hint) if part]
        return self._without_key(" ".join(parts).rstrip("."))

    def _without_key(self, text: str) -> str:
        shown = text.replace(self._key, "***")
        return (shown.replace(self._user_token, "***") if self._user_token else shown)[:1000]


def _check_key(key: str) -> None:
    """Raise :class:`CatalogAccessError` for what is certainly no service-role key."""
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CatalogAccessError("SUPABASE_SERVICE_ROLE_KEY is empty or has characters that no key has")
    role = "anon" if key.startswith("sb_publishable_") else None
    if key.count(".") == 2:
        payload = key.split(".")[1]
        try:
            claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
            role = claims.get("role")
        except (binascii.Error, ValueError, AttributeError):
            raise CatalogAccessError(
                "SUPABASE_SERVICE_ROLE_KEY looks like a JWT but cannot be read"
            ) from None
    if role in ("anon", "authenticated"):
        raise CatalogAccessError(
            f"SUPABASE_SERVICE_ROLE_KEY holds a key of the role {role}: use the service-role key, which "
            "stays on servers"
        )


def _page(
    table: str,
    where: Sequence[Condition],
    order: Sequence[str],
    offset: int,
    size: int,
    client: "SyncPostgrestClient",
) -> Any:
    query = client.from_(table).select("*")
    for condition in where:
        if isinstance(condition, AnyOf):
            query = query.or_(",".join(_quoted_filter(part) for part in condition.comparisons))
        else:
            query = query.filter(*_filter(condition))
    for column in order:
        query = query.order(column.removeprefix("-"), desc=column.startswith("-"))
    query = query.limit(size)
    return (query.offset(offset) if offset else query).execute().data


def _filter(condition: Where) -> tuple[str, str, str]:
    operator = {"is_not": "not.is"}.get(condition.operator, condition.operator)
    value = "null" if condition.value is None else _plain(condition.value)
    return condition.column, operator, str(value)


def _quoted_filter(condition: Where) -> str:
    """Return a comparison inside a list of them, where commas, dots and brackets have a meaning."""
    column, operator, value = _filter(condition)
    if condition.value is not None:
        value = '"{}"'.format(value.replace("\\", "\\\\").replace('"', '\\"'))
    return f"{column}.{operator}.{value}"


def _plain(value: Any) -> Any:
    """Return a value as JSON that PostgreSQL reads as the same value."""
    if isinstance(value, datetime):
        return value.isoformat()
    # JSON has no infinity, and its readers take long fractions for floats.
    if isinstance(value, Decimal) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value
