"""Databases that were made by the migrations before the baseline.

The history was started again from one file, ``…_baseline.sql``. A database with all former migrations has
the same tables, and other texts in some functions and comments: these are replaced, and its record of
former migrations becomes that of the baseline.
"""

import re
from collections.abc import Iterator

import psycopg

from captionacc_dagster.resources.catalog.schema_names import schema_version

BASELINE = "20261130080000"
#: The former versions, by day.
FORMER = (
    *("20261121080000", "20261121080100", "20261121080200"),
    *("20261122080000", "20261122080100", "20261122080200", "20261122080300", "20261122080400"),
    *("20261123080000", "20261124080000", "20261124080100", "20261125080000", "20261126080000"),
    *("20261128080000", "20261129080000", "20261129081000", "20261129082000", "20261129082100"),
    *("20261129082200", "20261129083000", "20261129086000"),
)
#: Text that a semicolon does not end a statement in, or a semicolon.
_TOKEN = re.compile(r"--[^\n]*|\$(\w*)\$.*?\$\1\$|'(?:[^']|'')*'|\"[^\"]*\"|;", re.DOTALL)
_REPEATABLE = re.compile(r"create or replace function |comment on ")


class IncompleteFormerError(Exception):
    """The database has some of the former migrations only."""


def former_versions(schema: str) -> set[str]:
    """Return the versions of the former migrations in a schema."""
    return {schema_version(version, schema) for version in FORMER}


def replace_former(connection: psycopg.Connection, baseline: str, schema: str, applied: set[str]) -> bool:
    """Bring a database of the former migrations to the state of the baseline, given as SQL for the schema.

    Returns whether it was one. The records of the former migrations are removed; the caller records the
    baseline, in the same transaction. Raises :class:`IncompleteFormerError` before it changes anything.
    """
    former = former_versions(schema)
    present = former & applied
    if not present:
        return False
    if present != former:
        raise IncompleteFormerError(
            f"it has {len(present)} of the {len(former)} migrations before the baseline"
        )
    for statement in repeatable_statements(baseline):
        connection.execute(statement.encode())
    for table in ("schema_migrations", "captionacc_checksums"):
        query = f"delete from supabase_migrations.{table} where version = any (%s)"
        connection.execute(query.encode(), [sorted(former)])
    return True


def repeatable_statements(text: str) -> Iterator[str]:
    """Yield the statements of a migration that may be executed again: functions and comments."""
    start = 0
    for token in _TOKEN.finditer(text):
        if token[0] == ";":
            statement = re.sub(r"\A(?:\s+|--[^\n]*\n)+", "", text[start : token.end()])
            if _REPEATABLE.match(statement):
                yield statement
            start = token.end()
