"""Owners, groups, kinds, tags and columns of the assets' definitions."""

import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from typing import Any, Literal

import dagster as dg

from captionacc_dagster.settings import Settings, SettingsError, load_settings
from modal_gpu.databases.checked import FileKind

OWNERS = ["team:captions"]
StageTag = Literal["upload", "layout", "boundaries", "text", "upkeep"]

#: Each stage's group. The lineage opens with the groups closed, one beside the other, as a sentence.
GROUPS: Mapping[StageTag, str] = {
    "upload": "upload",
    "layout": "layout",
    "boundaries": "captions",
    "text": "text",
    "upkeep": "upkeep",
}


def tags(stage: StageTag) -> dict[str, str]:
    """Return an asset's tags; ``stage`` is the catalogue's, or what comes before and beside its stages."""
    return {"domain": "captions", "stage": stage}


def storage_kind() -> str:
    """Return the kind of the installation's object store: ``s3``, or ``file`` for a folder."""
    settings = _settings()
    return "s3" if settings is not None and settings.effective_storage_url.startswith("s3://") else "file"


def catalogue_kind() -> str:
    """Return the kind of the catalogue: ``supabase``, where its API is used, or ``postgres``."""
    settings = _settings()
    return "supabase" if settings is not None and settings.supabase_url else "postgres"


def _settings() -> Settings | None:
    """Return the settings, without keeping them for the process: the definitions load before tests set some.

    Invalid ones are reported where they are used, by each sensor and run.
    """
    try:
        return load_settings()
    except SettingsError:
        return None


def columns(kind: FileKind) -> Mapping[str, Any]:
    """Return the definition metadata of a database: the columns of its tables, from its schema."""
    return {"dagster/column_schema": column_schema(kind)}


def column_schema(kind: FileKind) -> dg.TableSchema:
    """Return the columns of a database as ``table.column``, with their types, keys and checks."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(kind.schema)
        tables = [
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                " ORDER BY rowid"
            )
        ]
        found = [
            _column(table, row, _texts(kind.schema, table))
            for table in tables
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
    return dg.TableSchema(found)


def _column(
    table: str, row: tuple[int, str, str, int, str | None, int], texts: Mapping[str, tuple[str, str]]
) -> dg.TableColumn:
    _, name, kind, not_null, _, key = row
    check, comment = texts.get(name, ("", ""))
    other = [*(["primary key"] if key else []), *([check] if check else [])]
    return dg.TableColumn(
        f"{table}.{name}",
        kind.lower(),
        description=comment or None,
        constraints=dg.TableColumnConstraints(nullable=not not_null, other=other),
    )


_CHECK = re.compile(r"CHECK \((?P<check>.*)\)")


def _texts(schema: str, table: str) -> dict[str, tuple[str, str]]:
    """Return the CHECK and the comment of each column, which stand after it and on the line before it."""
    body = schema.partition(f"CREATE TABLE {table} (\n")[2].partition("\n);")[0]
    found: dict[str, tuple[str, str]] = {}
    comment, last = "", ""
    for line in (line.strip() for line in body.split("\n")):
        if line.startswith("--"):
            comment = f"{comment} {line.removeprefix('--').strip()}".strip()
            continue
        check = _CHECK.search(line)
        text = " ".join(check["check"].split()) if check else ""
        if line.startswith("CHECK "):
            # Indented under its column, or the table's own, which names two columns.
            if last and text.split()[0] == last and found[last][0] == "":
                found[last] = (text, found[last][1])
        else:
            last = line.split(" ")[0]
            found[last] = (text, comment)
        comment = ""
    return found
