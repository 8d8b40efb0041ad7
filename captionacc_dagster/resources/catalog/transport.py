"""The interface of the two transports, PostgreSQL and Supabase: calls of functions, and selects."""

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

T = TypeVar("T")
Record = dict[str, Any]


class JsonArray(list[Any]):
    """An argument that is one JSON value, even without items; a plain list of numbers holds ids."""


@dataclass(frozen=True)
class Where:
    """One comparison. ``is`` and ``is_not`` compare with ``None``."""

    column: str
    operator: Literal["eq", "lt", "lte", "gt", "is", "is_not"]
    value: Any


@dataclass(frozen=True)
class AnyOf:
    """At least one of the comparisons holds."""

    comparisons: tuple[Where, ...]


Condition = Where | AnyOf


class Transport(Protocol):
    """A way to the catalogue's database. One instance serves many threads, and forked processes.

    Numbers arrive exactly, as float or as Decimal, and infinite ones too. Errors are those of
    ``captionacc_dagster.resources.catalog.errors`` and ``InvalidCropRegionError``.
    """

    @property
    def max_rows(self) -> int | None:
        """The number of rows that one answer can hold; ``None``: any."""

    def call(self, function: str, arguments: Mapping[str, Any], *, repeatable: bool = False) -> list[Record]:
        """Return the rows of a function; of a plain value one row with one column.

        ``arguments`` are named without the ``p_`` of the SQL function. ``repeatable``: a second call with the
        same arguments changes nothing and answers as the first did, so the transport may repeat a call whose
        answer was lost.
        """

    def select(
        self, table: str, where: Sequence[Condition], order: Sequence[str], limit: int | None = None
    ) -> list[Record]:
        """Return the rows for which all of ``where`` holds. ``-`` before a column's name: descending."""

    def as_user(self, token: str, claims: Mapping[str, Any]) -> "Transport":
        """Return a transport with a user's rights, over the same connections; closing it does nothing.

        ``token`` is verified, and ``claims`` its content: the role ``authenticated`` and the user in ``sub``.
        """

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""


class PerProcess(Generic[T]):
    """A client that each process opens at its first use, and that its threads share.

    After a fork the parent's sockets and threads are not the child's to use or to close.
    """

    def __init__(self, opener: Callable[[], T], closer: Callable[[T], None]) -> None:
        self._opener, self._closer = opener, closer
        self._begin()

    def _begin(self) -> None:
        self._guard, self._pid = threading.Lock(), os.getpid()
        self._client: T | None = None

    def get(self) -> T:
        """Return this process's client, opened if it is not."""
        if self._pid != os.getpid():
            self._begin()
        with self._guard:
            if self._client is None:
                self._client = self._opener()
            return self._client

    def close(self) -> None:
        """Close this process's client; :meth:`get` opens another one."""
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            self._closer(client)
