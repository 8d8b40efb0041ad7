"""Names of the catalogue's schema; the SQL files are written for ``captionacc``.

:func:`rendered` puts another name into a file. The migrations of another schema have other versions, so that
two catalogues can share a database and its ``supabase_migrations.schema_migrations``.
"""

import hashlib
import re
from collections.abc import Sequence

from captionacc_dagster.constants import DEFAULT_SCHEMA, check_schema_name

#: Where a file names the schema: before a dot, after the word schema, as a search path, or as a complete
#: literal. Not in `captionacc migrate`, the command, nor at the beginning of longer names.
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
_EVENTS_SUFFIX = "_events"
_EVENTS_SCHEMA = 63 - len(_EVENTS_SUFFIX)


def rendered(text: str, schema: str) -> str:
    """Return SQL with the quoted ``schema`` in place of ``captionacc``, unchanged for that name."""
    if schema == DEFAULT_SCHEMA:
        return text
    identifier = f'"{check_schema_name(schema)}"'
    return _SCHEMA.sub(lambda match: f"'{schema}'" if match["literal"] else identifier, text)


def schema_version(version: str, schema: str) -> str:
    """Return a migration's version in a schema: 14 digits for ``captionacc``, 18 for another.

    The seconds, which are 00 in the shipped files, and four more digits come from the schema's name. So
    versions sort by time, none is a prefix of another, and files and records sort alike.
    """
    if schema == DEFAULT_SCHEMA:
        return version
    return version[:12] + version_suffix(schema)


def version_suffix(schema: str) -> str:
    """Return six digits, 010000 to 599999, for a schema other than ``captionacc``."""
    number = int.from_bytes(hashlib.sha256(schema.encode()).digest()[:8])
    return f"{number % 590_000 + 10_000:06d}"


def work_channel(schema: str) -> str:
    """Return the ``NOTIFY`` channel on which a schema's trigger announces work."""
    return schema[:_CHANNEL_SCHEMA] + _CHANNEL_SUFFIX


def events_channel(schema: str) -> str:
    """Return the ``NOTIFY`` channel on which a schema announces live events, with the tenant's id."""
    return schema[:_EVENTS_SCHEMA] + _EVENTS_SUFFIX


def not_migrated(schema: str, reason: str, others: Sequence[str] = ()) -> str:
    """Return the message for a schema without the tables or functions that were called.

    ``reason`` is the database's; ``others`` are schemas of the same database that hold a catalogue.
    """
    instead = f", or set CAPTIONACC_SCHEMA to one that was migrated: {', '.join(others)}" if others else ""
    return (
        f"the schema {schema!r} does not have the catalogue that this version needs ({reason}): "
        f"run `captionacc migrate` with CAPTIONACC_SCHEMA={schema}{instead}"
    )
