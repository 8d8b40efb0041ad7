"""Base of the catalogue's domains: methods that call the SQL function of their name."""

import builtins
import functools
import inspect
import re
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from captionacc_dagster.resources.catalog.errors import CatalogError
from captionacc_dagster.resources.catalog.rows.record import Row
from captionacc_dagster.resources.catalog.rows.work import LockToken
from captionacc_dagster.resources.catalog.transport import Condition, JsonArray, Record, Transport, Where
from modal_gpu.contracts import CropRegion, to_wire
from modal_gpu.keys import canonical_uuid, check_key
from modal_gpu.timeline import Timeline

R = TypeVar("R", bound=Row)
Method = TypeVar("Method", bound=Callable[..., Any])

#: Arguments of SQL functions and columns that hold ids, with their names in messages.
_IDS = {
    "video_id": "video id",
    "tenant_id": "tenant id",
    "backfill_id": "backfill id",
    "request_id": "request id",
    "waiter": "waiter",
    "job_id": "job id",
    "uploaded_by_user_id": "user id",
    # In functions only; a table's own id is looked up with CatalogCalls._by_id.
    "id": "compute call id",
}
#: Return types of methods whose SQL function returns one plain value.
_VALUES = (bool, int, str)
_HALF_SURROGATE = re.compile(r"[\ud800-\udfff]")


class CatalogCalls:
    """Calls and selects through one transport. Raises ``InvalidIdError`` for an id that is no UUID."""

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def _call(self, function: str, /, *, repeatable: bool = False, **arguments: Any) -> list[Record]:
        prepared = {name: _prepared(name, value) for name, value in arguments.items()}
        return self.transport.call(function, prepared, repeatable=repeatable)

    def _select(
        self,
        kind: type[R],
        table: str,
        where: Sequence[Condition],
        order: Sequence[str],
        limit: int | None = None,
    ) -> list[R]:
        return [kind.from_row(row) for row in self.transport.select(table, where, order, limit)]

    def _by_id(self, kind: type[R], table: str, value: str, what: str, unknown: type[CatalogError]) -> R:
        """Return the row with an id. Raises ``unknown`` without one; ``what`` is the row in messages."""
        condition = Where("id", "eq", canonical_uuid(value, f"{what} id"))
        for row in self._select(kind, table, [condition], ["id"]):
            return row
        raise unknown(f"{what} {condition.value} is not in the catalogue")


def sql_function(*, repeatable: bool = False, **renamed: str) -> Callable[[Method], Method]:
    """Make a method, whose body is its docstring, call the SQL function of its name.

    The function gets the method's arguments under their names (or as ``renamed``). The annotated return type
    decides what becomes of its rows: a row type takes the one row, ``... | None`` the first one if there is
    any, ``list[...]`` all; ``bool``, ``int`` and ``str`` take the value of the one column. Raises
    ``TypeError`` for another return type. ``repeatable``: see :meth:`Transport.call`.
    """

    def decorate(method: Method) -> Method:
        function, signature = method.__name__, inspect.signature(method)
        answer = _answer(typing.get_type_hints(method)["return"])

        @functools.wraps(method)
        def call(self: CatalogCalls, *positional: Any, **named: Any) -> Any:
            bound = signature.bind(self, *positional, **named)
            bound.apply_defaults()
            _, *arguments = bound.arguments.items()
            sent = {renamed.get(name, name): value for name, value in arguments}
            return answer(self._call(function, repeatable=repeatable, **sent))

        return cast(Method, call)

    return decorate


def is_id(column: str, value: str) -> Where:
    """Return the condition that a column holds an id."""
    return Where(column, "eq", canonical_uuid(value, _IDS[column]))


def first(rows: Sequence[R]) -> R | None:
    """Return the first row, if there is one."""
    return rows[0] if rows else None


def _answer(kind: Any) -> Callable[[list[Record]], Any]:
    """Return the conversion of a function's rows into its annotated type."""
    if kind in _VALUES:
        return _value
    match typing.get_origin(kind), typing.get_args(kind) or (kind,):
        case builtins.list, (row,) if _is_row(row):
            return lambda rows: [row.from_row(each) for each in rows]
        case types.UnionType, (row, types.NoneType) if _is_row(row):
            return lambda rows: row.from_row(rows[0]) if rows else None
        case None, (row,) if _is_row(row):
            return lambda rows: row.from_row(rows[0])
    raise TypeError(f"a method that calls a SQL function cannot return {kind}")


def _is_row(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Row)


def _value(rows: list[Record]) -> Any:
    (value,) = rows[0].values()
    return str(value) if isinstance(value, uuid.UUID) else value


def _prepared(name: str, value: Any) -> Any:
    """Return an argument as a transport takes it. Raises ``InvalidIdError`` and ``InvalidKeyError``."""
    if value is not None and name in _IDS:
        return canonical_uuid(value, _IDS[name])
    if isinstance(value, CropRegion):
        return to_wire(value)
    if name == "caption_zones" and isinstance(value, tuple):
        return JsonArray(to_wire(zone) for zone in value)
    if isinstance(value, Timeline):
        return value.rows()
    if isinstance(value, LockToken):
        return value.token
    return check_key(value) if name == "storage_key" else _storable(value)


def _storable(value: Any) -> Any:
    """Return what PostgreSQL takes: text without NUL, U+FFFD for half surrogates (undecodable names)."""
    if isinstance(value, str):
        return _HALF_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value.replace("\0", ""))
    if isinstance(value, Mapping):
        return {_storable(str(key)): _storable(item) for key, item in value.items()}
    return [_storable(item) for item in value] if isinstance(value, list | tuple) else value
