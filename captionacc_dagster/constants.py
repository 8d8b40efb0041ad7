"""Names that several floors share, from the settings up to the web."""

import re

#: The module that Dagster's processes load, and the function in it that they call.
DEFINITIONS_MODULE, CODE_LOCATION = "captionacc_dagster.definitions", "code_location"

#: The only tenant of an embedded platform.
LOCAL_TENANT_ID = "00000000-0000-4000-8000-00000000cacc"
LOCAL_TENANT_NAME = "local"
#: The embedded platform approves layouts of at least this confidence by itself. Low: its only user sees the
#: result at once and can change the region; waiting for an approval would look like a fault.
LOCAL_AUTO_APPROVE_CONFIDENCE = 0.2

#: Extensions of videos. A file that is named itself is tried whatever its name.
VIDEO_SUFFIXES = frozenset(
    f".{ending}"
    for ending in (
        *("3g2", "3gp", "asf", "avi", "divx", "dv", "f4v", "flv", "m2ts", "m2v", "m4v", "mkv", "mov", "mp4"),
        *("mpeg", "mpg", "mts", "mxf", "ogm", "ogv", "rm", "rmvb", "ts", "vob", "webm", "wmv"),
    )
)

#: Rows of a kind that upkeep handles at a time; the next turn handles the rest.
UPKEEP_BATCH = 500

#: The catalogue's schema that the SQL files are written for.
DEFAULT_SCHEMA = "captionacc"
_SCHEMA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
#: Schemas of PostgreSQL and of Supabase. Grants here cover a whole schema, so it holds nothing else.
_FOREIGN_SCHEMAS = {
    *("public", "information_schema", "auth", "storage", "realtime", "_realtime", "extensions"),
    *("graphql", "graphql_public", "vault", "net", "cron", "pgbouncer", "pgsodium", "pgsodium_masks"),
    *("pgmq", "pgmq_public", "supabase_migrations", "supabase_functions", "_analytics", "_supavisor"),
}


def check_schema_name(name: str) -> str:
    """Return ``name``. Raises :class:`ValueError` for a schema that the catalogue cannot have."""
    if not _SCHEMA_NAME.fullmatch(name):
        raise ValueError(
            f"{name[:80]!r} is not a valid schema name: at most 63 letters, digits, _ and -, "
            "starting with a letter or _"
        )
    if name.lower().startswith("pg_") or name.lower() in _FOREIGN_SCHEMAS:
        raise ValueError(
            f"the schema {name!r} is PostgreSQL's or Supabase's own: the catalogue needs one for itself, "
            "such as captionacc_production"
        )
    return name
