"""The interface of the two transports, PostgreSQL and Supabase: calls of functions, and selects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Record = dict[str, Any]


@dataclass(frozen=True)
class Where:
    """One comparison. ``is`` and ``is_not`` compare with ``None``."""

    column: str
    operator: Literal["eq", "lt", "lte", "gt", "gte", "is", "is_not"]
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
        """How many rows one answer can hold."""

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

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
