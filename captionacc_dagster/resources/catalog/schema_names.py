"""The catalogue's schema under another name than ``captionacc``, which the SQL files are written for.

One source serves every name: :func:`rendered` replaces the schema wherever a file names it. Versions
of another schema's migrations differ, so that two catalogues can live in one database and in one
``supabase_migrations.schema_migrations``.
"""

import hashlib
import re
from collections.abc import Sequence

from captionacc_dagster.constants import DEFAULT_SCHEMA, check_schema_name

#: Where a file means the schema: before a dot, after the word schema, as a search path, or as a whole
#: literal. Not in `captionacc migrate`, which is the command, nor in names that begin with it.
_SCHEMA = re.compile(
    r"""
    (?<![\w$.]) "?captionacc"? (?= \.[\w%"] )
    | (?: (?<= \bschema\ ) | (?<= \bschema\ if\ not\ exists\ ) | (?<= \bschema\ if\ exists\ ) )
      "?captionacc\b"? (?!\.)
    | (?: (?<= \bsearch_path\ =\ ) | (?<= \bsearch_path\ to\ ) ) "?captionacc\b"?
    | (?P<literal>'captionacc')
    """,
    re.IGNORECASE | re.VERBOSE,
)
# NAMEDATALEN is 64, and a longer channel is refused.
_CHANNEL_SUFFIX = "_work"
_CHANNEL_SCHEMA = 63 - len(_CHANNEL_SUFFIX)


def rendered(text: str, schema: str) -> str:
    """A migration's SQL with ``schema`` in place of ``captionacc``, quoted; the same text for that name."""
    if schema == DEFAULT_SCHEMA:
        return text
    identifier = f'"{check_schema_name(schema)}"'
    return _SCHEMA.sub(lambda match: f"'{schema}'" if match["literal"] else identifier, text)


def schema_version(version: str, schema: str) -> str:
    """The version that a migration has in a schema: 14 digits for ``captionacc``, 18 for another.

    The seconds, which are 00 in the shipped files, and four more digits come from the schema's name. So
    versions sort by time, none is the beginning of another, and files and records sort alike.
    """
    if schema == DEFAULT_SCHEMA:
        return version
    return version[:12] + version_suffix(schema)


def version_suffix(schema: str) -> str:
    """Six digits, 010000 to 599999, for a schema other than ``captionacc``."""
    number = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:8])
    return f"{number % 590_000 + 10_000:06d}"


def work_channel(schema: str) -> str:
    """The channel of ``NOTIFY`` on which a schema says that work waits, as its trigger names it."""
    return schema[:_CHANNEL_SCHEMA] + _CHANNEL_SUFFIX


def not_migrated(schema: str, reason: str, others: Sequence[str] = ()) -> str:
    """What to say when a schema has not the tables or functions that are called.

    ``reason`` is the database's; ``others`` are schemas of the same database that hold a catalogue.
    """
    instead = f", or set CAPTIONACC_SCHEMA to one that was migrated: {', '.join(others)}" if others else ""
    return (
        f"the schema {schema!r} has not the catalogue that this version needs ({reason}): "
        f"run `captionacc migrate` with CAPTIONACC_SCHEMA={schema}{instead}"
    )
