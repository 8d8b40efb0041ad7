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

_Convert = Callable[[Any], Any]
#: A field, its column, and what makes its value of the column's; nothing for values that stay as they are.
_Column = tuple[str, str, _Convert | None]


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
        columns, groups = _columns(cls, prefix)
        values = {
            name: row[source] if convert is None else convert(row[source])
            for name, source, convert in columns
        }
        for name, kind, its_prefix in groups:
            values[name] = kind.from_row(row, its_prefix)
        return cls(**values)


def _read_columns(kind: type, prefix: str) -> tuple[list[_Column], list[tuple[str, type[Row], str]]]:
    """Return the columns of a row type, and its fields that are rows themselves."""
    hints = typing.get_type_hints(kind)
    columns: list[_Column] = []
    groups: list[tuple[str, type[Row], str]] = []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        # One type beside None, or one that needs no conversion, such as a Literal.
        parts = [part for part in typing.get_args(hint) if part is not types.NoneType]
        plain = parts[0] if isinstance(hint, types.UnionType) and len(parts) == 1 else hint
        source = prefix + field.metadata.get("column", field.name)
        if isinstance(plain, type) and issubclass(plain, Row):
            groups.append((field.name, plain, source))
        else:
            columns.append((field.name, source, _converter(plain)))
    return columns, groups


# Not a decorator: mypy does not accept type[Self] as an argument of a cached function.
_columns: Callable[[type, str], tuple[list[_Column], list[tuple[str, type[Row], str]]]] = functools.cache(
    _read_columns
)


def _converter(kind: Any) -> _Convert | None:
    """Return what makes a field of this type of a column's value, which may be ``None``."""
    if kind is Timeline:
        return Timeline.from_rows
    if kind == Zones:
        return _unless_none(lambda value: tuple(from_wire(CaptionZone, zone) for zone in value))
    if kind is CropRegion:
        return _unless_none(lambda value: CropRegion(**value))
    if kind is datetime:
        return _unless_none(utc)
    if kind is float:
        return _unless_none(float)
    # psycopg has ids as UUIDs.
    return None if kind in (int, bool) else _text_of_id


def _unless_none(convert: _Convert) -> _Convert:
    return lambda value: None if value is None else convert(value)


def _text_of_id(value: Any) -> Any:
    return str(value) if isinstance(value, uuid.UUID) else value


def utc(value: datetime | str) -> datetime:
    """Return a time of the database, as psycopg or as JSON has it, in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC)
