"""Dataclasses built from database rows."""

import dataclasses
import functools
import types
import typing
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, Self, dataclass_transform

from modal_gpu.contracts import CaptionZone, CropRegion, Zones, from_wire
from modal_gpu.timeline import Timeline

_Column = tuple[str, str, Any, bool]


def column(name: str) -> Any:
    """Declare a field that takes the column ``name``."""
    return dataclasses.field(metadata={"column": name})


def group(prefix: str) -> Any:
    """Declare a field that is itself a row, of the columns whose names begin with ``prefix``."""
    return dataclasses.field(metadata={"column": prefix})


@dataclass_transform(frozen_default=True, field_specifiers=(column, group))
class Row:
    """Base of the row types, which are frozen dataclasses. A field takes the column of its name."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def __init_subclass__(cls) -> None:
        dataclasses.dataclass(frozen=True)(cls)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], prefix: str = "") -> Self:
        """Build the dataclass from a row with Python's values (psycopg) or JSON's (Supabase).

        Columns without a field are ignored. ``prefix`` stands before the name of each column.
        """
        return cls(**{name: _convert(row, prefix + source, *kind) for name, source, *kind in _columns(cls)})


def _read_columns(kind: type) -> list[_Column]:
    hints = typing.get_type_hints(kind)
    columns = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        # One type beside None, or one that needs no conversion, such as a Literal.
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        plain = parts[0] if isinstance(hint, types.UnionType) and len(parts) == 1 else hint
        source = field.metadata.get("column", field.name)
        columns.append((field.name, source, plain, isinstance(plain, type) and issubclass(plain, Row)))
    return columns


# Not a decorator: mypy does not accept type[Self] as an argument of a cached function.
_columns: Callable[[type], list[_Column]] = functools.cache(_read_columns)


def _convert(row: Mapping[str, Any], source: str, kind: Any, is_group: bool) -> Any:
    if is_group:
        return kind.from_row(row, source)
    value = row[source]
    if kind is Timeline:
        return Timeline.from_rows(value)
    if value is None:
        return None
    if kind == Zones:
        return tuple(from_wire(CaptionZone, zone) for zone in value)
    if kind is CropRegion:
        return CropRegion(**value)
    if kind is datetime:
        return utc(value)
    if kind is float:
        return float(value)
    return str(value) if isinstance(value, uuid.UUID) else value


def utc(value: datetime | str) -> datetime:
    """Return a time of the database, as psycopg or as JSON has it, in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC)
